package cookie

import "github.com/dtlsguard/dtlsguard/cookie/internal/lanes"

// Plan says which implementations compute a batch. Immutable, so shared by any number of goroutines.
type Plan lanes.Plan

// Auto is the name that makes [Select] measure.
const Auto = lanes.Auto

// Names lists the implementations that this CPU can run, portable first.
func Names() []string { return lanes.Names() }

// Select returns the plan that uses nothing but the named implementation, or for Auto what [Measured] returns.
// The error names the choices.
func Select(name string) (*Plan, error) {
	p, err := lanes.Select(name)
	return (*Plan)(p), err
}

// Measured returns the fastest plan on this CPU. The first call measures, for some milliseconds.
func Measured() *Plan { return (*Plan)(lanes.Measured()) }

// String describes the plan: "shani for 1, shani-x2 for 2..9, avx512 for 10..16 and each further 16".
func (p *Plan) String() string { return (*lanes.Plan)(p).String() }

// Batch computes many cookies under one key. Its lanes are filled while packets are parsed, computed once,
// and read out into the packets being built. Not for concurrent use.
type Batch lanes.Batch

// NewBatch makes a batch of at most capacity lanes, for the plan that [Measured] found; nothing is allocated
// after that.
func NewBatch(capacity int) *Batch { return Measured().NewBatch(capacity) }

// NewBatch makes a batch of at most capacity lanes; nothing is allocated after that.
func (p *Plan) NewBatch(capacity int) *Batch { return (*Batch)((*lanes.Plan)(p).NewBatch(capacity)) }

func (b *Batch) lanes() *lanes.Batch { return (*lanes.Batch)(b) }

// Reset empties the batch and makes it ready for at most n messages, n as near as the caller knows it.
func (b *Batch) Reset(n int) { b.lanes().Reset(n) }

// Len is the number of lanes filled.
func (b *Batch) Len() int { return b.lanes().Len() }

// Add fills the next lane with in's message and returns its number. The caller adds no more than it told Reset.
func (b *Batch) Add(in *Binding) int { return b.lanes().Add((*lanes.Message)(in)) }

// Sum computes all lanes under k.
func (b *Batch) Sum(k *Key) { b.lanes().Sum(&k.lanes) }

// Cookie writes the cookie of a lane that Sum computed.
func (b *Batch) Cookie(lane int, dst *[Size]byte) { b.lanes().Cookie(lane, dst) }

// Equal reports, in constant time, whether c is the cookie of a lane that Sum computed.
func (b *Batch) Equal(lane int, c []byte) bool { return b.lanes().Equal(lane, c) }
