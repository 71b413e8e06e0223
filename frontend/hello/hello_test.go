package hello_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

func TestParse(t *testing.T) {
	for _, c := range append(hellotest.Captured(), hellotest.Cases()...) {
		var h hello.ClientHello
		if got := hello.Parse(c.Datagram, &h); got != c.Want {
			t.Errorf("%s: %v, want %v", c.Name, got, c.Want)
		}
	}
}

func TestParseFillsFields(t *testing.T) {
	b := hellotest.New()
	b.SessionID = []byte{9, 9, 9}
	b.Cookie = []byte("0123456789abcdefghijklmnopqrstuv")
	var h hello.ClientHello
	if r := hello.Parse(b.Bytes(), &h); r != hello.OK {
		t.Fatal(r)
	}
	if h.Version != 0xfefd || *h.Random != b.Random || !bytes.Equal(h.Cookie, b.Cookie) {
		t.Errorf("parsed %+v", h)
	}
}

// The layout of the answer is taken from a capture of openssl s_server 3.0 answering openssl-dtls12:1.
func TestPutHelloVerifyIsWhatOpenSSLSends(t *testing.T) {
	for _, c := range hellotest.Captured() {
		if c.Want != hello.OK {
			continue
		}
		d := bytes.Clone(c.Datagram)
		cookie := []byte("0123456789abcdefghijklmnopqrstuv")
		n := hello.PutHelloVerify(d, cookie)
		want := []byte{22, 0xfe, 0xff, 0, 0}
		want = append(want, c.Datagram[5:11]...) // record sequence number
		want = append(want, 0, 47, 3, 0, 0, 35)
		want = append(want, c.Datagram[17:19]...) // message_seq
		want = append(want, 0, 0, 0, 0, 0, 35, 0xfe, 0xff, 32)
		want = append(want, cookie...)
		if !bytes.Equal(d[:n], want) {
			t.Errorf("%s:\n got %x\nwant %x", c.Name, d[:n], want)
		}
		if got, ok := hello.HelloVerifyCookie(d[:n]); !ok || !bytes.Equal(got, cookie) {
			t.Errorf("%s: cookie read back %x, %v", c.Name, got, ok)
		}
	}
}

func TestPutHelloVerifyRefuses(t *testing.T) {
	d := hellotest.New().Bytes()
	for _, c := range []struct {
		d      []byte
		cookie int
	}{{d, 40}, {append(bytes.Clone(d), make([]byte, 64)...), hello.MaxCookie + 1}, {d[:59], 32}, {d[:27], 0}} {
		before := bytes.Clone(c.d)
		if n := hello.PutHelloVerify(c.d, make([]byte, c.cookie)); n != 0 || !bytes.Equal(c.d, before) {
			t.Errorf("%d bytes, cookie of %d: wrote %d", len(c.d), c.cookie, n)
		}
	}
	if n := hello.PutHelloVerify(d, make([]byte, 32)); n != 60 {
		t.Errorf("the smallest ClientHello is answered with %d bytes", n)
	}
}

func TestProbeIsAClientHello(t *testing.T) {
	for _, cookie := range [][]byte{nil, make([]byte, 20), make([]byte, 255)} {
		p := hello.Probe{Cookie: cookie, MessageSeq: 1, RecordSeq: 1}
		p.Random[0] = 7
		var h hello.ClientHello
		if r := hello.Parse(p.Append(nil), &h); r != hello.OK || h.Random[0] != 7 || len(h.Cookie) != len(cookie) {
			t.Errorf("probe: %v, %+v", r, h)
		}
	}
}

// check holds for every datagram: no panic, an answer only for a ClientHello, never longer than the question.
func check(t *testing.T, d []byte) {
	var h hello.ClientHello
	r := hello.Parse(d, &h)
	if r >= hello.ReasonLen {
		t.Fatalf("%x: reason %d", d, r)
	}
	if r != hello.OK {
		return
	}
	if d[0] != 22 || d[13] != 1 || len(d) < 61 || len(h.Cookie) > 255 {
		t.Fatalf("%x is taken for a ClientHello", d)
	}
	var cookie [hello.MaxCookie]byte
	for _, length := range []int{32, 40, hello.MaxCookie} {
		q := bytes.Clone(d)
		if n := hello.PutHelloVerify(q, cookie[:length]); n == 0 && len(d) >= 28+length || n > len(d) {
			t.Fatalf("%x: answered with %d bytes", d, n)
		}
	}
}

func TestNeverAmplifies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	seeds := append(hellotest.Captured(), hellotest.Cases()...)
	buf := make([]byte, 65507)
	for range 200_000 {
		d := buf[:copy(buf, seeds[r.IntN(len(seeds))].Datagram)]
		for range r.IntN(4) {
			if len(d) > 0 {
				d[r.IntN(len(d))] = byte(r.Uint32())
			}
		}
		check(t, d[:r.IntN(len(d)+1)])
		check(t, d)
	}
	for range 2000 {
		d := buf[:r.IntN(len(buf)+1)]
		for i := range min(len(d), 200) {
			d[i] = byte(r.Uint32())
		}
		check(t, d)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range append(hellotest.Captured(), hellotest.Cases()...) {
		f.Add(c.Datagram)
	}
	f.Fuzz(check)
}

func TestNoAllocation(t *testing.T) {
	d := hellotest.New().Bytes()
	q := make([]byte, len(d))
	var h hello.ClientHello
	var cookie [32]byte
	if n := testing.AllocsPerRun(100, func() {
		copy(q, d)
		hello.Parse(q, &h)
		hello.PutHelloVerify(q, cookie[:])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParse(b *testing.B) {
	d := hellotest.Captured()[0].Datagram
	var h hello.ClientHello
	b.ReportAllocs()
	for b.Loop() {
		hello.Parse(d, &h)
	}
}
