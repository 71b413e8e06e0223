package cookie

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/cookie/internal/lanes"
)

// ErrEpochCollision says that the new secret's epoch byte is the one of the current secret, so a cookie would not say
// which of the two made it.
var ErrEpochCollision = errors.New("epoch byte of the secret is the current one's")

// Key is one secret made ready: the SHA-256 states after the two HMAC key pads, so that a cookie costs two
// compressions instead of four. Immutable.
type Key struct {
	lanes  lanes.Key
	epoch  uint8
	sip    [2]uint64 // key of SipHash
	secret Secret
}

func newKey(s Secret, epoch uint8) *Key {
	return &Key{lanes: lanes.NewKey((*[SecretSize]byte)(&s), epoch), epoch: epoch, sip: sipKey(&s), secret: s}
}

// Epoch is byte 0 of the cookies made under k.
func (k *Key) Epoch() uint8 { return k.epoch }

// Fingerprint names k's secret.
func (k *Key) Fingerprint() string { return k.secret.Fingerprint() }

// Keyring holds the secret that issues cookies and the one before it, whose cookies are still honoured: a
// client has at least one rotation interval to return its cookie. Immutable; load it once per batch.
type Keyring struct {
	current, previous *Key
}

// NewKeyring starts a keyring with one secret.
func NewKeyring(s Secret, epoch uint8) *Keyring { return &Keyring{current: newKey(s, epoch)} }

// Current issues cookies.
func (k *Keyring) Current() *Key { return k.current }

// Previous verifies cookies issued before the last rotation; nil before the first.
func (k *Keyring) Previous() *Key { return k.previous }

// Next returns the keyring after a rotation to s. It refuses a secret that k holds (ErrRepeatedSecret) and
// one with the current epoch byte (ErrEpochCollision); k stays valid either way.
func (k *Keyring) Next(s Secret, epoch uint8) (*Keyring, error) {
	if s.Equal(&k.current.secret) || k.previous != nil && s.Equal(&k.previous.secret) {
		return nil, fmt.Errorf("rotate to secret %v: %w", s, ErrRepeatedSecret)
	}
	if epoch == k.current.epoch {
		return nil, fmt.Errorf("rotate to secret %v: %w (%#02x)", s, ErrEpochCollision, epoch)
	}
	return &Keyring{current: newKey(s, epoch), previous: k.current}, nil
}

// Store is where readers find the keyring in force. The zero Store is empty; Swap fills it.
type Store struct{ ring atomic.Pointer[Keyring] }

// Load returns the keyring in force, nil before the first Swap. One atomic load, so once per batch.
func (s *Store) Load() *Keyring { return s.ring.Load() }

// Swap makes k the keyring in force. Readers see the old one or the new one, never a mixture.
func (s *Store) Swap(k *Keyring) { s.ring.Store(k) }
