package scenario

import (
	"bytes"
	"fmt"

	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello/hellotest"
)

// junkSize is that of the question, so that only the content differs.
const junkSize = 205

// Scenario can be run.
type Scenario interface {
	Run(*Settings) (*Outcome, error)
}

// Entry is a scenario that can be made: a contest, or a trial.
type Entry struct {
	Name, Title string
	make        func(dir string) (subjects []*Subject, compare []Comparison, t gen.Template, err error)
	trial       func(dir string) (*Trial, error)
}

// Make readies the scenario. What it needs is compiled into dir.
func (e *Entry) Make(dir string) (Scenario, error) {
	if e.trial != nil {
		t, err := e.trial(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		t.Name, t.Title = e.Name, e.Title
		return t, nil
	}
	subjects, compare, t, err := e.make(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Name, err)
	}
	return &Contest{Name: e.Name, Title: e.Title, Template: t, Subjects: subjects, Compare: compare}, nil
}

// Entries are all there are, in the order of the report. What is compared is promised in bench/README.md.
var Entries = []Entry{
	{"swap", "ClientHellos answered in the kernel, against a program that only sends back", swapContest, nil},
	{"peers", "ClientHellos answered in the kernel, against servers with sockets, in overload", peersContest, nil},
	{"junk", "datagrams that are no DTLS, dropped", junkContest, nil},
	{"wrong-cookie", "ClientHellos with a wrong cookie, answered anew", wrongCookieContest, nil},
	{"size", "answers with few and many services and verified flows", sizeContest, nil},
	{"workers", "ClientHellos answered by workers, in overload and at their peak", workersContest, nil},
	{"handshakes", "real clients' handshakes during a flood, with the guard in the kernel and without", nil, inlineTrial},
}

func swapContest(string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.FirstHello(question())
	return []*Subject{guardSubject("dtlsguard xdp", guardOptions{}), swapSubject(), roundSubject()},
		[]Comparison{{0, 1, 0.26}, {0, 2, 0}}, t, err
}

func peersContest(dir string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.FirstHello(question())
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
	t, err := gen.WithCookie(question(), bytes.Repeat([]byte{guardEpoch}, cookie.Size))
	return []*Subject{guardSubject("dtlsguard xdp", guardOptions{}), swapSubject()}, []Comparison{{0, 1, 0}}, t, err
}

func sizeContest(string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.FirstHello(question())
	return []*Subject{
		guardSubject("1 service, 10 flows", guardOptions{flows: 10}),
		guardSubject("1024 services, 10 flows", guardOptions{services: 1023, flows: 10}),
		guardSubject("1 service, 60000 flows", guardOptions{flows: 60000}),
	}, []Comparison{{1, 0, 0.90}, {2, 0, 0.90}}, t, err
}

// sweep are the rates that a peak is looked for among: sockets peak below 0.4 M/s.
var sweep = []float64{60e3, 80e3, 100e3, 115e3, 130e3, 145e3, 160e3, 180e3, 200e3, 230e3, 260e3, 300e3, 340e3, 380e3, 430e3}

func workersContest(dir string) ([]*Subject, []Comparison, gen.Template, error) {
	t, err := gen.FirstHello(question())
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

// question is the ClientHello of the floods: of openssl s_client with DTLS 1.2, 205 bytes.
func question() []byte {
	const name = "openssl-dtls12:1"
	for _, c := range hellotest.Captured() {
		if c.Name == name {
			return c.Datagram
		}
	}
	panic(fmt.Sprintf("no captured ClientHello %s", name))
}
