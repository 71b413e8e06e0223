package cookie

import "testing"

// A cookie of one purpose is none of another, one by one and in lanes alike.
func TestPurpose(t *testing.T) {
	ring := NewKeyring(Secret{1}, 1)
	random := new([RandomSize]byte)
	verify := Binding{SourcePort: 7, Random: random}
	retry := verify
	retry.Purpose = HelloRetry
	for name, plan := range map[string]*Plan{"measured": Measured()} {
		batch := plan.NewBatch(40)
		batch.Reset(40)
		for i := range 40 {
			b := verify
			if i%2 == 1 {
				b.Purpose = HelloRetry
			}
			batch.Add(&b)
		}
		batch.Sum(ring.Current())
		for i := range 40 {
			var c [Size]byte
			batch.Cookie(i, &c)
			if ring.Verify(&verify, c[:]) != (i%2 == 0) || ring.Verify(&retry, c[:]) != (i%2 == 1) {
				t.Errorf("%s: cookie %d is one of the other purpose", name, i)
			}
		}
	}
}
