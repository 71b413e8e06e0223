package handoff

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// endpointOf reads a sockaddr, and says whether it is of IPv4 in IPv6.
func endpointOf(sockaddr []byte) (e udpbatch.Endpoint, mapped bool) {
	var a netip.Addr
	if len(sockaddr) == 16 {
		a = netip.AddrFrom4([4]byte(sockaddr[4:]))
	} else {
		a = netip.AddrFrom16([16]byte(sockaddr[8:]))
	}
	return udpbatch.Endpoint{IP: a.As16(), Port: binary.BigEndian.Uint16(sockaddr[2:])}, a.Is4In6()
}

// minting is mode native-wolfssl in front of the server that gave a golden answer, inline.
func minting(t *testing.T, g *hellotest.Retry) (*native, *cookie.Keyring, func(d []byte) Hello) {
	t.Helper()
	r, ok := hello.ReadRetry(g.Answer)
	if !ok {
		t.Fatalf("%s: the answer is not read", g.Name)
	}
	answers := &Retries{Suites: []uint16{r.Suite}, Groups: []uint16{0x1d}}
	if r.Group != 0 {
		answers.Groups = []uint16{r.Group}
	}
	client, mapped := endpointOf(g.Sockaddr)
	m := newNative(newWolfSSL13(answers, NewPSKSuites(0), Serves13), mapped, nil, 4)
	parse := func(d []byte) Hello {
		var h Hello
		if r := hello.Parse(d, &h.ClientHello); r != hello.OK {
			t.Fatal(r)
		}
		h.Binding = cookie.Bind(client.AddrPort(), 4433, h.Version, h.Random)
		return h
	}
	return m, cookie.NewKeyring(cookie.Secret(g.Secret), 1), parse
}

// The answers are those of a real wolfSSL, byte by byte.
func TestWolfSSL13IsWhatWolfSSLAnswers(t *testing.T) {
	for _, g := range hellotest.Retries() {
		m, k, parse := minting(t, &g)
		h := verifyOne(m, k, parse(g.Hello))
		if h.Action != ActionRetry || h.Verified || h.Length == 0 {
			t.Fatalf("%s: %+v", g.Name, h)
		}
		h.Retry.Cookie = h.Answer[:h.Length]
		d := append(bytes.Clone(g.Hello), make([]byte, len(g.Answer))...)
		if n := hello.PutRetry(d, &h.Retry); !bytes.Equal(d[:n], g.Answer) {
			t.Errorf("%s:\n got %x\nwant %x", g.Name, d[:n], g.Answer)
		}
	}
}

// A cookie is good as it is and under the next secret, and for nothing else.
func TestWolfSSL13VerifiesCookies(t *testing.T) {
	for _, g := range hellotest.Retries() {
		m, k, parse := minting(t, &g)
		r, _ := hello.ReadRetry(g.Answer)
		second := func(c []byte) []byte {
			b := hellotest.New()
			b.MessageSeq, b.RecordSeq = 1, 1
			b.Tail = hellotest.Tail13(hellotest.Cookie13(c...))
			return b.Bytes()
		}
		try := func(k *cookie.Keyring, c []byte) Hello { return verifyOne(m, k, parse(second(c))) }
		if h := try(k, r.Cookie); !h.Verified {
			t.Errorf("%s: the server's own cookie is refused: %+v", g.Name, h)
		}
		next, err := k.Next(cookie.Secret{9}, 2)
		if err != nil {
			t.Fatal(err)
		}
		last, err := next.Next(cookie.Secret{8}, 3)
		if err != nil {
			t.Fatal(err)
		}
		if h := try(next, r.Cookie); !h.Verified {
			t.Errorf("%s: refused after one rotation", g.Name)
		}
		wrong := [][]byte{r.Cookie[:len(r.Cookie)-1], append(slices.Clone(r.Cookie), 0), r.Cookie[:1], make([]byte, len(r.Cookie))}
		for i := range r.Cookie {
			c := slices.Clone(r.Cookie)
			c[i] ^= 1
			wrong = append(wrong, c)
		}
		for _, c := range wrong {
			if h := try(k, c); h.Verified || h.Action != ActionBadRetry {
				t.Errorf("%s: cookie %x is good: %+v", g.Name, c, h)
			}
		}
		if h := try(last, r.Cookie); h.Verified || h.Action != ActionBadRetry {
			t.Errorf("%s: good after two rotations", g.Name)
		}
		h := parse(second(r.Cookie))
		h.Binding.SourcePort++
		if h := verifyOne(m, k, h); h.Verified {
			t.Errorf("%s: good from another port", g.Name)
		}
	}
}

// What a second ClientHello may change: the cookie says which suite and group the server asked for, and the server checks
// that the client heeded it. A suite that the client does not offer any longer, or another version, passes nobody.
func TestWolfSSL13SecondHelloOfAnother(t *testing.T) {
	for _, g := range hellotest.Retries() {
		m, k, parse := minting(t, &g)
		r, _ := hello.ReadRetry(g.Answer)
		tail := hellotest.Tail13(hellotest.Extension(10, 0, 2, 0, 0x19), hellotest.Cookie13(r.Cookie...))
		second := func(change func(b *hellotest.Builder)) Hello {
			b := hellotest.New()
			b.MessageSeq, b.RecordSeq, b.Tail = 1, 1, bytes.Clone(tail)
			change(b)
			return verifyOne(m, k, parse(b.Bytes()))
		}
		if h := second(func(*hellotest.Builder) {}); !h.Verified {
			t.Errorf("%s: other groups: %+v", g.Name, h)
		}
		if h := second(func(b *hellotest.Builder) { // it offered 1302 and 1301
			binary.BigEndian.PutUint16(b.Tail[2:], 0x1303)
			binary.BigEndian.PutUint16(b.Tail[4:], 0x1303)
		}); h.Verified || h.Action != ActionNoRetry {
			t.Errorf("%s: without the suite: %+v", g.Name, h)
		}
		if h := second(func(b *hellotest.Builder) { b.Tail[17] = 0xfd }); h.Verified || h.Action != ActionNoRetry {
			t.Errorf("%s: of DTLS 1.2: %+v", g.Name, h)
		}
		if h := second(func(b *hellotest.Builder) { b.Cookie = r.Cookie[:32] }); h.Verified || h.Action != ActionNoRetry {
			t.Errorf("%s: with a legacy cookie: %+v", g.Name, h)
		}
	}
}

func TestRetriesChoose(t *testing.T) {
	r := Retries{Suites: []uint16{0x1302, 0x1301}, Groups: []uint16{0x11ec, 0x1d}}
	offer := []byte{0x13, 0x01, 0x13, 0x02}
	if s := r.suite(offer); s != 0x1302 {
		t.Errorf("the server's order: %x", s)
	}
	if r.Client = true; r.suite(offer) != 0x1301 || r.suite([]byte{0x13, 0x03}) != 0 {
		t.Error("the client's order is not kept to")
	}
	groups := []byte{0, 0x1d, 0x11, 0xec}
	for _, c := range []struct {
		shares []byte
		want   uint16
	}{{nil, 0x11ec}, {[]byte{0, 0x17, 0, 1, 9}, 0x11ec}, {[]byte{0, 0x17, 0, 1, 9, 0, 0x1d, 0, 0}, 0}} {
		if g, ok := r.group(&hello.Extensions{Groups: groups, Shares: c.shares}); !ok || g != c.want {
			t.Errorf("shares %x: group %x, %v", c.shares, g, ok)
		}
	}
	if _, ok := r.group(&hello.Extensions{Groups: []byte{0, 0x17}}); ok {
		t.Error("there is a group in common of none")
	}
}

func TestWolfSSL13DoesNotAllocate(t *testing.T) {
	g := hellotest.Retries()[0]
	m, k, parse := minting(t, &g)
	list := []Hello{parse(g.Hello)}
	m.Verify(k, list)
	if n := testing.AllocsPerRun(100, func() { m.Verify(k, list) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkWolfSSL13 is what a minted HelloRetryRequest's cookie costs this thread, next to the two hashes alone that it
// consists of; in turns, because the machine is never alone.
func BenchmarkWolfSSL13(b *testing.B) {
	const turns = 1000
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	spent := func(f func()) float64 {
		began := threadTime(b)
		for range turns {
			f()
		}
		return float64(threadTime(b)-began) / turns
	}
	for _, g := range hellotest.Retries()[:2] {
		b.Run(g.Name, func(b *testing.B) {
			r, _ := hello.ReadRetry(g.Answer)
			m := newNative(newWolfSSL13(&Retries{Suites: []uint16{r.Suite}, Groups: []uint16{0x1d}}, NewPSKSuites(0), Serves13), false, nil, 4)
			k := cookie.NewKeyring(cookie.Secret(g.Secret), 1)
			var h Hello
			hello.Parse(g.Hello, &h.ClientHello)
			list := []Hello{h}
			transcript, sum := sha256.New(), make([]byte, 0, sha512.Size)
			if r.Suite == suiteSHA384 {
				transcript = sha512.New384()
			}
			mac := hmac.New(sha256.New, g.Secret[:])
			var mints, hashes []float64
			for b.Loop() {
				mints = append(mints, spent(func() { m.Verify(k, list) }))
				hashes = append(hashes, spent(func() {
					transcript.Reset()
					transcript.Write(h.Body)
					sum = transcript.Sum(sum[:0])
					mac.Reset()
					mac.Write(r.Cookie[:len(r.Cookie)-16])
					sum = mac.Sum(sum[:0])
				}))
			}
			slices.Sort(mints)
			slices.Sort(hashes)
			mint, hash := mints[len(mints)/2], hashes[len(hashes)/2]
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(mint, "ns/mint")
			b.ReportMetric(hash, "ns/hashes")
			b.ReportMetric(mint/hash, "mint/hashes")
		})
	}
}

// threadTime is the CPU time that this thread has had, in nanoseconds.
func threadTime(b *testing.B) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}
