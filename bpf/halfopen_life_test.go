package bpf

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// editHalfOpen changes a half-open flow of the inline service.
func editHalfOpen(t *testing.T, g *Programs, client netip.AddrPort, edit func(*guardHalfOpenFlow)) {
	t.Helper()
	key, err := g.flowKey(inline().ServiceKey, client)
	var f guardHalfOpenFlow
	if err == nil {
		err = g.maps.HalfOpen.Lookup(key, &f)
	}
	if err == nil {
		edit(&f)
		err = g.maps.HalfOpen.Put(key, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// finishes lets the server send a client protected records.
func finishes(t *testing.T, g *Programs, client netip.AddrPort) {
	t.Helper()
	send(t, g, back(from(newPacket(appData), client)))
}

// A half-open flow lives for at most four times the handshake timeout, whatever its client sends: records, repetitions of its
// ClientHello to the kernel, or to a worker. Then it may begin again.
func TestHalfOpenFlowsEnd(t *testing.T) {
	const timeout = time.Hour // of limiting
	client := ports("198.18.1.1")(0)
	g := limiting(t, 4)
	aged := func(by time.Duration) {
		editHalfOpen(t, g, client, func(f *guardHalfOpenFlow) { f.Born, f.Seen = monotonic()-uint64(by), monotonic() })
	}
	record := from(newPacket(appData), client)
	const dropped = "drop-unverified reason:encrypted"
	check(t, g, "begun", step{verifiedFrom(client), xdpPass, valid}, step{record, xdpPass, "pass-flow reason:encrypted"})
	aged(4*timeout - time.Minute)
	check(t, g, "almost", step{record, xdpPass, "pass-flow reason:encrypted"})
	aged(4*timeout + time.Second)
	check(t, g, "over", step{record, xdpDrop, dropped})
	for name, repeat := range map[string]func(){
		"by the kernel":    func() { check(t, g, "again", step{verifiedFrom(client), xdpPass, valid}) },
		"by a worker":      func() { noError(t, g.AddHalfOpen(inline().ServiceKey, client)) },
		"without a cookie": func() { noError(t, g.AddUnproved(inline().ServiceKey, client)) },
		"by a record":      func() { check(t, g, "record", step{record, xdpPass, "pass-flow reason:encrypted"}) },
		"by a later fragment": func() {
			check(t, g, "later", step{from(newPacket(later), client), xdpPass, "pass-flow reason:later-fragment"})
		},
	} {
		noError(t, g.DeleteFlow(inline().ServiceKey, client))
		check(t, g, name, step{verifiedFrom(client), xdpPass, valid})
		aged(3 * timeout)
		var before, after uint64
		editHalfOpen(t, g, client, func(f *guardHalfOpenFlow) { before = f.Born })
		repeat()
		editHalfOpen(t, g, client, func(f *guardHalfOpenFlow) { after = f.Born })
		if before != after {
			t.Errorf("%s: repeated, the flow begins anew", name)
		}
		aged(5 * timeout)
		check(t, g, name, step{record, xdpDrop, dropped}, step{verifiedFrom(client), xdpPass, valid}, step{record, xdpPass, "pass-flow reason:encrypted"})
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A flow that took no token returns none.
func TestTokensComeBackToWhoTookThem(t *testing.T) {
	const limit = 4
	g := limiting(t, limit)
	one := ports("198.18.1.1")
	noError(t, g.AddUnproved(inline().ServiceKey, one(500)))
	noError(t, g.AddFlow(inline().ServiceKey, one(501)))
	noError(t, g.AddHalfOpen(inline().ServiceKey, one(501))) // of one with a flow: no token
	if n := begun(t, g, 100, one); n != limit*halfOpenRoom {
		t.Fatalf("a source begins %d handshakes, want %d", n, limit*halfOpenRoom)
	}
	finishes(t, g, one(500))
	noError(t, g.DeleteFlow(inline().ServiceKey, one(501)))
	check(t, g, "of a flow that took none", step{verifiedFrom(one(600)), xdpDrop, overHalfOpen})
	noError(t, g.DeleteFlow(inline().ServiceKey, one(0)))
	check(t, g, "of a flow that is taken back", step{verifiedFrom(one(600)), xdpPass, valid}, step{verifiedFrom(one(601)), xdpDrop, overHalfOpen})
}

// Tokens are returned at the cost at which they were taken.
func TestTokensKeepTheirPrice(t *testing.T) {
	const limit = 4
	g := limiting(t, limit)
	one := ports("198.18.1.1")
	if n := begun(t, g, limit*halfOpenRoom, one); n != limit*halfOpenRoom {
		t.Fatalf("a source begins %d handshakes", n)
	}
	half := g.options.halfOpen()/2 + 1
	begun(t, g, half, func(i int) netip.AddrPort { // others, each from a prefix of its own
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 1)
	})
	for i := range halfOpenRoom {
		check(t, g, "finished too few", step{verifiedFrom(one(500)), xdpDrop, overHalfOpen})
		finishes(t, g, one(i))
	}
	check(t, g, "as many as one costs now", step{verifiedFrom(one(500)), xdpPass, valid}, step{verifiedFrom(one(501)), xdpDrop, overHalfOpen})
}

// A source over its limit uses up none of its neighbours' tokens, not even for a moment; when the prefix is over its limit, the source
// keeps its own.
func TestRefusedSourcesTakeNothing(t *testing.T) {
	const limit = 4
	g := limiting(t, limit)
	greedy, neighbour := ports("198.18.1.1"), ports("198.18.1.2")(0)
	begun(t, g, 100, greedy)
	for i := range (prefixHalfOpen-1)*limit*halfOpenRoom - 1 { // the prefix has room for one more
		noError(t, g.AddHalfOpen(inline().ServiceKey, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 1, byte(10 + i/limit)}), uint16(1+i))))
	}
	for name, refuse := range map[string]func() error{
		"the program": func() error {
			_, err := g.progs.Dtlsguard.Run(&ebpf.RunOptions{Data: verifiedFrom(greedy(1000)).bytes(), Repeat: 50000})
			return err
		},
		"workers": func() error {
			var f guardHalfOpenFlow
			for range 50000 {
				if g.takeHalfOpen(greedy(0).Addr(), &f, monotonic()) {
					return errors.New("over the limit")
				}
			}
			return nil
		},
	} {
		done := make(chan error)
		go func() { done <- refuse() }()
		ofSource, ofPrefix := g.halfOpenBuckets(neighbour.Addr())
		for going := true; going; {
			select {
			case err := <-done:
				noError(t, err)
				going = false
			default:
			}
			var f guardHalfOpenFlow
			if !g.takeHalfOpen(neighbour.Addr(), &f, monotonic()) {
				t.Errorf("%s: a neighbour of a source over its limit is refused", name)
				break
			}
			giveBack(ofSource, 0, f.Taken)
			giveBack(ofPrefix, 0, f.Taken/prefixHalfOpen)
			giveBack(&g.halfOpen[halfOpenAll], 0, f.TakenOfAll)
		}
		if t.Failed() {
			<-done
			return
		}
	}
	noError(t, g.AddHalfOpen(inline().ServiceKey, neighbour))
	other := ports("198.18.1.3")
	bucket, _ := g.halfOpenBuckets(other(0).Addr())
	check(t, g, "over the prefix's limit", step{verifiedFrom(other(0)), xdpDrop, overHalfOpen})
	if err := g.AddHalfOpen(inline().ServiceKey, other(1)); !errors.Is(err, ErrHalfOpen) {
		t.Errorf("over the prefix's limit: %v", err)
	}
	if full := *bucket; full > monotonic() {
		t.Errorf("a source that the prefix's limit stopped has used %v", time.Duration(full-monotonic()))
	}
}

// A reload that shortens the handshake timeout refuses no client because of that.
func TestShorterTimeoutRefusesNobody(t *testing.T) {
	const limit = 4
	g := limiting(t, limit)
	one := ports("198.18.1.1")
	begun(t, g, 100, one)
	noError(t, g.SetPolicy(Policy{Handshake: time.Minute, HalfOpenPerSource: limit}))
	if n := begun(t, g, 100, func(i int) netip.AddrPort { return one(500 + i) }); n != limit*halfOpenRoom {
		t.Errorf("a source begins %d handshakes after the reload, want %d", n, limit*halfOpenRoom)
	}
}

// Hashed places are enough: when as many sources as there is room for have used all of their tokens, one newcomer in a hundred
// shares a place with one of them, or with one of their prefixes.
func TestSourcesThatShareTokens(t *testing.T) {
	const limit, newcomers = 32, 10000 // the default limit
	g := &Programs{control: new(guardControl), halfOpen: make([]uint64, halfOpenAll+1), options: Options{MaxFlows: 65536}, hashKey: [2]uint64{7, 11}}
	g.limitHalfOpen(&Policy{Handshake: time.Hour, HalfOpenPerSource: limit})
	now := monotonic()
	var f guardHalfOpenFlow
	g.halfOpen[halfOpenAll] = now + uint64(time.Hour) // no source has more than its limit any more
	full := g.options.halfOpen() / limit
	for i := range full { // eight of each /24 use its tokens, too
		a := netip.AddrFrom4([4]byte{10, byte(i / 8 >> 8), byte(i / 8), byte(i % 8)})
		for range limit {
			if !g.takeHalfOpen(a, &f, now) {
				break
			}
		}
	}
	refused := 0
	for i := range newcomers {
		if !g.takeHalfOpen(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 1}), &f, now) {
			refused++
		}
	}
	t.Logf("%d full sources: %d of %d newcomers are refused", full, refused, newcomers)
	if refused > newcomers/50 {
		t.Errorf("%d of %d newcomers are refused, want at most 2 %%", refused, newcomers)
	}
}

// A half-open flow whose time is over is told of once, with its service.
func TestTimedOutIsToldOfOnce(t *testing.T) {
	g := guarding(t, inline())
	noError(t, g.SetPolicy(Policy{Handshake: time.Hour, IdleTimeout: time.Hour}))
	noError(t, g.AddHalfOpen(inline().ServiceKey, client4))
	began := monotonic()
	count := func(since uint64) (n int, until uint64) {
		until, err := g.TimedOut(since, func(s ServiceKey) {
			if s != inline().ServiceKey {
				t.Errorf("of %v", s)
			}
			n++
		})
		noError(t, err)
		return n, until
	}
	if n, _ := count(0); n != 0 {
		t.Errorf("%d handshakes timed out within an hour", n)
	}
	noError(t, g.SetPolicy(Policy{Handshake: time.Nanosecond, IdleTimeout: time.Hour}))
	n, until := count(began - uint64(time.Minute))
	if n != 1 {
		t.Errorf("%d handshakes timed out, want 1", n)
	}
	if n, _ := count(until); n != 0 {
		t.Errorf("%d handshakes are told of again", n)
	}
}
