package frontend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

// secrets keeps the keyring: from a file that several guards share, or drawn and rotated by itself. A new
// secret that is refused, for whatever reason, leaves the old one in force.
type secrets struct {
	store   cookie.Store
	file    string
	entropy io.Reader
	every   time.Duration
	log     *slog.Logger
	kernel  *kernel // nil: none

	mu    sync.Mutex // serialises rotations and guards what follows
	epoch uint32
	seen  os.FileInfo

	changed   atomic.Int64 // time of the last rotation, Unix nanoseconds
	rotations atomic.Uint64
	failures  atomic.Uint64
}

// apart is how long a client may take to return its cookie: a ClientHello is sent again after 1, 2 and 4 s (RFC 6347
// section 4.2.4.1), and a cookie is good for one rotation.
const apart = 10 * time.Second

// openSecrets gets the first secret. Without one there is no guard: the error is final.
func openSecrets(c *Config, k *kernel) (*secrets, error) {
	s := &secrets{file: c.SecretFile, entropy: c.Entropy, every: c.RotateEvery, log: c.Log, kernel: k}
	if s.file != "" {
		ring, err := s.read()
		if err != nil {
			return nil, err
		}
		return s, s.install(ring)
	}
	first, err := cookie.NewSecret(s.entropy)
	if err != nil {
		return nil, fmt.Errorf("no cookie secret, so no guard: %w", err)
	}
	return s, s.install(cookie.NewKeyring(first, uint8(s.epoch)))
}

// install puts a keyring in force, in the kernel first: a cookie that it issues a moment before the workers know
// the secret costs its client one more exchange, as a rotation at any moment may.
func (s *secrets) install(k *cookie.Keyring) error {
	if s.kernel != nil {
		if err := s.kernel.setSecret(k); err != nil {
			return err
		}
	}
	s.store.Swap(k)
	s.changed.Store(time.Now().UnixNano())
	return nil
}

// makeSecret is the hint for a secret file that is not one.
const makeSecret = "make a secret: dtlsguard secret generate"

// read makes a keyring of the secret file, whose second line, if there is one, is a secret to be honoured beside the
// first: the one before, or the one to come.
func (s *secrets) read() (*cookie.Keyring, error) {
	f, err := regular.Open(s.file)
	if err != nil {
		return nil, hint.Add(fmt.Errorf("read the secret file: %w", err), "make one: dtlsguard secret generate > "+s.file)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the secret file: %w", err)
	}
	s.seen = info
	list, err := cookie.ParseSecrets(f)
	if err != nil {
		return nil, hint.Add(fmt.Errorf("secret file %s: %w", s.file, err), makeSecret)
	}
	if info.Mode().Perm()&0o077 != 0 {
		s.log.Warn("secret file can be read by others", "file", s.file, "hint", "chmod 600 "+s.file)
	}
	ring, err := s.next(list)
	if err != nil {
		return nil, fmt.Errorf("secret file %s: %w", s.file, err)
	}
	return ring, nil
}

// next is the keyring of a list of shared secrets: the one in force, if it holds them already.
func (s *secrets) next(list []cookie.Secret) (*cookie.Keyring, error) {
	now := s.store.Load()
	switch {
	case now == nil:
		return cookie.Shared(list)
	case is(now.Current(), &list[0]) && (len(list) == 1 || is(now.Previous(), &list[1])):
		return now, nil
	case len(list) == 1: // the secret of before is still honoured
		return now.NextShared(list[0])
	}
	return cookie.Shared(list)
}

// is reports whether k, which may be nil, is of secret s.
func is(k *cookie.Key, s *cookie.Secret) bool { return k != nil && k.Fingerprint() == s.Fingerprint() }

// errNoRotation is what a guard with a secret file says to a request to rotate by itself.
var errNoRotation = errors.New("the secret comes from a file: write a new one there, it is read again within a second")

// rotate draws a new secret.
func (s *secrets) rotate() error {
	if s.file != "" {
		return errNoRotation
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	secret, err := cookie.NewSecret(s.entropy)
	if err == nil {
		var ring *cookie.Keyring
		if ring, err = s.store.Load().Next(secret, uint8(s.epoch+1)); err == nil {
			if err = s.rotated(ring); err == nil {
				s.epoch++
				return nil
			}
		}
	}
	return s.failed("rotation failed; keeping the old secret", err)
}

// reload reads the secret file again.
func (s *secrets) reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ring, err := s.read()
	if err != nil {
		return s.failed("secret file refused; keeping the old secret", err)
	}
	if ring == s.store.Load() {
		return nil
	}
	if s.rotations.Load() > 0 && time.Since(time.Unix(0, s.changed.Load())) < apart {
		s.log.Warn("secret file changed twice in short time: clients that are in between with the secret before the last start over",
			"hint", fmt.Sprintf("leave %v between two changes", apart))
	}
	if err := s.rotated(ring); err != nil {
		return s.failed("secret could not be put in force; keeping the old one", err)
	}
	return nil
}

func (s *secrets) rotated(ring *cookie.Keyring) error {
	if err := s.install(ring); err != nil {
		return err
	}
	s.rotations.Add(1)
	s.log.Info("secret rotated", "epoch", ring.Current().Epoch(), "fingerprint", ring.Current().Fingerprint())
	return nil
}

func (s *secrets) failed(what string, err error) error {
	s.failures.Add(1)
	s.log.Error(what, "error", err)
	return err
}

// run rotates, or watches the file, until ctx ends.
func (s *secrets) run(ctx context.Context) {
	wait := s.every
	if s.file != "" {
		wait = time.Second
	}
	retry := time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if s.file != "" {
			if s.touched() {
				_ = s.reload() // logged and counted
			}
			continue
		}
		if s.rotate() != nil {
			wait = min(retry, s.every)
			retry *= 2
			continue
		}
		wait, retry = s.every, time.Second
	}
}

// touched reports whether the file is another one than was read last, or was written since.
func (s *secrets) touched() bool {
	info, err := os.Stat(s.file)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return false // between the removal and the renaming of a new one
	}
	return !os.SameFile(info, s.seen) || !info.ModTime().Equal(s.seen.ModTime()) || info.Size() != s.seen.Size()
}

// SecretStatus is what may be known of the secret.
type SecretStatus struct {
	Source      string  `json:"source"`
	Epoch       uint8   `json:"epoch"`
	Fingerprint string  `json:"fingerprint"`
	Previous    string  `json:"previous_fingerprint,omitempty"`
	AgeSeconds  float64 `json:"age_seconds"`
	Rotations   uint64  `json:"rotations"`
	Failures    uint64  `json:"failures"`
}

func (s *secrets) status() SecretStatus {
	ring := s.store.Load()
	st := SecretStatus{
		Source: "random", Epoch: ring.Current().Epoch(), Fingerprint: ring.Current().Fingerprint(),
		AgeSeconds: time.Since(time.Unix(0, s.changed.Load())).Seconds(),
		Rotations:  s.rotations.Load(), Failures: s.failures.Load(),
	}
	if s.file != "" {
		st.Source = s.file
	}
	if p := ring.Previous(); p != nil {
		st.Previous = p.Fingerprint()
	}
	return st
}
