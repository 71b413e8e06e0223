package relay

import (
	"testing"
)

// The cost of a datagram of an established flow.
func BenchmarkDatagram(b *testing.B) {
	c := newClients(new(testing.T), Limits{Flows: 1000})
	var flows []*Flow
	for range 512 {
		flows = append(flows, c.establish(c.open(0), 0))
	}
	for i := 0; b.Loop(); i++ {
		f := flows[i&511]
		c.table.FromClient(f, data, int64(i))
		c.table.FromServer(f, data, int64(i))
	}
}

func TestFlowsDoNotAllocate(t *testing.T) {
	c := newClients(t, Limits{Flows: 1000, PerSource: 10, HalfOpenPerSource: 10})
	f := c.establish(c.open(0), 0)
	c.table.Close(f)
	ip := f.Client.IP
	half := c.open(0)
	if n := testing.AllocsPerRun(100, func() {
		c.table.Reserve(&ip)
		c.table.Return(&ip)
		c.table.FromClient(half, join0, 0)
		c.table.FromServer(half, join0, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var join0 = join(plain(typeHandshake, 0, 2, 0), plain(typeChangeCipherSpec, 0, 1))
