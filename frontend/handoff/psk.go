package handoff

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

const (
	// maxIdentity is the length in bytes of the longest identity that a server is asked about. Longer ones are tickets, whose
	// suite is that of the server's choice when it issued them.
	maxIdentity = 64
	// maxIdentities is how many are known at a time.
	maxIdentities = 64
	// askPSKEvery bounds how often a server is asked about one.
	askPSKEvery = 100 * time.Millisecond
)

// Suite is a cipher suite of TLS 1.3 (RFC 8446 appendix B.4); 0: none.
type Suite uint16

var suiteNames = map[Suite]string{
	0: "", 0x1301: "TLS_AES_128_GCM_SHA256", 0x1302: "TLS_AES_256_GCM_SHA384", 0x1303: "TLS_CHACHA20_POLY1305_SHA256",
	0x1304: "TLS_AES_128_CCM_SHA256", 0x1305: "TLS_AES_128_CCM_8_SHA256",
}

// String is its name.
func (s Suite) String() string { return suiteNames[s] }

// ParseSuite reads the name of a suite.
func ParseSuite(name string) (Suite, error) {
	for s, n := range suiteNames {
		if n == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("no suite of TLS 1.3 is called %q: there are %s", name, strings.Join(SuiteNames(), ", "))
}

// SuiteNames are those of all suites.
func SuiteNames() (list []string) {
	for _, s := range suites13 {
		list = append(list, Suite(s).String())
	}
	return list
}

// PSKSuites knows with which suite a wolfSSL server of DTLS 1.3 answers clients that offer a pre-shared key (RFC 8446
// section 4.2.11): that of the key, which the server alone knows. It is asked about each identity until it answers, by
// [PSKSuites.Run]; until then, or if there are too many, the client is answered with the suite that it would get without a key. Safe for
// concurrent use.
type PSKSuites struct {
	fixed     Suite // of all keys; 0: the server is asked
	list      atomic.Pointer[[]*pskEntry]
	learned   atomic.Uint32 // how often something was learned: the clock by which entries age
	questions chan pskQuestion
}

type pskEntry struct {
	identity string
	offered  uint8 // set of the server's suites that the client lists, by number
	suite    uint16
	plain    bool // no other than it would get without a key
	used     atomic.Uint32
}

type pskQuestion struct {
	identity [maxIdentity]byte
	length   int
	suites   [8]uint16 // offered, of those that the server takes
	offered  uint8
	table    uint16
}

// NewPSKSuites knows of no identity. fixed is the suite of all keys, 0 if the server is to be asked.
func NewPSKSuites(fixed Suite) *PSKSuites {
	p := &PSKSuites{fixed: fixed, questions: make(chan pskQuestion, 8)}
	p.Forget()
	return p
}

// Forget forgets what was learned: the server may be another one.
func (p *PSKSuites) Forget() { p.list.Store(new([]*pskEntry)) }

// suite is what the server chooses of r's suites for a client that offers x, which has a pre-shared key; table is what it
// would choose without.
func (p *PSKSuites) suite(r *Retries, x *hello.Extensions, table uint16) uint16 {
	identity := hello.Identity(x.PSK)
	if len(identity) == 0 || len(identity) > maxIdentity {
		return table
	}
	if p.fixed != 0 {
		if hello.Lists(x.Suites, uint16(p.fixed)) {
			return uint16(p.fixed)
		}
		return table
	}
	offered := r.offered(x.Suites)
	for _, e := range *p.list.Load() {
		if e.offered == offered && e.identity == string(identity) {
			if now := p.learned.Load(); e.used.Load() != now {
				e.used.Store(now)
			}
			return e.suite
		}
	}
	if len(p.questions) == cap(p.questions) { // as in a flood
		return table
	}
	q := pskQuestion{length: len(identity), offered: offered, table: table}
	copy(q.identity[:], identity)
	for i, s := range r.Suites[:min(len(r.Suites), len(q.suites))] {
		if offered&(1<<i) != 0 {
			q.suites[i] = s
		}
	}
	select {
	case p.questions <- q:
	default:
	}
	return table
}

// offered is which of the server's suites a list has, as a set by number.
func (r *Retries) offered(list []byte) (set uint8) {
	for i, s := range r.Suites {
		if i < 8 && hello.Lists(list, s) {
			set |= 1 << i
		}
	}
	return set
}

// known reports whether the answer to q is known.
func (p *PSKSuites) known(q *pskQuestion) bool {
	return slices.ContainsFunc(*p.list.Load(), func(e *pskEntry) bool {
		return e.offered == q.offered && e.identity == string(q.identity[:q.length])
	})
}

// learn notes the answer to q. Of too many identities one goes that needs no place, or else the one that was not used for
// longest.
func (p *PSKSuites) learn(q *pskQuestion, suite uint16) {
	e := &pskEntry{identity: string(q.identity[:q.length]), offered: q.offered, suite: suite, plain: suite == q.table}
	now := p.learned.Add(1)
	e.used.Store(now)
	next := slices.Clone(*p.list.Load())
	if len(next) >= maxIdentities {
		worst := 0
		for i, o := range next {
			if w := next[worst]; o.plain && !w.plain || o.plain == w.plain && now-o.used.Load() > now-w.used.Load() {
				worst = i
			}
		}
		next = slices.Delete(next, worst, worst+1)
	}
	next = append(next, e)
	p.list.Store(&next)
}

// run is Run, which says in the log why it cannot.
func (p *PSKSuites) run(ctx context.Context, server netip.AddrPort, log *slog.Logger) {
	if err := p.Run(ctx, server); err != nil {
		log.Warn("the server cannot be asked for the suites of pre-shared keys: clients with one are answered as those without", "server", server, "error", err)
	}
}

// Run asks the server about the identities that clients come with, until ctx ends. The error is that no socket could be opened.
func (p *PSKSuites) Run(ctx context.Context, server netip.AddrPort) error {
	q := probing{ctx: ctx}
	var err error
	if q.prober, err = newProber(server); err != nil {
		return err
	}
	defer q.close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ask := <-p.questions:
			if !p.known(&ask) {
				if err := p.ask(&q, &ask); err != nil {
					return err
				}
				pause(ctx, askPSKEvery)
			}
		}
	}
}

// ask asks the server with a binder that cannot be right: a HelloRetryRequest comes before it is looked at. Each question has a
// socket of its own, so that a late answer to another is not taken for its own. From silence nothing is learned: the server
// may be busy. The error is that no socket could be opened.
func (p *PSKSuites) ask(q *probing, ask *pskQuestion) error {
	c, err := q.dial(netip.AddrPort{})
	if err != nil {
		return err
	}
	defer q.hangUp(c)
	probe := hello.Probe13{Groups: groups13, Identity: ask.identity[:ask.length]}
	for _, s := range ask.suites {
		if s != 0 {
			probe.Suites = append(probe.Suites, s)
		}
	}
	r, asked, err := q.retry(c, &probe)
	switch {
	case err != nil || asked == nil:
	case len(r.Cookie) == 0 || !slices.Contains(probe.Suites, r.Suite): // an alert
		p.learn(ask, ask.table)
	default:
		p.learn(ask, r.Suite)
	}
	return nil
}

// cookieSuite is the suite that a cookie of wolfSSL's says it was made for, 0 if it is none.
func cookieSuite(c []byte) uint16 {
	if len(c) == 0 || len(c) < 1+int(c[0])+2 {
		return 0
	}
	return binary.BigEndian.Uint16(c[1+int(c[0]):])
}
