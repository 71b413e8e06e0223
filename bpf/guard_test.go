package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// need skips a test if the kernel or the privileges do not suffice, and fails it where they must (CI).
func need(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" && (os.Geteuid() != 0 || errors.Is(err, ebpf.ErrNotSupported)) {
		t.Skipf("needs BPF: %v", err)
	}
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		t.Logf("%+v", verifier)
	}
	t.Fatal(err)
}

var (
	testSecret  = cookie.Secret{1, 2, 3, 4, 5, 6, 7, 8, 9}
	testRing    = cookie.NewKeyring(testSecret, 0x5a)
	otherSecret = cookie.Secret{1, 1, 2, 3, 5}
	straySecret = cookie.Secret{7, 7, 8}
)

// needClang skips a test without a compiler for the programs.
func needClang(t testing.TB) {
	t.Helper()
	_, err := exec.LookPath("clang-19")
	if err != nil && os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" {
		t.Skipf("needs clang-19 and llvm-19: %v", err)
	}
	need(t, err)
}

func load(t testing.TB, o Options) *Programs {
	t.Helper()
	if o.MaxServices == 0 {
		o.MaxServices = 8
	}
	if o.MaxFlows == 0 {
		o.MaxFlows = 4096
	}
	g, err := Load(o)
	need(t, err)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// inline is the service of most tests: answers from the kernel, both families.
func inline() Service {
	return Service{ServiceKey: ServiceKey{Port: 4433}, Answer: AnswerXDP, WorkersPort: 4444}
}

func guarding(t testing.TB, s ...Service) *Programs {
	g := load(t, Options{})
	if err := g.SetSecret(testRing.Current(), nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range s {
		if err := g.SetService(s); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// XDP actions.
const (
	xdpAborted = iota
	xdpDrop
	xdpPass
	xdpTx
	xdpRedirect
)

// run runs the ingress program on a frame.
func run(t testing.TB, g *Programs, frame []byte) (action uint32, out []byte) {
	t.Helper()
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	action, err := g.progs.Dtlsguard.Run(&o)
	if err != nil {
		t.Fatal(err)
	}
	return action, o.DataOut
}

// moved names the counters that changed, one word each.
func moved(t testing.TB, g *Programs, before Counters) string {
	t.Helper()
	now, err := g.Counters()
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	add := func(stage string, name fmt.Stringer, a, b uint64) {
		for range b - a {
			words = append(words, stage+name.String())
		}
	}
	for i := range now.Verdict {
		add("", Verdict(i), before.Verdict[i], now.Verdict[i])
	}
	for i := range now.Reason {
		add("reason:", hello.Reason(i), before.Reason[i], now.Reason[i])
	}
	for i := range now.Cookie {
		add("cookie:", CookieState(i), before.Cookie[i], now.Cookie[i])
	}
	for i := range now.Ingress {
		add("ingress:", IngressOutcome(i), before.Ingress[i], now.Ingress[i])
	}
	for i := range now.Egress {
		add("egress:", EgressOutcome(i), before.Egress[i], now.Egress[i])
	}
	for i := range now.Socket {
		add("socket:", SocketChoice(i), before.Socket[i], now.Socket[i])
	}
	return strings.Join(words, " ")
}

func counters(t testing.TB, g *Programs) Counters {
	t.Helper()
	c, err := g.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantCookie returns package cookie's cookie for the ClientHello in d.
func wantCookie(key *cookie.Key, src netip.AddrPort, port uint16, d []byte) [32]byte {
	b := bindingOf(src, port, d)
	return key.Issue(&b)
}

// bindingOf returns the binding of a cookie for the ClientHello in d.
func bindingOf(src netip.AddrPort, port uint16, d []byte) cookie.Binding {
	var h hello.ClientHello
	if r := hello.Parse(d, &h); r != hello.OK {
		panic(r)
	}
	return cookie.Binding{Source: src.Addr().As16(), SourcePort: src.Port(), DestinationPort: port, Version: h.Version, Random: h.Random}
}

// udpOf parses a frame and checks every length and checksum.
func udpOf(t testing.TB, f []byte, vlans int) (src, dst netip.AddrPort, payload []byte) {
	t.Helper()
	be := binary.BigEndian
	f = f[14+4*vlans:]
	var s, d netip.Addr
	switch f[0] >> 4 {
	case 4:
		if f[0] != 0x45 || int(be.Uint16(f[2:])) != len(f) || f[8] != 64 || f[9] != 17 || be.Uint16(f[6:]) != 0x4000 {
			t.Fatalf("IPv4 header % x of %d bytes", f[:20], len(f))
		}
		if checksum(0, f[:20]) != 0 {
			t.Errorf("IPv4 header checksum of % x", f[:20])
		}
		s, d = netip.AddrFrom4([4]byte(f[12:])), netip.AddrFrom4([4]byte(f[16:]))
		f = f[20:]
	case 6:
		if int(be.Uint16(f[4:])) != len(f)-40 || f[6] != 17 || f[7] != 64 {
			t.Fatalf("IPv6 header % x of %d bytes", f[:40], len(f))
		}
		s, d = netip.AddrFrom16([16]byte(f[8:])), netip.AddrFrom16([16]byte(f[24:]))
		f = f[40:]
	default:
		t.Fatalf("no IP: % x", f)
	}
	if int(be.Uint16(f[4:])) != len(f) {
		t.Fatalf("UDP length %d of %d bytes", be.Uint16(f[4:]), len(f))
	}
	if be.Uint16(f[6:]) == 0 || checksum(pseudo(s, d, len(f)), f) != 0 {
		t.Errorf("UDP checksum %#x", be.Uint16(f[6:]))
	}
	return netip.AddrPortFrom(s, be.Uint16(f)), netip.AddrPortFrom(d, be.Uint16(f[2:])), f[8:]
}

// pinned runs f on CPU 0, so that all packets use the same per-CPU state.
func pinned(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		t.Fatal(err)
	}
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &old)
	f()
}

// newBuilder returns a hello with the given number of bytes of cipher suites and nothing after them.
func newBuilder(suites int) *hellotest.Builder {
	b := hellotest.New()
	b.Tail = append(binary.BigEndian.AppendUint16(nil, uint16(suites)), make([]byte, suites)...)
	return b
}
