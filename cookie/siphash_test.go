package cookie

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/dchest/siphash"
)

// siphashVectors are those of the reference code: element n is for a message of n bytes.
func siphashVectors(t *testing.T) (list [][]byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/siphash128.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line[0] == '#' {
			continue
		}
		v, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	if len(list) != 64 {
		t.Fatalf("%d vectors, want 64", len(list))
	}
	return list
}

func counting(n int) []byte {
	m := make([]byte, n)
	for i := range m {
		m[i] = byte(i)
	}
	return m
}

func TestSipHashVectors(t *testing.T) {
	k := counting(16)
	k0, k1 := binary.LittleEndian.Uint64(k), binary.LittleEndian.Uint64(k[8:])
	vectors := siphashVectors(t)
	for n, want := range vectors {
		low, high := siphash.Hash128(k0, k1, counting(n))
		if got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, low), high); !bytes.Equal(got, want) {
			t.Errorf("message of %d bytes: %x, want %x", n, got, want)
		}
	}
	// The message of a binding is the vectors' for 55 bytes if its fields count on.
	m := counting(messageSize)
	b := Binding{Source: [16]byte(m[1:17]), SourcePort: 0x1112, DestinationPort: 0x1314, Version: 0x1516, Random: (*[RandomSize]byte)(m[23:])}
	low, high := (&Key{sip: [2]uint64{k0, k1}}).tag(0, &b)
	if got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, low), high); !bytes.Equal(got, vectors[messageSize]) {
		t.Errorf("tag of a binding: %x, want %x", got, vectors[messageSize])
	}
}

// Format v2 is what docs/security.md says, word for word.
func TestFormatV2(t *testing.T) {
	secret := Secret(counting(SecretSize))
	k := NewKeyring(secret, 0x5a).Current()
	random := [RandomSize]byte(counting(RandomSize))
	b := Binding{Source: [16]byte{10: 0xff, 11: 0xff, 12: 198, 13: 18, 14: 0, 15: 7}, SourcePort: 50000, DestinationPort: 4433, Version: 0xfefd, Random: &random}

	derive := hmac.New(sha256.New, secret[:])
	derive.Write([]byte("dtlsguard cookie v2"))
	message := append([]byte{0x02}, b.Source[:]...)
	message = append(message, 0xc3, 0x50, 0x11, 0x51, 0xfe, 0xfd)
	message = append(message, random[:]...)
	h := siphash.New128(derive.Sum(nil)[:16])
	h.Write(message)
	want := append([]byte{0x5a}, h.Sum(nil)[:15]...)

	if got := k.IssueV2(&b); !bytes.Equal(got[:], want) {
		t.Errorf("cookie %x, want %x", got, want)
	}
	if low, high := k.PoolTag(&b); bytes.Contains(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, low), high), want[1:9]) {
		t.Error("the tag of a pool is that of a cookie")
	}
}

func TestVerifyV2(t *testing.T) {
	ring := NewKeyring(Secret{1}, 1)
	next, err := ring.Next(Secret{2}, 2)
	if err != nil {
		t.Fatal(err)
	}
	last, err := next.Next(Secret{3}, 3)
	if err != nil {
		t.Fatal(err)
	}
	b := Binding{SourcePort: 7, Random: new([RandomSize]byte)}
	c := ring.Current().IssueV2(&b)
	if !ring.VerifyV2(&b, c[:]) || !next.VerifyV2(&b, c[:]) || last.VerifyV2(&b, c[:]) {
		t.Error("a cookie must be good under its own secret and the next one, and no longer")
	}
	for i := range c {
		for bit := range 8 {
			wrong := c
			wrong[i] ^= 1 << bit
			if ring.VerifyV2(&b, wrong[:]) {
				t.Errorf("good with bit %d of byte %d flipped", bit, i)
			}
		}
	}
	v1 := ring.Current().Issue(&b)
	for _, wrong := range [][]byte{nil, c[:15], append(c[:], 0), v1[:], v1[:SizeV2]} {
		if ring.VerifyV2(&b, wrong) {
			t.Errorf("%x is good", wrong)
		}
	}
	if ring.Verify(&b, c[:]) {
		t.Error("a cookie of v2 is good as one of v1")
	}
	if n := testing.AllocsPerRun(100, func() { c = ring.Current().IssueV2(&b); ring.VerifyV2(&b, c[:]); ring.Current().PoolTag(&b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSipHash(b *testing.B) {
	k := NewKeyring(Secret{1}, 1).Current()
	in := Binding{Random: new([RandomSize]byte)}
	b.ReportAllocs()
	for b.Loop() {
		in.SourcePort++
		k.IssueV2(&in)
	}
}
