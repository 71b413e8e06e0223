package cookie

import (
	"crypto/sha256"
	mrand "math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// Readers during rotations find keyrings whose parts belong together: secret e under epoch e, its predecessor
// beside it, cookies that both the keyring and the definition of the format call right.
func TestRotationIsNeverSeenHalfDone(t *testing.T) {
	const looks = 500 // of each reader
	secret := func(epoch uint8) Secret { return Secret(sha256.Sum256([]byte{epoch})) }
	var store Store
	store.Swap(NewKeyring(secret(0), 0))
	var wg sync.WaitGroup
	for reader := range 4 {
		wg.Go(func() {
			b := randomBinding(mrand.New(mrand.NewPCG(uint64(reader), 61)))
			batch := NewBatch(3)
			for range looks {
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
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	for epoch := uint8(1); ; epoch++ {
		select {
		case <-done:
			return
		default:
		}
		next, err := store.Load().Next(secret(epoch), epoch)
		if err != nil {
			t.Fatal(err)
		}
		store.Swap(next)
		runtime.Gosched()
	}
}
