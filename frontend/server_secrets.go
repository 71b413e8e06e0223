package frontend

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
)

// secretKey tells sources of secrets apart.
type secretKey struct {
	file  string
	every time.Duration // of the guard's own
}

func (o *Settings) secretKey() secretKey {
	if o.SecretFile != "" {
		return secretKey{file: o.SecretFile}
	}
	return secretKey{every: o.RotateEvery}
}

// source is where the secrets of services with the given settings come from.
func (s *Server) source(o *Settings) secretSource {
	if o.SecretFile != "" {
		return &fileSecrets{file: o.SecretFile, log: s.config.Log}
	}
	return &randomSecrets{entropy: s.config.Entropy, every: o.RotateEvery}
}

// secretsOf returns the secrets of services with the given settings. The programs have those of the first service.
func (s *Server) secretsOf(o *Settings) (*secrets, error) {
	key := o.secretKey()
	if x := s.secrets[key]; x != nil {
		return x, nil
	}
	var install func(*cookie.Keyring) error
	programs := s.kernel != nil && s.kernel.secrets == nil
	if programs {
		install = s.kernel.setSecret
	}
	var x *secrets
	var err error
	if before := s.inherited.secret(key); before != nil {
		x, err = adoptSecrets(before, s.source(o), s.config.Log, install)
	} else {
		x, err = openSecrets(s.source(o), s.config.Log, install)
	}
	if err != nil {
		return nil, err
	}
	x.events = s.events
	if programs {
		s.kernel.secrets = x
	}
	s.life.Lock()
	s.secrets[key] = x
	s.life.Unlock()
	if s.secretsRun != nil { // added by a reload
		s.secretsRun(x)
	}
	return x, nil
}

// runSecrets follows all sources until ctx ends, those too that a reload adds.
func (s *Server) runSecrets(ctx context.Context) {
	s.secretsRun = func(x *secrets) {
		ctx, end := context.WithCancel(ctx)
		x.end = end
		s.running.Go(func() { x.run(ctx) })
	}
	for _, x := range s.allSecrets() {
		s.secretsRun(x)
	}
}

// dropSecrets ends secrets that no service is configured with any more.
func (s *Server) dropSecrets() {
	used := make(map[secretKey]bool)
	for _, v := range s.list() {
		used[v.configured.Settings.secretKey()] = used[v.configured.Settings.secretKey()] || !v.draining.Load()
	}
	s.life.Lock()
	defer s.life.Unlock()
	for key, x := range s.secrets {
		if !used[key] && (s.kernel == nil || s.kernel.secrets != x) {
			delete(s.secrets, key)
			if x.end != nil {
				x.end()
			}
		}
	}
}

// allSecrets is the secrets in force.
func (s *Server) allSecrets() map[secretKey]*secrets {
	s.life.RLock()
	defer s.life.RUnlock()
	return maps.Clone(s.secrets)
}

// Rotate draws new secrets now. It fails if they come from files.
func (s *Server) Rotate() error {
	var errs []error
	for _, x := range s.allSecrets() {
		errs = append(errs, x.rotate())
	}
	return errors.Join(errs...)
}

// use gives the programs the secrets x in place of those that they have, which it returns. It does nothing on a nil kernel.
func (k *kernel) use(x *secrets) (was *secrets, err error) {
	if k == nil || k.secrets == x {
		return x, nil
	}
	was = k.secrets
	err = was.installs(nil)
	if err == nil {
		err = x.installs(k.setSecret)
	}
	if err != nil {
		return x, errors.Join(err, was.installs(k.setSecret))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.secrets = x
	return was, nil
}
