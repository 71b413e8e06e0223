package cookie

import (
	"crypto/sha256"
	mrand "math/rand/v2"
	"sync"
	"testing"
)

// Readers during rotations find keyrings whose parts belong together: secret e under epoch e, its predecessor
// beside it, cookies that both the keyring and the definition of the format call right.
func TestRotationIsNeverSeenHalfDone(t *testing.T) {
	const rotations = 600
	secret := func(epoch uint8) Secret { return Secret(sha256.Sum256([]byte{epoch})) }
	var store Store
	store.Swap(NewKeyring(secret(0), 0))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for reader := range 4 {
		wg.Go(func() {
			b := randomBinding(mrand.New(mrand.NewPCG(uint64(reader), 61)))
			batch := NewBatch(3)
			for {
				select {
				case <-done:
					return
				default:
				}
				k := store.Load()
				epoch := k.Current().Epoch()
				if s := secret(epoch); k.Current().Fingerprint() != s.Fingerprint() {
					t.Errorf("epoch %d has the secret of another", epoch)
					return
				}
				if p := k.Previous(); p != nil && p.Epoch() != epoch-1 {
					t.Errorf("epoch %d after %d", epoch, p.Epoch())
					return
				}
				batch.Reset(3)
				for range 3 {
					batch.Add(b)
				}
				batch.Sum(k.Current())
				c := reference(secret(epoch), epoch, b)
				if !batch.Equal(2, c[:]) || !k.Verify(b, c[:]) {
					t.Errorf("epoch %d refuses its own cookie", epoch)
					return
				}
			}
		})
	}
	for i := range rotations {
		next, err := store.Load().Next(secret(uint8(i+1)), uint8(i+1))
		if err != nil {
			t.Fatal(err)
		}
		store.Swap(next)
	}
	close(done)
	wg.Wait()
}
