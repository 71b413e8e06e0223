package handoff

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// lifetimeProbes find out how old a cookie with a clock may become. Servers do not tell: Mbed TLS accepts those of the
// last minute (MBEDTLS_SSL_COOKIE_TIMEOUT), radsecproxy those of the last 5 seconds. So several cookies are requested at
// once, and each is presented at twice the age of the previous one, until one is refused. Accepted ones start handshakes
// at the server, which are aborted at once.
type lifetimeProbes struct {
	probing *probing
	waiting []agedCookie
	passed  atomic.Int64 // the greatest accepted age, ns
}

// agedCookie is a cookie that waits for the age at which it is presented.
type agedCookie struct {
	conn   line
	cookie []byte
	asked  time.Time
	age    time.Duration
}

// oldest bounds the ages that are tried. At that age a pool of 4096 asks for 250 cookies per second, which is a 400th of
// a CPU of DTLSv1_listen (8.7 us each, bench/README.md).
const oldest = 40 * time.Second

// refreshEvery is the age at which a cookie in the pool is requested again: half of what the server accepts. The patience
// of Pool.refresh and that of waitForHandshakes may take a quarter of the other half each; the rest is for the watch,
// which runs twice per second, and for the client.
func (t *lifetimeProbes) refreshEvery() time.Duration { return time.Duration(t.passed.Load()) / 2 }

// begin starts from the age that probing has tried, with cookies of the server as it is now. Earlier probes must have
// ended.
func (t *lifetimeProbes) begin(ctx context.Context, p *prober) {
	t.passed.Store(int64(aging))
	t.probing = &probing{prober: p, ctx: ctx}
	for age := 2 * aging; age < oldest; age *= 2 {
		c, err := t.probing.from(netip.AddrPort{})
		if err != nil {
			return // fewer probes: cookies are requested more often than necessary
		}
		asked := time.Now()
		if a, err := t.probing.again(c, t.probing.question(hello.Probe{})); err == nil && len(a.cookie) > 0 {
			t.waiting = append(t.waiting, agedCookie{c, a.cookie, asked, age})
		}
	}
}

// step presents the next cookie if it is old enough, and reports whether that was the last: then the lifetime is known.
func (t *lifetimeProbes) step(ctx context.Context) (settled bool) {
	if len(t.waiting) == 0 {
		return false
	}
	next := t.waiting[0]
	age := time.Since(next.asked)
	if age < next.age {
		return false
	}
	t.probing.ctx = ctx
	a, err := t.probing.again(next.conn, t.probing.question(hello.Probe{Cookie: next.cookie, MessageSeq: 1, RecordSeq: 1}))
	if err != nil || ctx.Err() != nil {
		return false
	}
	t.waiting = t.waiting[1:]
	switch {
	case a.hello:
		t.probing.abort(next.conn)
		t.passed.Store(int64(age))
	case a.cookie != nil:
		t.waiting = nil
	default: // silence proves nothing; the next one may
	}
	if len(t.waiting) == 0 {
		t.end()
		return true
	}
	return false
}

// end closes the sockets.
func (t *lifetimeProbes) end() {
	t.waiting = nil
	if t.probing != nil {
		t.probing.closeConns()
		t.probing = nil
	}
}
