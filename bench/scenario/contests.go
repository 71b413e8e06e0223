package scenario

import (
	"bytes"
	"fmt"

	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello/hellotest"
)

// question is the ClientHello of the floods: of openssl s_client with DTLS 1.2, 205 bytes.
const question = "openssl-dtls12:1"

// junkSize is that of the question, so that only the content differs.
const junkSize = 205

// Entry is a contest that can be made. What it needs is compiled into dir.
type Entry struct {
	Name, Title string
	make        func(dir string) (subjects []*Subject, compare []Comparison, t gen.Template, err error)
}

// Make readies the contest.
func (e *Entry) Make(dir string) (*Contest, error) {
	subjects, compare, t, err := e.make(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Name, err)
	}
	return &Contest{Name: e.Name, Title: e.Title, Template: t, Subjects: subjects, Compare: compare}, nil
}

// Entries are all there are, in the order of the report. What is compared is promised in bench/README.md.
var Entries = []Entry{
	{"swap", "ClientHellos answered in the kernel, against a program that only sends back", swapContest},
	{"peers", "ClientHellos answered in the kernel, against servers with sockets, in overload", peersContest},
	{"junk", "datagrams that are no DTLS, dropped", junkContest},
	{"wrong-cookie", "ClientHellos with a wrong cookie, answered anew", wrongCookieContest},
	{"size", "answers with few and many services and verified flows", sizeContest},
	{"workers", "ClientHellos answered by workers, in overload and at their peak", workersContest},
}

func swapContest(string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.FirstHello(captured(question))
	return []*Subject{guardSubject("dtlsguard xdp", guardOptions{}), swapSubject()}, []Comparison{{0, 1, 0.26}}, t, err
}

func peersContest(dir string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.FirstHello(captured(question))
	return []*Subject{
		guardSubject("dtlsguard xdp", guardOptions{}),
		serverSubject("openssl", dir), serverSubject("echo", dir), serverSubject("gnutls", dir),
	}, []Comparison{{0, 1, 18}, {0, 2, 13}, {0, 3, 0}}, t, err
}

func junkContest(string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.Junk(junkSize)
	guard := guardSubject("dtlsguard xdp", guardOptions{})
	guard.Handled = packetsReceived
	return []*Subject{guard, dropSubject()}, []Comparison{{0, 1, 0.90}}, t, err
}

func wrongCookieContest(string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.WithCookie(captured(question), bytes.Repeat([]byte{guardEpoch}, cookie.Size))
	return []*Subject{guardSubject("dtlsguard xdp", guardOptions{}), swapSubject()}, []Comparison{{0, 1, 0}}, t, err
}

func sizeContest(string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.FirstHello(captured(question))
	return []*Subject{
		guardSubject("1 service, 10 flows", guardOptions{flows: 10}),
		guardSubject("1024 services, 10 flows", guardOptions{services: 1023, flows: 10}),
		guardSubject("1 service, 60000 flows", guardOptions{flows: 60000}),
	}, []Comparison{{1, 0, 0.90}, {2, 0, 0.90}}, t, err
}

// sweep are the rates that a peak is looked for among: sockets peak below 0.3 M/s.
var sweep = []float64{60e3, 80e3, 100e3, 115e3, 130e3, 145e3, 160e3, 180e3, 200e3, 230e3, 260e3, 300e3}

func workersContest(dir string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.FirstHello(captured(question))
	if err != nil {
		return nil, nil, t, err
	}
	over, peak := workersSubject(dir), workersSubject(dir)
	over.Name, over.Wall = over.Name+", overload", true
	peak.Name, peak.Rates = peak.Name+", peak", sweep
	echo := serverSubject("echo", dir)
	echo.Name, echo.Rates = echo.Name+", peak", sweep
	return []*Subject{over, peak, echo}, []Comparison{{0, 1, 0.90}, {1, 2, 0.90}}, t, nil
}

func captured(name string) []byte {
	for _, c := range hellotest.Captured() {
		if c.Name == name {
			return c.Datagram
		}
	}
	panic(fmt.Sprintf("no captured ClientHello %s", name))
}
