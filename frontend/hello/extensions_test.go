package hello_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// read parses d, which must be a ClientHello, and its extensions.
func read(t *testing.T, d []byte) (h hello.ClientHello, x hello.Extensions, ok bool) {
	t.Helper()
	if r := hello.Parse(d, &h); r != hello.OK {
		t.Fatalf("%x: %v", d, r)
	}
	ok = h.ReadExtensions(&x)
	return h, x, ok
}

func TestReadExtensions(t *testing.T) {
	b := hellotest.New()
	b.SessionID = []byte("session")
	b.Tail = hellotest.Tail13(
		hellotest.Extension(10, 0, 4, 0, 0x1d, 0x11, 0xec),
		hellotest.Extension(51, 0, 5, 0, 0x1d, 0, 1, 9),
		hellotest.Cookie13('c', 'o'),
		hellotest.Extension(41, 0, 9, 0, 3, 'p', 's', 'k', 0, 0, 0, 0, 0, 2, 1, 7))
	_, x, ok := read(t, b.Bytes())
	group, rest, shared := hello.NextShare(x.Shares)
	switch {
	case !ok || !x.Whole || !x.Offers13() || x.Suite13() != 0x1302:
		t.Errorf("%v, %+v", ok, x)
	case string(x.Session) != "session" || string(x.Cookie) != "co" || string(hello.Identity(x.PSK)) != "psk":
		t.Errorf("%+v, identity %q", x, hello.Identity(x.PSK))
	case !hello.Lists(x.Groups, 0x11ec) || hello.Lists(x.Groups, 0xec00) || !shared || group != 0x1d || len(rest) != 0:
		t.Errorf("groups %x, shares %x", x.Groups, x.Shares)
	}
}

// A first fragment shows what is in it, and never more than that.
func TestReadExtensionsOfFragments(t *testing.T) {
	b := hellotest.New()
	b.Tail = hellotest.Tail13(hellotest.Cookie13('c', 'o'))
	whole := b.Bytes()
	end := len(whole) - 25
	for n := 42; n < end; n++ {
		b.FragmentLength = n
		_, x, ok := read(t, b.Bytes())
		if !ok || x.Whole || (x.Versions != nil) != (n >= end-8) || x.Cookie != nil {
			t.Errorf("%d of %d bytes: %v %+v", n, end, ok, x)
		}
	}
}

func TestReadExtensionsRefuses(t *testing.T) {
	versions := hellotest.Extension(43, 2, 0xfe, 0xfc)
	for name, extensions := range map[string][]byte{
		"versions of odd length":       hellotest.Extension(43, 3, 0xfe, 0xfc, 0),
		"no versions":                  hellotest.Extension(43, 0),
		"versions shorter than said":   hellotest.Extension(43, 4, 0xfe, 0xfc),
		"versions longer than said":    hellotest.Extension(43, 2, 0xfe, 0xfc, 0, 0),
		"versions twice":               append(bytes.Clone(versions), versions...),
		"groups without contents":      hellotest.Extension(10),
		"groups of odd length":         hellotest.Extension(10, 0, 1, 0),
		"shares shorter than said":     hellotest.Extension(51, 0, 9, 0),
		"empty cookie":                 hellotest.Extension(44, 0, 0),
		"cookie longer than extension": hellotest.Extension(44, 0, 3, 'c', 'o'),
		"cookie twice":                 append(hellotest.Cookie13('c'), hellotest.Cookie13('c')...),
		"extension beyond the end":     {0, 43, 0, 9, 2},
		"half an extension":            {0, 43},
	} {
		b := hellotest.New()
		b.Tail = append(hellotest.Tail(), byte(len(extensions)>>8), byte(len(extensions)))
		b.Tail = append(b.Tail, extensions...)
		if _, x, ok := read(t, b.Bytes()); ok && !x.BadShares {
			t.Errorf("%s: %+v", name, x)
		}
	}
	b := hellotest.New()
	b.Tail = append(hellotest.Tail13(), 0)
	if _, _, ok := read(t, b.Bytes()); ok {
		t.Error("a byte after the extensions is taken")
	}
	b.Tail = hellotest.Tail()
	if _, x, ok := read(t, b.Bytes()); !ok || !x.Whole || x.Offers13() {
		t.Errorf("no extensions: %v %+v", ok, x)
	}
}

// The answers of a real wolfSSL, built again from their fields.
func TestPutRetryIsWhatWolfSSLSends(t *testing.T) {
	for _, g := range hellotest.Retries() {
		a := g.Answer
		r := hello.Retry{Suite: binary.BigEndian.Uint16(a[60:])}
		at := 65
		if binary.BigEndian.Uint16(a[at:]) == 51 {
			r.Group = binary.BigEndian.Uint16(a[at+4:])
			at += 6
		}
		r.Cookie = a[at+12:]
		if n := hello.PutRetry(bytes.Clone(g.Hello), &r); (n == 0) != (len(g.Hello) < len(a)) {
			t.Errorf("%s: a question of %d bytes is answered with %d", g.Name, len(g.Hello), n)
		}
		d := append(bytes.Clone(g.Hello), make([]byte, len(a))...) // as if more records followed
		if n := hello.PutRetry(d, &r); !bytes.Equal(d[:n], a) {
			t.Errorf("%s:\n got %x\nwant %x", g.Name, d[:n], a)
		}
	}
}

func TestPutRetryEchoes(t *testing.T) {
	b := hellotest.New()
	b.SessionID, b.Tail = bytes.Repeat([]byte{7}, 32), hellotest.Tail13(hellotest.Extension(21, make([]byte, 60)...))
	d := b.Bytes()
	n := hello.PutRetry(d, &hello.Retry{Suite: 0x1301, Echo: true, Cookie: make([]byte, 32)})
	if n != 109+32 || d[59] != 32 || !bytes.Equal(d[60:92], b.SessionID) || d[92] != 0x13 {
		t.Errorf("%d bytes: %x", n, d[:n])
	}
}

func TestPutRetryRefuses(t *testing.T) {
	for _, c := range []struct{ hello, cookie int }{{108, 32}, {500, hello.MaxRetryCookie + 1}} {
		d := hellotest.New().Bytes()
		d = append(d, make([]byte, 500)...)[:c.hello]
		before := bytes.Clone(d)
		if n := hello.PutRetry(d, &hello.Retry{Suite: 0x1301, Cookie: make([]byte, c.cookie)}); n != 0 || !bytes.Equal(d, before) {
			t.Errorf("%d bytes, cookie of %d: wrote %d", c.hello, c.cookie, n)
		}
	}
}

func TestPutReset(t *testing.T) {
	b := hellotest.New()
	b.RecordSeq = 0x01020304
	d := b.Bytes()
	n := hello.PutReset(d)
	if want := []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 1, 2, 3, 4, 0, 2, 2, 80}; !bytes.Equal(d[:n], want) {
		t.Errorf("%x, want %x", d[:n], want)
	}
	if !hello.IsAlert(d[:n]) || hello.IsIllegalParameter(d[:n]) {
		t.Error("the alert is not read as what it is")
	}
}

func TestProves(t *testing.T) {
	record := func(kind, epoch byte) []byte { return []byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0} }
	for _, c := range []struct {
		d    []byte
		want bool
	}{
		{record(22, 0), false}, {record(22, 1), true}, {record(23, 2), true}, {record(20, 0), false},
		{[]byte{0x2e, 0, 0, 0, 0}, false}, // epoch 2: the server's first flight, to anybody
		{[]byte{0x2f, 0, 0, 0, 0}, true}, {[]byte{0x2c, 0, 0, 0, 0}, true}, {[]byte{0x2f}, false}, {nil, false}, {record(64, 1), false},
	} {
		if got := hello.Proves(c.d); got != c.want {
			t.Errorf("%x: %v", c.d, got)
		}
	}
}

// checkExtensions holds for every datagram: no panic, parts of the datagram only, an answer that fits.
func checkExtensions(t *testing.T, d []byte) {
	var h hello.ClientHello
	if hello.Parse(d, &h) != hello.OK {
		return
	}
	var x hello.Extensions
	if h.ReadExtensions(&x) && x.Whole && !h.Whole {
		t.Fatalf("%x: more is read than is there", d)
	}
	for s := x.Shares; ; {
		var ok bool
		if _, s, ok = hello.NextShare(s); !ok {
			break
		}
	}
	hello.Identity(x.PSK)
	x.Suite13()
	for _, r := range []hello.Retry{{Cookie: make([]byte, 32)}, {Echo: true, Group: 29, Cookie: make([]byte, hello.MaxRetryCookie)}} {
		q := bytes.Clone(d)
		if n := hello.PutRetry(q, &r); n > len(d) || n == 0 && len(d) >= 65+32+6+12+hello.MaxRetryCookie {
			t.Fatalf("%x: answered with %d bytes", d, n)
		}
	}
	if n := hello.PutReset(bytes.Clone(d)); n > len(d) {
		t.Fatalf("%x: reset with %d bytes", d, n)
	}
}

func FuzzReadExtensions(f *testing.F) {
	for _, c := range append(hellotest.Captured(), hellotest.Cases()...) {
		f.Add(c.Datagram)
	}
	for _, r := range hellotest.Retries() {
		f.Add(r.Hello)
	}
	b := hellotest.New()
	b.Tail = hellotest.Tail13(hellotest.Cookie13(1, 2, 3), hellotest.Extension(41, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0))
	f.Add(b.Bytes())
	f.Fuzz(checkExtensions)
}

func TestExtensionsDoNotAllocate(t *testing.T) {
	d := hellotest.Retries()[0].Hello
	q := make([]byte, len(d))
	cookie := make([]byte, 32)
	if n := testing.AllocsPerRun(100, func() {
		var h hello.ClientHello
		var x hello.Extensions
		copy(q, d)
		hello.Parse(q, &h)
		h.ReadExtensions(&x)
		hello.PutRetry(q, &hello.Retry{Suite: x.Suite13(), Cookie: cookie})
		hello.PutReset(q)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
