package frontend

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/events"
)

// secrets keeps a keyring and follows its source. If a new secret is refused, the old one stays in force.
type secrets struct {
	store  cookie.Store
	source secretSource
	log    *slog.Logger
	events *events.Channel
	end    context.CancelFunc // of run

	install func(*cookie.Keyring) error // copies a keyring to the kernel; nil: no XDP, or it has other secrets

	mu sync.Mutex // serialises rotations, and what the source does

	changed   atomic.Int64 // time of the last rotation, Unix nanoseconds
	rotations atomic.Uint64
	failures  atomic.Uint64
}

// apart is how long a client may take to return its cookie: a ClientHello is retransmitted after 1, 2 and 4 s (RFC 6347 section
// 4.2.4.1), and a cookie survives one rotation.
const apart = 10 * time.Second

// openSecrets gets the first secret. Without one the guard must not start.
func openSecrets(source secretSource, log *slog.Logger, install func(*cookie.Keyring) error) (*secrets, error) {
	s := &secrets{source: source, log: log, install: install}
	ring, err := source.next(nil)
	if err != nil {
		return nil, err
	}
	return s, s.put(ring)
}

// put puts a keyring in force, in the kernel first: a cookie that it issues a moment before the workers know
// the secret costs its client one more exchange, as a rotation at any moment may.
func (s *secrets) put(k *cookie.Keyring) error {
	if s.install != nil {
		if err := s.install(k); err != nil {
			return err
		}
	}
	s.store.Swap(k)
	s.changed.Store(time.Now().UnixNano())
	return nil
}

// installs has every keyring copied by f, the one in force at once; nil: none.
func (s *secrets) installs(f func(*cookie.Keyring) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f != nil {
		if err := f(s.store.Load()); err != nil {
			return err
		}
	}
	s.install = f
	return nil
}

// rotate draws a new secret now.
func (s *secrets) rotate() error {
	if err := s.source.onDemand(); err != nil {
		return err
	}
	return s.follow()
}

// follow puts in force what the source has now.
func (s *secrets) follow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.store.Load()
	ring, err := s.source.next(now)
	if err == nil && ring == now {
		return nil
	}
	if err == nil {
		if s.rotations.Load() > 0 && s.source.onDemand() != nil && time.Since(time.Unix(0, s.changed.Load())) < apart {
			s.log.Warn("secret file changed twice in short time: clients that hold a cookie of the secret before the previous one start over",
				"hint", fmt.Sprintf("leave %v between two changes", apart))
		}
		err = s.put(ring)
	}
	if err != nil {
		s.failures.Add(1)
		s.log.Error("new secret refused; keeping the old one", "source", s.source.name(), "error", err)
		s.events.Emit(events.SecretFailed, "", "source", s.source.name(), "error", err)
		return err
	}
	s.rotations.Add(1)
	level := slog.LevelDebug // once a minute, unless told otherwise
	if s.source.onDemand() != nil {
		level = slog.LevelInfo
	}
	s.log.Log(context.Background(), level, "secret rotated", "key_id", ring.Current().KeyID(), "fingerprint", ring.Current().Fingerprint())
	s.events.Emit(events.SecretRotated, "", "source", s.source.name(), "key_id", ring.Current().KeyID(), "fingerprint", ring.Current().Fingerprint())
	return nil
}

// run follows the source until ctx ends.
func (s *secrets) run(ctx context.Context) {
	failed := false
	for {
		s.source.wait(ctx, failed)
		if ctx.Err() != nil {
			return
		}
		failed = s.follow() != nil
	}
}

// SecretStatus is the public part of a secret's state.
type SecretStatus struct {
	Services    []string `json:"services"` // whose cookies it makes
	Source      string   `json:"source"`
	KeyID       uint8    `json:"key_id"`
	Fingerprint string   `json:"fingerprint"`
	Previous    string   `json:"previous_fingerprint,omitempty"`
	AgeSeconds  float64  `json:"age_seconds"`
	Rotations   uint64   `json:"rotations"`
	Failures    uint64   `json:"failures"`
}

func (s *secrets) status() SecretStatus {
	ring := s.store.Load()
	st := SecretStatus{
		Source: s.source.name(), KeyID: ring.Current().KeyID(), Fingerprint: ring.Current().Fingerprint(),
		AgeSeconds: time.Since(time.Unix(0, s.changed.Load())).Seconds(),
		Rotations:  s.rotations.Load(), Failures: s.failures.Load(),
	}
	if p := ring.Previous(); p != nil {
		st.Previous = p.Fingerprint()
	}
	return st
}
