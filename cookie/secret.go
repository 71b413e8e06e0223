package cookie

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// SecretSize is the length of a cookie secret in bytes. RFC 2104 section 3: a key shorter than the hash's
// output length L weakens the MAC, a longer one adds nothing much. SHA-256 has L = 32.
const SecretSize = sha256.Size

// Secret is the key of the cookies' HMAC. It never prints itself: String and GoString give the fingerprint.
type Secret [SecretSize]byte

// Reasons to refuse a secret. They are part of the contract of [NewSecret], [ParseSecret] and [Keyring.Next].
var (
	// ErrEntropy: the entropy source failed or came up short.
	ErrEntropy = errors.New("entropy source failed")
	// ErrWeakSecret: all bytes are equal, which a working source yields once in 2^248 draws.
	ErrWeakSecret = errors.New("all bytes of the secret are equal")
	// ErrRepeatedSecret: the secret is one that the keyring holds already, so rotating to it changes nothing.
	ErrRepeatedSecret = errors.New("secret repeats an earlier one")
)

// NewSecret draws a secret from entropy, which in production is crypto/rand.Reader. A read error, a short
// read and a stuck source are refused, never papered over: what the caller does without a new secret (not
// start, or keep the old one) is its policy, but no cookie is ever issued under a guessable key.
func NewSecret(entropy io.Reader) (Secret, error) {
	var s Secret
	if n, err := io.ReadFull(entropy, s[:]); err != nil {
		return Secret{}, fmt.Errorf("draw a %d-byte cookie secret: got %d bytes: %w: %w", SecretSize, n, ErrEntropy, err)
	}
	if err := s.check(); err != nil {
		return Secret{}, fmt.Errorf("draw a cookie secret: %w", err)
	}
	return s, nil
}

// ParseSecret reads a secret from its 64 hexadecimal digits.
func ParseSecret(text string) (Secret, error) {
	var s Secret
	if len(text) != 2*SecretSize {
		// The reason for the length travels with the message, because here is where it is met.
		return s, fmt.Errorf("secret has %d characters, want %d hexadecimal digits (32 bytes, the output length of SHA-256)", len(text), 2*SecretSize)
	}
	if _, err := hex.Decode(s[:], []byte(text)); err != nil {
		return Secret{}, errors.New("secret is not hexadecimal") // err would quote a digit of the secret
	}
	if err := s.check(); err != nil {
		return Secret{}, err
	}
	return s, nil
}

// check refuses what no entropy source yields by chance.
func (s *Secret) check() error {
	for _, b := range s[1:] {
		if b != s[0] {
			return nil
		}
	}
	return ErrWeakSecret
}

// Equal compares in constant time.
func (s *Secret) Equal(o *Secret) bool { return subtle.ConstantTimeCompare(s[:], o[:]) == 1 }

// Fingerprint names a secret without giving it away: 16 hexadecimal digits of a SHA-256 over a label and the
// secret. Two guards that share a secret show the same fingerprint.
func (s Secret) Fingerprint() string {
	sum := s.digest()
	return hex.EncodeToString(sum[:8])
}

// SharedKeyID is the key ID of a secret that several guards share: derived from the secret, so that they
// agree on it without talking to each other.
func (s Secret) SharedKeyID() uint8 { sum := s.digest(); return sum[8] }

func (s Secret) digest() [sha256.Size]byte {
	return sha256.Sum256(append([]byte("dtlsguard secret fingerprint\x00"), s[:]...))
}

// Hex is the text that [ParseSecret] reads: 64 digits. Only the command that makes a secret file prints it.
func (s *Secret) Hex() string { return hex.EncodeToString(s[:]) }

// String is the fingerprint, so that a secret cannot leak through a log line.
func (s Secret) String() string { return s.Fingerprint() }

// GoString is the fingerprint, too.
func (s Secret) GoString() string { return s.Fingerprint() }
