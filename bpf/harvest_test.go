package bpf

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// harvested is a service of harvested cookies on both sides: the programs, and a worker's mode over the same entries.
type harvested struct {
	*Programs
	ring    *cookie.Keyring
	mode    handoff.Verifier
	renew   func() // makes another mode, to which the rotation has just come
	memory  []byte
	entries []guardPoolEntry
}

// harvesting makes one with n ports, whose entries follow another service's, after one rotation.
func harvesting(t testing.TB, n int) *harvested {
	t.Helper()
	g := load(t, Options{PoolEntries: n + 3})
	if _, err := g.NewPoolMemory(3); err != nil {
		t.Fatal(err)
	}
	s, err := g.NewPoolMemory(n)
	if err != nil {
		t.Fatal(err)
	}
	b, err := handoff.Open(t.Context(), handoff.Config{
		Server: server.Start(t).Addr(), Mode: handoff.Harvest, Pool: max(1, n*16/17), Log: slog.New(slog.DiscardHandler),
		Table: func(int) handoff.Table { return handoff.Table{Entries: handoff.EntriesOf(s.Memory), Clock: s.Clock} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close) // before that of load
	ring, err := testRing.Next(otherSecret, 0x5b)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetSecret(ring.Current(), ring.Previous()); err != nil {
		t.Fatal(err)
	}
	if err := g.SetService(Service{ServiceKey: ServiceKey{Port: 4433}, Proxy: true, Answer: AnswerXDP, Format: FormatHarvest, Pool: s}); err != nil {
		t.Fatal(err)
	}
	h := &harvested{Programs: g, ring: ring, memory: s.Memory, entries: unsafe.Slice((*guardPoolEntry)(unsafe.Pointer(&s.Memory[0])), n)}
	h.renew = func() { h.mode = b.NewVerifier(1) }
	h.renew()
	return h
}

// shuffle gives the entries cookies of all lengths that the server could have, and lets some be unknown, some taken.
func (h *harvested) shuffle(r *rand.Rand, unusable int) {
	for i := range h.entries {
		s := &h.entries[i]
		*s = guardPoolEntry{Reserved: uint64(r.Uint32N(10))<<32 | uint64(r.Uint32())}
		if r.IntN(100) >= unusable {
			s.Length = 1 + r.Uint32N(32)
		}
		if r.IntN(100) < unusable {
			s.Taken = 1
		}
		c := unsafe.Slice((*byte)(unsafe.Pointer(&s.Cookie)), 32)
		for j := range s.Length {
			c[j] = byte(r.Uint32())
		}
	}
}

// verify returns a worker's verdict on the ClientHello in d.
func (h *harvested) verify(src netip.AddrPort, d []byte) *handoff.Hello {
	var hellos [1]handoff.Hello
	j := &hellos[0]
	if r := hello.Parse(d, &j.ClientHello); r != hello.OK {
		panic(r)
	}
	j.Binding = bindingOf(src, 4433, d)
	h.mode.Verify(h.ring, hellos[:])
	return j
}

// sent returns the answer to p; nil if there is none.
func (h *harvested) sent(t *testing.T, p *packet) (uint32, []byte) {
	t.Helper()
	action, out := run(t, h.Programs, p.bytes())
	if action != xdpTx {
		return action, nil
	}
	src, dst, d := udpOf(t, out, len(p.VLANs))
	if src != p.Dst || dst != p.Src {
		t.Errorf("answered from %v to %v", src, dst)
	}
	return action, d
}

// answers returns a worker's answer to d with the cookie in j.
func answers(d []byte, j *handoff.Hello) []byte {
	if j.Length == 0 {
		return nil
	}
	q := bytes.Clone(d)
	return q[:hello.PutHelloVerify(q, j.Answer[:j.Length])]
}

// The kernel and a worker offer the same cookies from the same table, accept the same ones, and make the same reservations.
func TestHarvestAgreesWithWorkers(t *testing.T) {
	const inputs = 1 << 20 // ClientHellos: a first one and one with a cookie each time
	sizes := [...]int{1, 2, 3, 64, 100, 257}
	for _, size := range sizes {
		h := harvesting(t, size)
		clock := (*atomic.Uint32)(unsafe.Pointer(&h.control.Clock))
		r := rand.New(rand.NewPCG(7, uint64(size)))
		given, none, taken, refused := 0, 0, 0, 0
		for i := range inputs / 2 / len(sizes) {
			clock.Store(r.Uint32N(12)) // also back before some reservations: clocks get set
			if i%1000 == 0 {
				h.renew()
			}
			if i%50 == 0 {
				h.shuffle(r, []int{0, 10, 50, 90}[r.IntN(4)])
			}
			p := newPacket(nil)
			if i%2 == 1 {
				p = newPacket6(nil)
			}
			p.Src = netip.AddrPortFrom(p.Src.Addr(), uint16(1+r.IntN(60000)))
			b := hellotest.New()
			for j := range b.Random {
				b.Random[j] = byte(r.Uint32())
			}
			d := b.Bytes()
			p.Payload = d
			table := bytes.Clone(h.memory)
			action, got := h.sent(t, p)
			after := bytes.Clone(h.memory)
			copy(h.memory, table)
			j := h.verify(p.Src, d)
			want := answers(d, j)
			if !bytes.Equal(got, want) || (want == nil) != (action == xdpDrop) {
				t.Fatalf("pool of %d, hello %d: action %d, answer %x, a worker's %x", size, i, action, got, want)
			}
			if want == nil {
				none++
				continue
			}
			given++
			if !bytes.Equal(h.memory, after) {
				t.Fatalf("pool of %d, hello %d: another reservation than a worker makes", size, i)
			}
			// The cookie of the answer, of another entry, or wrong; under the previous secret every other time.
			b.Cookie, b.MessageSeq = bytes.Clone(j.Answer[:j.Length]), 1
			switch r.IntN(4) {
			case 0:
				s := &h.entries[r.IntN(size)]
				b.Cookie = bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&s.Cookie)), 32)[:max(1, s.Length)])
			case 1:
				b.Cookie[r.IntN(len(b.Cookie))] ^= 1 << r.IntN(8)
			case 2:
				b.Cookie = append(b.Cookie, 0)
			}
			p.Payload = b.Bytes()
			action, _ = h.sent(t, p)
			verified := h.verify(p.Src, p.Payload).Verified
			if verified != (action == xdpPass) {
				t.Fatalf("pool of %d, hello %d: cookie %x: action %d, a worker's verdict %v", size, i, b.Cookie, action, verified)
			}
			if verified {
				taken++
				if err := h.DeleteFlow(ServiceKey{Port: 4433}, p.Src); err != nil {
					t.Fatal(err)
				}
			} else {
				refused++
			}
		}
		if given < 400 || none == 0 && size < 4 || taken < 100 || refused < 100 {
			t.Errorf("pool of %d: too few of a kind: %d answered, %d not, %d cookies taken, %d refused", size, given, none, taken, refused)
		}
	}
}

// After a rotation the previous secret selects cookies exactly as long as the policy says.
func TestHarvestGrace(t *testing.T) {
	h := harvesting(t, 67)
	h.shuffle(rand.New(rand.NewPCG(7, 7)), 0)
	ring := h.ring
	if err := h.SetPolicy(Policy{HarvestGrace: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := h.SetSecret(ring.Current(), ring.Previous()); err != nil {
		t.Fatal(err)
	}
	took := func() (n int) {
		for port := range uint16(20) {
			p := newPacket(firstHello)
			p.Src = netip.AddrPortFrom(p.Src.Addr(), 1000+port)
			h.ring = testRing // before the rotation
			j := h.verify(p.Src, firstHello)
			h.ring = ring
			b := hellotest.New()
			b.Cookie, b.MessageSeq = j.Answer[:j.Length], 1
			p.Payload = b.Bytes()
			if action, _ := h.sent(t, p); action == xdpPass {
				n++
				if err := h.DeleteFlow(ServiceKey{Port: 4433}, p.Src); err != nil {
					t.Fatal(err)
				}
			}
		}
		return n
	}
	if n := took(); n != 20 {
		t.Errorf("%d of 20 cookies from before the rotation are taken right after it", n)
	}
	h.control.GraceUntil = 1 // long past
	if n := took(); n > 3 {  // one in 67 is mapped to the same port
		t.Errorf("%d of 20 cookies from before the rotation are taken after the grace", n)
	}
}

func TestHarvest(t *testing.T) {
	h := harvesting(t, 5)
	g := h.Programs
	const foreign, wrong = "reason:hello cookie:foreign", "reason:hello cookie:wrong"
	hello := func(c []byte) *packet {
		b := hellotest.New()
		b.Cookie = c
		return newPacket(b.Bytes())
	}
	// Only one entry is usable, so that everybody is mapped to it.
	set := func(c []byte, taken uint32) {
		for i := range h.entries {
			h.entries[i] = guardPoolEntry{}
		}
		h.entries[3] = guardPoolEntry{Length: uint32(len(c)), Taken: taken}
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&h.entries[3].Cookie)), 32), c)
	}
	cookie32 := bytes.Repeat([]byte{0xc0}, 32)
	for _, n := range []int{1, 16, 20, 31, 32} {
		c := cookie32[:n]
		set(c, 0)
		for name, p := range map[string]*packet{
			"IPv4": newPacket(firstHello), "IPv6": newPacket6(firstHello), "padded": with(newPacket(firstHello), func(p *packet) { p.Padding = 30 }),
			"VLAN": with(newPacket6(firstHello), func(p *packet) { p.VLANs = []uint16{0x88a8, 0x8100} }),
		} {
			before := counters(t, g)
			_, d := h.sent(t, p)
			q := bytes.Clone(p.Payload)
			if want := q[:putAnswer(q, c)]; !bytes.Equal(d, want) || moved(t, g, before) != answered {
				t.Errorf("%s, cookie of %d: %s, answer\n%x, want\n%x", name, n, moved(t, g, before), d, want)
			}
		}
		check(t, g, "its own cookie", step{hello(c), xdpPass, valid}, step{newPacket(later), xdpPass, "pass-flow reason:later-fragment"},
			step{newPacket(appData), xdpDrop, "drop-unverified reason:encrypted"})
		// The worker opens the flow: the port is taken, and the client may retransmit.
		set(c, 1)
		check(t, g, "repeated", step{hello(c), xdpPass, "pass-flow " + foreign}, step{hello(flip(c, 0)), xdpPass, "pass-flow " + foreign})
		if err := g.DeleteFlow(ServiceKey{Port: 4433}, client4); err != nil {
			t.Fatal(err)
		}
		check(t, g, "no free entry", step{hello(c), xdpDrop, "drop-no-cookie " + wrong}, step{newPacket(firstHello), xdpDrop, "drop-no-cookie reason:hello cookie:none"})
	}
	set(cookie32[:16], 0)
	for _, c := range [][]byte{flip(cookie32[:16], 0), flip(cookie32[:16], 15), cookie32[:15], cookie32[:17], cookie32, make([]byte, 16)} {
		before := counters(t, g)
		if action, _ := h.sent(t, hello(c)); action != xdpTx || moved(t, g, before) != "answered "+wrong {
			t.Errorf("cookie %x: action %d, %s", c, action, moved(t, g, before))
		}
	}
	before := counters(t, g)
	if action, _ := h.sent(t, hello(append(cookie32, 0))); action != xdpTx || moved(t, g, before) != "answered "+foreign {
		t.Errorf("cookie of 33 bytes: action %d, %s", action, moved(t, g, before))
	}
	set(nil, 0)
	check(t, g, "nothing harvested", step{newPacket(firstHello), xdpDrop, "drop-no-cookie reason:hello cookie:none"})
}

var putAnswer = hello.PutHelloVerify

func TestPoolMemory(t *testing.T) {
	g := load(t, Options{PoolEntries: 100})
	a, err := g.NewPoolMemory(60)
	if err != nil || len(a.Memory) != 60*64 {
		t.Fatal(len(a.Memory), err)
	}
	if _, err := g.NewPoolMemory(41); err == nil {
		t.Error("41 entries accepted with 40 left")
	}
	b, err := g.NewPoolMemory(40)
	if err != nil || b.first != 60 {
		t.Fatal(b.first, err)
	}
	a.Memory[5] = 1
	g.FreePoolMemory(a)
	if _, err := g.NewPoolMemory(61); err == nil || g.PoolRoom() != 60 {
		t.Error("61 entries accepted with 60 left, or the room is", g.PoolRoom())
	}
	c, err := g.NewPoolMemory(20)
	if err != nil || c.first != 0 || c.Memory[5] != 0 {
		t.Fatal("what was given back is handed out as", c.first, c.Memory[:8], err)
	}
	if a, err = g.NewPoolMemory(40); err != nil || a.first != 20 {
		t.Fatal(a.first, err)
	}
	g.FreePoolMemory(b)
	if b, err = g.NewPoolMemory(40); err != nil || b.first != 60 {
		t.Fatal("the last of three, given back:", b.first, err)
	}
	for _, s := range []Service{
		{ServiceKey: ServiceKey{Port: 1}, Proxy: true, Answer: AnswerXDP, Format: FormatHarvest},
		{ServiceKey: ServiceKey{Port: 1}, Answer: AnswerXDP, Format: FormatHarvest, Pool: a},
	} {
		if err := g.SetService(s); err == nil {
			t.Errorf("taken: %+v", s)
		}
	}
}
