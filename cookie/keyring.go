package cookie

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/cookie/internal/lanes"
)

// ErrKeyIDCollision says that the new secret has the key ID of the current one, so a cookie would not say
// which of the two made it.
var ErrKeyIDCollision = errors.New("the secret has the key ID of the current one")

// Key is one secret made ready: the SHA-256 states after the two HMAC key pads, so that a cookie costs two
// compressions instead of four. Immutable.
type Key struct {
	lanes  lanes.Key
	keyID  uint8
	sip    [2]uint64 // key of SipHash
	secret Secret
}

func newKey(s Secret, keyID uint8) *Key {
	return &Key{lanes: lanes.NewKey((*[SecretSize]byte)(&s), keyID), keyID: keyID, sip: sipKey(&s), secret: s}
}

// KeyID is byte 0 of the cookies made under k.
func (k *Key) KeyID() uint8 { return k.keyID }

// Fingerprint names k's secret.
func (k *Key) Fingerprint() string { return k.secret.Fingerprint() }

// Keyring holds the secret that issues cookies and the one before it, whose cookies are still honoured: a
// client has at least one rotation interval to return its cookie. Immutable; load it once per batch.
type Keyring struct {
	current, previous *Key
}

// NewKeyring starts a keyring with one secret.
func NewKeyring(s Secret, keyID uint8) *Keyring { return &Keyring{current: newKey(s, keyID)} }

// Current issues cookies.
func (k *Keyring) Current() *Key { return k.current }

// Previous verifies cookies issued before the last rotation; nil before the first.
func (k *Keyring) Previous() *Key { return k.previous }

// Next returns the keyring after a rotation to s. It refuses a secret that k holds (ErrRepeatedSecret) and
// one with the current key ID (ErrKeyIDCollision); k stays valid either way.
func (k *Keyring) Next(s Secret, keyID uint8) (*Keyring, error) {
	if s.Equal(&k.current.secret) || k.previous != nil && s.Equal(&k.previous.secret) {
		return nil, fmt.Errorf("rotate to secret %v: %w", s, ErrRepeatedSecret)
	}
	if keyID == k.current.keyID {
		return nil, fmt.Errorf("rotate to secret %v: %w (%#02x)", s, ErrKeyIDCollision, keyID)
	}
	return &Keyring{current: newKey(s, keyID), previous: k.current}, nil
}

// Store is where readers find the keyring in force. The zero Store is empty; Swap fills it.
type Store struct{ ring atomic.Pointer[Keyring] }

// Load returns the keyring in force, nil before the first Swap. One atomic load, so once per batch.
func (s *Store) Load() *Keyring { return s.ring.Load() }

// Swap makes k the keyring in force. Readers see the old one or the new one, never a mixture.
func (s *Store) Swap(k *Keyring) { s.ring.Store(k) }
