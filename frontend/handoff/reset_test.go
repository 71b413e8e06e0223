package handoff

import (
	"bytes"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

// resetting is mode reset in front of a server of versions, with cookies by mac and a clock that stands still.
func resetting(serves Versions, mac cookie.MAC) (*reset, *addresses.Gate) {
	g := addresses.NewGate(addresses.NewSet([2]uint64{1}, 600), new(atomic.Pointer[addresses.Table]), addresses.Policy{Rate: limit.Rate{PerSecond: 1, Burst: 1}})
	c := Config{MAC: mac, Cookies: cookie.Measured(), Gate: g, Now: func() int64 { return 1000e9 }}
	return newReset(&c, serves, 8), g
}

// helloOf parses a datagram as a worker does.
func helloOf(t *testing.T, d []byte) Hello {
	t.Helper()
	var h Hello
	if r := hello.Parse(d, &h.ClientHello); r != hello.OK {
		t.Fatal(r)
	}
	h.Binding = cookie.Bind(netip.MustParseAddrPort("192.0.2.1:50000"), 4433, h.Version, h.Random)
	return h
}

func verifyOne(m Verifier, k *cookie.Keyring, h Hello) Hello {
	list := []Hello{h}
	m.Verify(k, list)
	return list[0]
}

func hello13(extensions ...[]byte) *hellotest.Builder {
	b := hellotest.New()
	b.Tail = hellotest.Tail13(extensions...)
	return b
}

// sizes are those of the guard's own cookies.
var sizes = map[cookie.MAC]int{cookie.HMACSHA256: cookie.Size, cookie.SipHash: cookie.SizeV2}

func TestResetOfDTLS12(t *testing.T) {
	for mac, size := range sizes {
		t.Run(mac.String(), func(t *testing.T) { testResetOfDTLS12(t, mac, size) })
	}
}

func testResetOfDTLS12(t *testing.T, mac cookie.MAC, size int) {
	m, g := resetting(Serves12, mac)
	k := keyring(t, 1)
	b := hellotest.New()
	h := verifyOne(m, k, helloOf(t, b.Bytes()))
	if h.Verified || h.Action != ActionVerify || h.Length != size {
		t.Fatalf("a first ClientHello: %+v", h)
	}
	b.Cookie, b.MessageSeq = h.Answer[:h.Length], 1
	if h := verifyOne(m, k, helloOf(t, b.Bytes())); h.Verified || h.Action != ActionReset {
		t.Errorf("with its cookie: %+v", h)
	}
	b.Cookie = append(bytes.Clone(b.Cookie[:size-1]), b.Cookie[size-1]^1)
	if h := verifyOne(m, k, helloOf(t, b.Bytes())); h.Verified || h.Action != ActionVerify || h.Length != size {
		t.Errorf("with a wrong one: %+v", h)
	}
	source := netip.MustParseAddr("192.0.2.1").As16()
	g.Prove(&source, 1, 1000e9)
	if h := verifyOne(m, k, helloOf(t, hellotest.New().Bytes())); !h.Verified || h.Unproved {
		t.Errorf("the next attempt: %+v", h)
	}
}

func TestResetOfDTLS13(t *testing.T) {
	for mac, size := range sizes {
		t.Run(mac.String(), func(t *testing.T) { testResetOfDTLS13(t, mac, size) })
	}
}

func testResetOfDTLS13(t *testing.T, mac cookie.MAC, size int) {
	k := keyring(t, 1)
	for _, serves := range []Versions{Serves13, Serves12 | Serves13} {
		m, _ := resetting(serves, mac)
		h := verifyOne(m, k, helloOf(t, hello13().Bytes()))
		if h.Verified || h.Action != ActionRetry || h.Length != size || h.Retry.Suite != 0x1302 {
			t.Fatalf("a first ClientHello: %+v", h)
		}
		c := h.Answer[:h.Length]
		if h := verifyOne(m, k, helloOf(t, hello13(hellotest.Cookie13(c...)).Bytes())); h.Action != ActionReset {
			t.Errorf("with its cookie: %+v", h)
		}
		b := hellotest.New() // the same, as a cookie of a HelloVerifyRequest
		b.Cookie, b.MessageSeq = c, 1
		if h := verifyOne(m, k, helloOf(t, b.Bytes())); h.Action != ActionVerify {
			t.Errorf("a HelloRetryRequest's cookie passes in DTLS 1.2: %+v", h)
		}
		wrong := append(bytes.Clone(c[:size-1]), c[size-1]^1)
		for name, e := range map[string][]byte{"wrong": wrong, "short": c[:size-1], "long": append(bytes.Clone(c), 0)} {
			if h := verifyOne(m, k, helloOf(t, hello13(hellotest.Cookie13(e...)).Bytes())); h.Action != ActionBadRetry || h.Length != 0 {
				t.Errorf("a %s cookie: %+v", name, h)
			}
		}
		b = hello13()
		b.Cookie = c
		if h := verifyOne(m, k, helloOf(t, b.Bytes())); h.Action != ActionNoRetry {
			t.Errorf("a legacy cookie in DTLS 1.3: %+v", h)
		}
		b = hello13()
		b.Tail[9] = 1 // compression
		if h := verifyOne(m, k, helloOf(t, b.Bytes())); h.Action != ActionNoRetry {
			t.Errorf("DTLS 1.3 with compression: %+v", h)
		}
		for range 2 {
			k = keyring(t, 1, 2, 3)
		}
		if h := verifyOne(m, k, helloOf(t, hello13(hellotest.Cookie13(c...)).Bytes())); h.Action != ActionBadRetry {
			t.Errorf("after two rotations: %+v", h)
		}
		k = keyring(t, 1)
	}
}

// Who is asked how depends on what the server speaks and on what the client offers.
func TestResetByVersions(t *testing.T) {
	k := keyring(t, 1)
	old := hellotest.New().Bytes()
	fragment := hello13(make([]byte, 4))
	fragment.FragmentLength = 48 // after the suites, before supported_versions
	for _, c := range []struct {
		name     string
		serves   Versions
		datagram []byte
		want     Action
	}{
		{"1.2 client, dual server", Serves12 | Serves13, old, ActionVerify},
		{"1.2 client, 1.3 server", Serves13, old, ActionVerify},
		{"1.3 client, 1.2 server", Serves12, hello13().Bytes(), ActionVerify},
		{"fragment, 1.2 server", Serves12, fragment.Bytes(), ActionVerify},
		{"fragment, dual server", Serves12 | Serves13, fragment.Bytes(), ActionVerify},
		{"fragment, 1.3 server", Serves13, fragment.Bytes(), ActionRetry},
	} {
		m, _ := resetting(c.serves, cookie.HMACSHA256)
		if h := verifyOne(m, k, helloOf(t, c.datagram)); h.Action != c.want || h.Length == 0 {
			t.Errorf("%s: action %d, want %d", c.name, h.Action, c.want)
		}
	}
}

// A second ClientHello that is not the first one with a cookie proves nothing: its version and random are bound to the cookie.
// Suites, groups and shares may change (RFC 8446 section 4.1.2 has the client send another share), and are the server's
// business, who sees neither of the two.
func TestSecondHelloOfAnother(t *testing.T) {
	k := keyring(t, 1)
	m, _ := resetting(Serves12|Serves13, cookie.HMACSHA256)
	cookieOf := func(b *hellotest.Builder) []byte {
		h := verifyOne(m, k, helloOf(t, b.Bytes()))
		return bytes.Clone(h.Answer[:h.Length])
	}
	old, late := cookieOf(hellotest.New()), cookieOf(hello13())
	group := hellotest.Extension(10, 0, 2, 0, 0x17)
	for name, c := range map[string]struct {
		second func(b *hellotest.Builder)
		want   Action
	}{
		"the same":          {func(b *hellotest.Builder) { b.Tail = hellotest.Tail13(hellotest.Cookie13(late...)) }, ActionReset},
		"another group":     {func(b *hellotest.Builder) { b.Tail = hellotest.Tail13(group, hellotest.Cookie13(late...)) }, ActionReset},
		"a client_version":  {func(b *hellotest.Builder) { b.Version--; b.Tail = hellotest.Tail13(hellotest.Cookie13(late...)) }, ActionBadRetry},
		"another random":    {func(b *hellotest.Builder) { b.Random[9] ^= 1; b.Tail = hellotest.Tail13(hellotest.Cookie13(late...)) }, ActionBadRetry},
		"1.2 after 1.3":     {func(b *hellotest.Builder) { b.Cookie = late }, ActionVerify},
		"1.3 after 1.2":     {func(b *hellotest.Builder) { b.Tail = hellotest.Tail13(hellotest.Cookie13(old...)) }, ActionBadRetry},
		"1.3, legacy":       {func(b *hellotest.Builder) { b.Cookie = old; b.Tail = hellotest.Tail13() }, ActionNoRetry},
		"1.2, as the first": {func(b *hellotest.Builder) { b.Cookie = old }, ActionReset},
		"DTLS 1.0":          {func(b *hellotest.Builder) { b.Cookie = old; b.Version = 0xfeff }, ActionVerify},
	} {
		b := hellotest.New()
		b.MessageSeq, b.RecordSeq = 1, 1
		c.second(b)
		if h := verifyOne(m, k, helloOf(t, b.Bytes())); h.Verified || h.Action != c.want {
			t.Errorf("%s: action %d, want %d", name, h.Action, c.want)
		}
	}
}

func TestLimitedProvesNothing(t *testing.T) {
	_, g := resetting(Serves12, cookie.HMACSHA256)
	m := &limited{g, func() int64 { return 1000e9 }}
	if h := verifyOne(m, nil, helloOf(t, hellotest.New().Bytes())); !h.Verified || !h.Unproved {
		t.Errorf("the first: %+v", h)
	}
	if h := verifyOne(m, nil, helloOf(t, hellotest.New().Bytes())); h.Verified || h.Action != ActionLimited {
		t.Errorf("one too many: %+v", h)
	}
	source := netip.MustParseAddr("192.0.2.1").As16()
	g.Prove(&source, 1, 1000e9)
	if h := verifyOne(m, nil, helloOf(t, hellotest.New().Bytes())); !h.Verified || h.Unproved {
		t.Errorf("one that is known: %+v", h)
	}
}

func TestResetDoesNotAllocate(t *testing.T) {
	for mac := range sizes {
		testResetDoesNotAllocate(t, mac)
	}
}

func testResetDoesNotAllocate(t *testing.T, mac cookie.MAC) {
	m, _ := resetting(Serves12|Serves13, mac)
	k := keyring(t, 1)
	list := []Hello{helloOf(t, hello13().Bytes()), helloOf(t, hellotest.New().Bytes())}
	if n := testing.AllocsPerRun(100, func() {
		for i := range list {
			list[i].Cookie = nil
		}
		m.Verify(k, list)
	}); n != 0 {
		t.Errorf("%v: %v allocations", mac, n)
	}
}

// Each server that mode reset is for is told why, those whose cookies a proxy could harvest included.
func TestResetSaysWhy(t *testing.T) {
	for _, p := range []Profile{{}, {AsksCookie: true}, {AsksCookie: true, Stateless: true, Deterministic: true, PerPort: true, CookieLength: 20}} {
		if why := p.whyReset(); !strings.HasPrefix(why, "the server ") && !strings.HasPrefix(why, "it") {
			t.Errorf("%+v: %q", p, why)
		}
	}
}
