package lanes

import (
	"math"
	"time"
)

// The measurement takes the best of rounds turns, in which the implementations alternate, so that no other
// load on the machine and no change of clock speed favours one of them. A sample computes so many messages, lanes
// without one included, that the clock's grain, some 50 ns, does not show.
const (
	rounds        = 9
	sampleCookies = 64
)

// measure finds what each implementation costs on this CPU.
func measure(ims []*implementation) []cost {
	key := NewKey(&[32]byte{1}, 0)
	k := &key
	in := Message{Random: new([RandomSize]byte)}
	type sample struct{ one, full, many float64 }
	best := make([]sample, len(ims))
	batches := make([]*Batch, len(ims))
	for i, im := range ims {
		batches[i] = only(im).NewBatch(sampleCookies)
		best[i] = sample{math.Inf(1), math.Inf(1), math.Inf(1)}
	}
	for range rounds {
		for i, b := range batches {
			s := &best[i]
			s.one = min(s.one, timeBatches(b, k, &in, 1))
			s.full = min(s.full, timeBatches(b, k, &in, ims[i].width))
			s.many = min(s.many, timeBatches(b, k, &in, sampleCookies))
		}
	}
	costs := make([]cost, len(ims))
	for i, im := range ims {
		c, s, w := &costs[i], &best[i], im.width
		*c = cost{im: im, call: s.one}
		if w > 1 {
			c.lane = max(0, s.full-s.one) / float64(w-1)
		}
		c.group = (s.many - s.one - float64(sampleCookies-1)*c.lane) / float64(sampleCookies/w-1)
	}
	return costs
}

// timeBatches returns the nanoseconds that a batch of n messages takes.
func timeBatches(b *Batch, k *Key, in *Message, n int) float64 {
	var c [Size]byte
	width := b.main.width
	times := max(1, sampleCookies/((n+width-1)/width*width))
	start := time.Now()
	for range times {
		b.Reset(n)
		for range n {
			b.Add(in)
		}
		b.Sum(k)
		for i := range n {
			b.Cookie(i, &c)
		}
	}
	return float64(time.Since(start).Nanoseconds()) / float64(times)
}
