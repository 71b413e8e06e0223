package scenario

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// junkSize is the size of the question, so that only the content differs.
const junkSize = 205

func swapComparison(*Fixtures) (*Comparison, error) {
	t, err := xdp.FirstHello(question())
	return &Comparison{Template: t, Subjects: []*Subject{
		guardSubject("dtlsguard xdp", guardOptions{}), guardSubject("dtlsguard xdp, SipHash", guardOptions{format: bpf.FormatV2}), swapSubject(), roundSubject(),
	}, Compare: []Pair{{0, 2, 0}, {1, 2, 0.38}, {0, 3, 0}, {1, 3, 0}}}, err
}

// peersComparison has the guard, with its own cookies and with a server's, and then every server.
func peersComparison(w *Fixtures) (*Comparison, error) {
	t, err := xdp.FirstHello(question())
	c := &Comparison{Template: t, Subjects: []*Subject{
		guardSubject("dtlsguard xdp", guardOptions{}), proxySubject("dtlsguard xdp, harvest", xdp.Driver, w, harvest, "xdp"),
	}, Compare: []Pair{{1, 0, 0}}}
	targeted := map[string]float64{"openssl": 20, "echo": 10} // of harvest, the default before servers that ask for cookies
	for i := range peers.Servers {
		name := peers.Servers[i].Name
		c.Subjects = append(c.Subjects, serverSubject(name, w))
		c.Compare = append(c.Compare, Pair{0, i + 2, 0}, Pair{1, i + 2, targeted[name]})
	}
	return c, err
}

func junkComparison(*Fixtures) (*Comparison, error) {
	t, err := xdp.Junk(junkSize)
	guard := guardSubject("dtlsguard xdp", guardOptions{})
	guard.Handled = packetsReceived
	return &Comparison{Template: t, Subjects: []*Subject{guard, dropSubject(), lookSubject()}, Compare: []Pair{{0, 1, 0.90}, {0, 2, 0}, {2, 1, 0}}}, err
}

func wrongCookieComparison(*Fixtures) (*Comparison, error) {
	t, err := xdp.WithCookie(question(), bytes.Repeat([]byte{guardKeyID}, cookie.Size))
	return &Comparison{Template: t, Subjects: []*Subject{guardSubject("dtlsguard xdp", guardOptions{}), swapSubject()}, Compare: []Pair{{0, 1, 0}}}, err
}

// verifiedComparison is of ClientHellos with the right cookie. They come from one client, whose limit they exceed, so that what
// counts is to verify one and not to receive it.
func verifiedComparison(*Fixtures) (*Comparison, error) {
	secret, err := cookie.NewSecret(rand.Reader)
	c := &Comparison{Compare: []Pair{{1, 0, 1.5}}}
	for _, o := range []struct {
		name   string
		format bpf.Format
		size   int
	}{{"HMAC-SHA256", bpf.FormatV1, cookie.Size}, {"SipHash", bpf.FormatV2, cookie.SizeV2}} {
		t, err2 := rightCookie(secret, o.format, o.size)
		err = errors.Join(err, err2)
		s := guardSubject(o.name, guardOptions{format: o.format, refuses: true, secret: &secret})
		s.Template, s.Source, s.Handled = &t, verifiedClient, packetsReceived
		c.Subjects = append(c.Subjects, s)
	}
	return c, err
}

// verifiedClient is out of the flood's sources.
var verifiedClient = netip.AddrPortFrom(netip.MustParsePrefix(sources4).Addr().Next(), 4000)

// rightCookie is the ClientHello of verifiedClient with a cookie of size bytes that a guard with the secret takes.
func rightCookie(s cookie.Secret, f bpf.Format, size int) (xdp.Template, error) {
	t, err := xdp.WithCookie(question(), make([]byte, size))
	if err != nil {
		return t, err
	}
	var h hello.ClientHello
	if r := hello.Parse(t.Append(nil, verifiedClient), &h); r != hello.OK {
		return t, fmt.Errorf("the flood's datagram is not a ClientHello: %v", r)
	}
	binding := cookie.Bind(verifiedClient, servicePort, h.Version, h.Random)
	return xdp.WithCookie(question(), issue(cookie.NewKeyring(s, guardKeyID).Current(), f, &binding))
}

func sizeComparison(*Fixtures) (*Comparison, error) {
	t, err := xdp.FirstHello(question())
	return &Comparison{Template: t, Subjects: []*Subject{
		guardSubject("1 service, 10 flows", guardOptions{flows: 10}),
		guardSubject("1024 services, 10 flows", guardOptions{services: 1023, flows: 10}),
		guardSubject("1 service, 60000 flows", guardOptions{flows: 60000}),
	}, Compare: []Pair{{1, 0, 0.90}, {2, 0, 0.90}}}, err
}

// framesComparison has ClientHellos of several sizes: the shortest, a real one, and padded ones.
func framesComparison(*Fixtures) (*Comparison, error) {
	c := &Comparison{}
	for _, size := range result.Sizes {
		d := padded(size)
		if size == len(question()) {
			d = question()
		}
		t, err := xdp.FirstHello(d)
		if err != nil {
			return nil, fmt.Errorf("ClientHello of %d bytes: %w", size, err)
		}
		s := guardSubject(fmt.Sprintf("%d bytes", size), guardOptions{})
		s.Template = &t
		if len(c.Subjects) > 0 {
			c.Compare = append(c.Compare, Pair{len(c.Subjects), 0, 0})
		}
		c.Subjects = append(c.Subjects, s)
	}
	return c, nil
}

// padded returns a ClientHello of size bytes: the shortest one with a padding extension (RFC 7685).
func padded(size int) []byte {
	const padding = 21
	b := hellotest.New()
	if room := size - len(b.Bytes()) - 6; room >= 0 { // 6: length of all extensions, type and length of this one
		be := binary.BigEndian
		b.Tail = be.AppendUint16(be.AppendUint16(be.AppendUint16(b.Tail, uint16(4+room)), padding), uint16(room))
		b.Tail = append(b.Tail, make([]byte, room)...)
	}
	return b.Bytes()
}

// pathsComparison has all paths of an answer.
func pathsComparison(w *Fixtures) (*Comparison, error) {
	t, err := xdp.FirstHello(question())
	generic := guardSubject("xdp, generic", guardOptions{mode: bpf.AttachGeneric})
	generic.At = xdp.Stack // answers of generic XDP are skbs
	c := &Comparison{Template: t, Subjects: []*Subject{
		guardSubject("xdp, native", guardOptions{}), generic,
		workersSubject("workers behind XDP", w, true), workersSubject("workers alone", w, false),
	}}
	for i := range c.Subjects[1:] {
		c.Compare = append(c.Compare, Pair{0, i + 1, 0})
	}
	return c, err
}

// formatsComparison has the cookie formats of the kernel, with the daemon as users start it.
func formatsComparison(w *Fixtures) (*Comparison, error) {
	t, err := xdp.FirstHello(question())
	return &Comparison{Template: t, Subjects: []*Subject{
		proxySubject("the guard's own (trust)", xdp.Driver, w, "trust", "xdp"), qtSubject(w),
		proxySubject("a server's own (harvest)", xdp.Driver, w, harvest, "xdp"),
		proxySubject("the guard's own, SipHash (trust)", xdp.Driver, w, "trust", "xdp", "--cookie-mac", "siphash"),
	}, Compare: []Pair{{1, 0, 0}, {2, 0, 1.6}, {3, 0, 1.75}}}, err
}

// resetComparison has the answers of mode reset next to those of a server that accepts the guard's cookies. All have the same cookie.
// Of HelloRetryRequests any answer counts: the generator reads HelloVerifyRequests.
func resetComparison(*Fixtures) (*Comparison, error) {
	t, err := xdp.FirstHello(question())
	late, err2 := xdp.FirstHello(hellotest.Retries()[0].Hello)
	admission := bpf.Admission{Reset: true, DTLS12: true}
	verify := guardSubject("reset, HelloVerifyRequest", guardOptions{admission: admission})
	admission.DTLS13 = true
	retry := guardSubject("reset, HelloRetryRequest", guardOptions{admission: admission})
	retry.Template, retry.Handled = &late, allAnswers
	return &Comparison{Template: t, Subjects: []*Subject{guardSubject("HelloVerifyRequest", guardOptions{}), verify, retry},
		Compare: []Pair{{1, 0, 0.90}, {2, 0, 0.90}}}, errors.Join(err, err2)
}

// qtSubject is the daemon inline in front of a Qt server with a shared secret.
func qtSubject(w *Fixtures) *Subject {
	server, err := newServer("qt", w)
	secret := filepath.Join(w.dir, "qt.secret")
	d, err2 := newDaemon(w, "native-qt", "xdp", "--secret-file", secret)
	text := make([]byte, cookie.Size)
	_, _ = rand.Read(text) // it never fails
	err3 := os.WriteFile(secret, []byte(hex.EncodeToString(text)+"\n"), 0o600)
	return &Subject{Name: "Qt's (native-qt)", At: xdp.Driver, Handled: rightAnswers, Skip: reason(err, err2, err3), Start: func(b *Testbed) error {
		if err := server.start(b, secret); err != nil {
			return err
		}
		return d.inline(b)
	}}
}

// sweep has the rates among which the peak is searched: sockets peak below 0.55 M/s.
var sweep = []float64{60e3, 80e3, 100e3, 120e3, 140e3, 160e3, 190e3, 220e3, 260e3, 310e3, 370e3, 430e3, 500e3, 580e3}

func workersComparison(w *Fixtures) (*Comparison, error) {
	t, err := xdp.FirstHello(question())
	if err != nil {
		return nil, err
	}
	const workers = "dtlsguard workers"
	over, peak := workersSubject(workers+", overload", w, true), workersSubject(workers+", peak", w, true)
	alone := workersSubject(workers+" without XDP, peak", w, false)
	echo, preferred := serverSubject("echo", w), preferredSubject("echo", w)
	echo.Name += ", peak"
	preferred.Name += ", peak"
	over.Wall = true
	for _, s := range []*Subject{peak, alone, echo, preferred} {
		s.Rates = sweep
	}
	return &Comparison{Template: t, Subjects: []*Subject{over, peak, alone, echo, preferred},
		Compare: []Pair{{0, 1, 0.90}, {1, 3, 0}, {2, 3, 0}, {1, 4, 0.90}, {2, 4, 0.90}}}, nil
}

// scalingComparison has everything, generator and counter included, on one CPU, and then on two.
func scalingComparison(w *Fixtures) (*Comparison, error) {
	t, err := xdp.FirstHello(question())
	c := &Comparison{Template: t, Subjects: []*Subject{
		guardSubject("xdp, 1 CPU", guardOptions{}), guardSubject("xdp, 2 CPUs", guardOptions{}),
		workersSubject("workers, 1 CPU", w, true), workersSubject("workers, 2 CPUs", w, true),
	}, Compare: []Pair{{1, 0, 0}, {3, 2, 0}}}
	for i, s := range c.Subjects {
		s.Wall = true
		s.Shared = [][]int{{subjectCPU}, {generatorCPU, subjectCPU}}[i%2]
	}
	return c, err
}

// question is the ClientHello of the floods, of openssl s_client with DTLS 1.2, 205 bytes.
func question() []byte { return traffic.Captured("openssl-dtls12:1") }
