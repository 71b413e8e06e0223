package cookie

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	mrand "math/rand/v2"
	"strings"
	"testing"
)

// reference computes a cookie with the standard library, from the format's definition alone.
func reference(s Secret, keyID uint8, b *Binding) [Size]byte {
	h := hmac.New(sha256.New, s[:])
	h.Write(message(b))
	var c [Size]byte
	c[0] = keyID
	copy(c[1:], h.Sum(nil))
	return c
}

// message is the 55 bytes that a cookie is the MAC of, in the words of the package comment.
func message(b *Binding) []byte {
	be := binary.BigEndian
	m := append([]byte{1}, b.Source[:]...)
	m = be.AppendUint16(m, b.SourcePort)
	m = be.AppendUint16(m, b.DestinationPort)
	m = be.AppendUint16(m, b.Version)
	return append(m, b.Random[:]...)
}

// eachPlan runs a test on every implementation alone, and on the measured plan.
func eachPlan(t *testing.T, f func(t *testing.T, p *Plan)) {
	for _, name := range append(Names(), Auto) {
		p, err := Select(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { f(t, p) })
	}
}

// Issue and a batch give what the documented format says.
func TestIssueIsTheDocumentedFormat(t *testing.T) {
	r := mrand.New(mrand.NewPCG(1, 2))
	batch := NewBatch(1)
	for n := range 100 {
		s := testSecret(t, strings.Repeat("s", n+1))
		k, b := NewKeyring(s, uint8(n)).Current(), randomBinding(r)
		want := reference(s, uint8(n), b)
		if got := k.Issue(b); got != want {
			t.Fatalf("cookie %x, want %x", got, want)
		}
		batch.Reset(1)
		batch.Add(b)
		if batch.Sum(k); !batch.Equal(0, want[:]) {
			t.Fatalf("a batch of one does not give %x", want)
		}
	}
}

func randomBinding(r *mrand.Rand) *Binding {
	b := &Binding{SourcePort: uint16(r.Uint32()), DestinationPort: uint16(r.Uint32()), Version: 0xfefd, Random: new([RandomSize]byte)}
	for i := range b.Source {
		b.Source[i] = byte(r.Uint32())
	}
	for i := range b.Random {
		b.Random[i] = byte(r.Uint32())
	}
	return b
}

func testSecret(t testing.TB, text string) Secret {
	s := Secret(sha256.Sum256([]byte(text)))
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Every single bit of what a cookie is bound to, and of the cookie itself, counts.
func TestEveryBitFlipIsRefused(t *testing.T) {
	k := NewKeyring(testSecret(t, "a"), 7)
	b := randomBinding(mrand.New(mrand.NewPCG(3, 4)))
	c := k.Current().Issue(b)
	if !k.Verify(b, c[:]) {
		t.Fatal("the cookie is not accepted unchanged")
	}
	refused := func(what string, bit int, b *Binding, c []byte) {
		if k.Verify(b, c) {
			t.Errorf("%s bit %d flipped is accepted", what, bit)
		}
	}
	for bit := range 8 * Size {
		x := c
		x[bit/8] ^= 1 << (bit % 8)
		refused("cookie", bit, b, x[:])
	}
	for bit := range 128 {
		x := *b
		x.Source[bit/8] ^= 1 << (bit % 8)
		refused("source", bit, &x, c[:])
	}
	for bit := range 16 {
		x, y, z := *b, *b, *b
		x.SourcePort ^= 1 << bit
		y.DestinationPort ^= 1 << bit
		z.Version ^= 1 << bit
		refused("source port", bit, &x, c[:])
		refused("destination port", bit, &y, c[:])
		refused("version", bit, &z, c[:])
	}
	for bit := range 8 * RandomSize {
		x := *b
		r := *b.Random
		r[bit/8] ^= 1 << (bit % 8)
		x.Random = &r
		refused("random", bit, &x, c[:])
	}
	refused("length", 0, b, c[:31])
	refused("length", 1, b, append(c[:], 0))
}

func TestCookieOutlivesOneRotationNotTwo(t *testing.T) {
	b := randomBinding(mrand.New(mrand.NewPCG(5, 6)))
	k := NewKeyring(testSecret(t, "one"), 1)
	c := k.Current().Issue(b)
	for i, want := range []bool{true, true, false} {
		if got := k.Verify(b, c[:]); got != want {
			t.Errorf("after %d rotations: accepted %v, want %v", i, got, want)
		}
		next, err := k.Next(testSecret(t, strings.Repeat("x", i+1)), uint8(i+2))
		if err != nil {
			t.Fatal(err)
		}
		k = next
	}
}

func TestNextRefusesRepeatsAndCollisions(t *testing.T) {
	a, b := testSecret(t, "a"), testSecret(t, "b")
	k := NewKeyring(a, 1)
	if _, err := k.Next(a, 2); !errors.Is(err, ErrRepeatedSecret) {
		t.Errorf("current secret again: %v", err)
	}
	if _, err := k.Next(b, 1); !errors.Is(err, ErrKeyIDCollision) {
		t.Errorf("current keyID again: %v", err)
	}
	k2, err := k.Next(b, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k2.Next(a, 3); !errors.Is(err, ErrRepeatedSecret) {
		t.Errorf("previous secret again: %v", err)
	}
}

func TestNewSecretRefusesBadEntropy(t *testing.T) {
	stuck := func(b byte) io.Reader { return bytes.NewReader(bytes.Repeat([]byte{b}, 64)) }
	for name, c := range map[string]struct {
		src  io.Reader
		want error
	}{
		"failing":  {errReader{}, ErrEntropy},
		"empty":    {bytes.NewReader(nil), ErrEntropy},
		"short":    {bytes.NewReader(make([]byte, SecretSize-1)), ErrEntropy},
		"all zero": {stuck(0), ErrWeakSecret},
		"all ones": {stuck(0xff), ErrWeakSecret},
	} {
		if s, err := NewSecret(c.src); !errors.Is(err, c.want) || s != (Secret{}) {
			t.Errorf("%s source: secret %v, error %v, want %v", name, s, err, c.want)
		}
	}
	if _, err := NewSecret(rand.Reader); err != nil {
		t.Errorf("working source: %v", err)
	}
}

// A rotation whose source is bad leaves the keyring as it was.
func TestRotationRefusesBadEntropy(t *testing.T) {
	first, err := NewSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var store Store
	store.Swap(NewKeyring(first, 1))
	rotate := func(source io.Reader) error {
		s, err := NewSecret(source)
		if err != nil {
			return err
		}
		next, err := store.Load().Next(s, store.Load().Current().KeyID()+1)
		if err == nil {
			store.Swap(next)
		}
		return err
	}
	for name, c := range map[string]struct {
		source io.Reader
		want   error
	}{
		"failing":   {errReader{}, ErrEntropy},
		"short":     {bytes.NewReader(first[:SecretSize-1]), ErrEntropy},
		"stuck":     {bytes.NewReader(bytes.Repeat([]byte{0xa5}, SecretSize)), ErrWeakSecret},
		"repeating": {bytes.NewReader(first[:]), ErrRepeatedSecret},
	} {
		before := store.Load()
		if err := rotate(c.source); !errors.Is(err, c.want) {
			t.Errorf("%s source: %v, want %v", name, err, c.want)
		}
		if store.Load() != before || before.Current().KeyID() != 1 {
			t.Errorf("%s source: the keyring has changed", name)
		}
	}
	if err := rotate(rand.Reader); err != nil || store.Load().Current().KeyID() != 2 {
		t.Errorf("working source: %v, key ID %d", err, store.Load().Current().KeyID())
	}
	if err := rotate(bytes.NewReader(first[:])); !errors.Is(err, ErrRepeatedSecret) {
		t.Errorf("the previous secret again: %v", err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("no entropy today") }

func TestParseSecret(t *testing.T) {
	s := testSecret(t, "p")
	got, err := ParseSecret(s.Hex())
	if err != nil || got != s {
		t.Fatalf("round trip: %v, %v", got, err)
	}
	digits := s.Hex()
	for _, bad := range []string{"", digits[:62], digits + "00", "zz" + digits[2:], strings.Repeat("00", 32), strings.Repeat("ab", 32)} {
		_, err := ParseSecret(bad)
		if err == nil {
			t.Errorf("%q is accepted", bad)
		} else if bad != "" && strings.Contains(err.Error(), digits[2:20]) {
			t.Errorf("error gives the secret away: %v", err)
		}
	}
	if strings.Contains(s.String(), digits[:16]) {
		t.Error("String gives the secret away")
	}
}

// Ten million random cookies under the right keyID, and as many that differ from the right one in a few bits.
func TestRandomCookiesAreRefused(t *testing.T) {
	tries := 10_000_000
	if testing.Short() {
		tries /= 20
	}
	k := NewKeyring(testSecret(t, "forge"), 9)
	b := NewBatch(1)
	b.Reset(1)
	b.Add(randomBinding(mrand.New(mrand.NewPCG(51, 52))))
	b.Sum(k.Current())
	var right, c [Size]byte
	b.Cookie(0, &right)
	if b.Equal(0, nil) || b.Equal(0, right[:Size-1]) || b.Equal(0, append(right[:], 0)) {
		t.Error("a cookie of the wrong length is accepted")
	}
	r := mrand.New(mrand.NewPCG(53, 54))
	le := binary.LittleEndian
	for range tries {
		for j := 0; j < Size; j += 8 {
			le.PutUint64(c[j:], r.Uint64())
		}
		c[0] = 9
		if b.Equal(0, c[:]) {
			t.Fatalf("%x is accepted for %x", c, right)
		}
		c = right
		x := r.Uint64() // two changes of the same byte by the same bits would be none
		c[x%Size] ^= byte(x>>8) | 1
		c[x>>16%Size] ^= byte(x>>24) &^ 1
		if b.Equal(0, c[:]) {
			t.Fatalf("%x is accepted for %x", c, right)
		}
	}
}
