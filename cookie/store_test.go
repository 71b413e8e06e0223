package cookie

import (
	"crypto/sha256"
	mrand "math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// Readers during rotations find keyrings whose parts belong together: secret e under key ID e, its predecessor
// beside it, cookies that both the keyring and the definition of the format call right.
func TestRotationIsNeverSeenHalfDone(t *testing.T) {
	const looks = 500 // of each reader
	secret := func(keyID uint8) Secret { return Secret(sha256.Sum256([]byte{keyID})) }
	var store Store
	store.Swap(NewKeyring(secret(0), 0))
	var wg sync.WaitGroup
	for reader := range 4 {
		wg.Go(func() {
			b := randomBinding(mrand.New(mrand.NewPCG(uint64(reader), 61)))
			batch := NewBatch(3)
			for range looks {
				k := store.Load()
				keyID := k.Current().KeyID()
				if s := secret(keyID); k.Current().Fingerprint() != s.Fingerprint() {
					t.Errorf("key ID %d has the secret of another", keyID)
					return
				}
				if p := k.Previous(); p != nil && p.KeyID() != keyID-1 {
					t.Errorf("key ID %d after %d", keyID, p.KeyID())
					return
				}
				batch.Reset(3)
				for range 3 {
					batch.Add(b)
				}
				batch.Sum(k.Current())
				c := reference(secret(keyID), keyID, b)
				if !batch.Equal(2, c[:]) || !k.Verify(b, c[:]) {
					t.Errorf("key ID %d refuses its own cookie", keyID)
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
	for keyID := uint8(1); ; keyID++ {
		select {
		case <-done:
			return
		default:
		}
		next, err := store.Load().Next(secret(keyID), keyID)
		if err != nil {
			t.Fatal(err)
		}
		store.Swap(next)
		runtime.Gosched()
	}
}
