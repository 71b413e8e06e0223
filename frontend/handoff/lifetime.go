package handoff

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// lifetimeProbes find out how old a cookie with a clock in it may get. Servers do not say: Mbed TLS takes those of the last minute
// (MBEDTLS_SSL_COOKIE_TIMEOUT), radsecproxy those of the last 5 seconds. So some are asked for at once, and each is shown
// at twice the age of the one before, until one is refused. Those that are taken are handshakes at the server, aborted at once.
type lifetimeProbes struct {
	probing *probing
	waiting []agedCookie
	passed  atomic.Int64 // the greatest age that was taken, ns
}

// agedCookie is a cookie that waits until it has the age to be shown.
type agedCookie struct {
	conn   line
	cookie []byte
	asked  time.Time
	age    time.Duration
}

// oldest bounds the ages that are tried. A pool of 4096 asks for 250 cookies per second then, which is a 400th of a CPU of
// DTLSv1_listen (8.7 us each, bench/README.md).
const oldest = 40 * time.Second

// refreshEvery is how old a cookie may get in the pool before it is asked for again: half of what the server takes. Of the
// other half the patience of Pool.refresh and that of waitForHandshakes may take a quarter each; the rest is for the watch, which
// comes by twice a second, and for the client to bring it.
func (t *lifetimeProbes) refreshEvery() time.Duration { return time.Duration(t.passed.Load()) / 2 }

// begin starts from the age that probing has tried, with cookies of the server as it is now. Earlier ones must have ended.
func (t *lifetimeProbes) begin(ctx context.Context, p *prober) {
	t.passed.Store(int64(aging))
	t.probing = &probing{prober: p, ctx: ctx}
	for age := 2 * aging; age < oldest; age *= 2 {
		c, err := t.probing.from(netip.AddrPort{})
		if err != nil {
			return // fewer probes, and cookies are asked for more often than need be
		}
		asked := time.Now()
		if a, err := t.probing.again(c, t.probing.question(hello.Probe{})); err == nil && len(a.cookie) > 0 {
			t.waiting = append(t.waiting, agedCookie{c, a.cookie, asked, age})
		}
	}
}

// step shows the next cookie, if it is old enough, and reports whether that was the last: then it is known how old they may
// get.
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
	default: // silence says nothing; the next one may
	}
	if len(t.waiting) == 0 {
		t.end()
		return true
	}
	return false
}

// end gives the sockets back.
func (t *lifetimeProbes) end() {
	t.waiting = nil
	if t.probing != nil {
		t.probing.closeConns()
		t.probing = nil
	}
}
