package bpf

import (
	"net/netip"
	"sync"
	"testing"
	"time"
)

// returns fails the test if f waits for a lock.
func returns(t *testing.T, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s waits", what)
	}
}

var lists = map[netip.Prefix]bool{
	netip.MustParsePrefix("203.0.113.0/24"): true, netip.MustParsePrefix("203.0.113.7/32"): false, netip.MustParsePrefix("2001:db8::/32"): true,
}

// Lists that take seconds to write delay neither the heartbeat nor a worker's flow.
func TestListsDelayNothing(t *testing.T) {
	g := guarding(t, inline())
	heartbeat := func() error { g.Heartbeat(); return nil }
	during := func(lock *sync.Mutex, what string, f func() error) {
		lock.Lock()
		defer lock.Unlock()
		returns(t, what, f)
	}
	during(&g.mu, "a heartbeat, for the lock that workers take", heartbeat)
	during(&g.mu, "a change of lists, for the lock that workers take", func() error { return g.SetPrefixes(lists) })
	during(&g.listing, "a heartbeat, for a change of lists", heartbeat)
	during(&g.listing, "a flow, for a change of lists", func() error { return g.AddFlow(inline().ServiceKey, client4) })
}

// Of changed lists only the difference is written: the same ones again need no write, which a frozen map refuses. What another
// guard wrote while it held the programs goes.
func TestOnlyChangedPrefixesAreWritten(t *testing.T) {
	g := guarding(t, inline())
	need(t, g.SetPrefixes(lists))
	need(t, g.maps.Prefixes.Put(new(prefixKey(netip.MustParsePrefix("198.51.100.0/24"))), uint32(listedDeny)))
	need(t, g.Retake())
	need(t, g.SetPrefixes(lists))
	all, err := g.prefixes()
	need(t, err)
	if len(all) != len(lists)+1 { // and 0.0.0.0/0
		t.Errorf("%v, want those of %v", all, lists)
	}
	need(t, g.maps.Prefixes.Freeze())
	if err := g.SetPrefixes(lists); err != nil {
		t.Errorf("the same lists are written again: %v", err)
	}
	if err := g.SetPrefixes(map[netip.Prefix]bool{netip.MustParsePrefix("198.51.100.0/24"): true}); err == nil {
		t.Error("other lists could be written to a frozen map")
	}
}
