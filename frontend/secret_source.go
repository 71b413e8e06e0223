package frontend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

// secretSource is where cookie secrets come from. next is called by one goroutine at a time, and wait may run at the same time.
type secretSource interface {
	// name is what status calls it.
	name() string
	// next returns the keyring that follows now, which is nil at first; now itself if nothing has changed.
	next(now *cookie.Keyring) (*cookie.Keyring, error)
	// onDemand is nil if a new secret can be drawn at any time.
	onDemand() error
	// wait returns when the next keyring is due. failed: the last one was refused.
	wait(ctx context.Context, failed bool)
}

// randomSecrets are drawn by the guard itself.
type randomSecrets struct {
	entropy io.Reader
	every   time.Duration
	key     uint32 // ID of the next
	retry   time.Duration
	first   time.Duration // until the first rotation, of secrets that were taken over; 0: every
}

func (*randomSecrets) name() string    { return "random" }
func (*randomSecrets) onDemand() error { return nil }

func (r *randomSecrets) next(now *cookie.Keyring) (*cookie.Keyring, error) {
	secret, err := cookie.NewSecret(r.entropy)
	if err != nil && now == nil {
		return nil, fmt.Errorf("no cookie secret, so no guard: %w", err)
	}
	if err != nil {
		return nil, err
	}
	ring := cookie.NewKeyring(secret, uint8(r.key))
	if now != nil {
		if ring, err = now.Next(secret, uint8(r.key)); err != nil {
			return nil, err
		}
	}
	r.key++
	return ring, nil
}

// wait waits for one interval; after a failure for a second, and twice as long each time.
func (r *randomSecrets) wait(ctx context.Context, failed bool) {
	d := r.every
	if r.first > 0 {
		d, r.first = r.first, 0
	}
	if failed {
		r.retry = max(time.Second, 2*r.retry)
		d = min(r.retry, r.every)
	} else {
		r.retry = 0
	}
	sleep(ctx, d)
}

// fileSecrets come from a file that several guards share.
type fileSecrets struct {
	file string
	log  *slog.Logger
	seen atomic.Pointer[os.FileInfo] // the file that was read last; nil: there was none
}

// watchFileEvery is the polling interval of the secret file.
const watchFileEvery = time.Second

// errNoRotation answers a request to rotate a secret that comes from a file.
var errNoRotation = errors.New("the secret comes from a file: write a new one there, it is read again within a second")

func (f *fileSecrets) name() string    { return f.file }
func (f *fileSecrets) onDemand() error { return errNoRotation }

// next reads the file, whose second line, if any, is a secret that is accepted beside the first: the previous or the next one.
func (f *fileSecrets) next(now *cookie.Keyring) (*cookie.Keyring, error) {
	r, err := regular.Open(f.file)
	if err != nil {
		f.seen.Store(nil) // whatever comes there next is new
		return nil, hint.Add(fmt.Errorf("read the secret file: %w", err), "make one: dtlsguard secret generate > "+f.file)
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the secret file: %w", err)
	}
	f.seen.Store(&info)
	list, err := cookie.ParseSecrets(r)
	if err != nil {
		return nil, hint.Add(fmt.Errorf("secret file %s: %w", f.file, err), "make a secret: dtlsguard secret generate")
	}
	if info.Mode().Perm()&0o077 != 0 {
		f.log.Warn("secret file can be read by others", "file", f.file, "hint", "chmod 600 "+f.file)
	}
	ring, err := followShared(now, list)
	if err != nil {
		return nil, fmt.Errorf("secret file %s: %w", f.file, err)
	}
	return ring, nil
}

// followShared returns the keyring of a list of shared secrets: the current keyring, if it holds them already.
func followShared(now *cookie.Keyring, list []cookie.Secret) (*cookie.Keyring, error) {
	switch {
	case now == nil:
		return cookie.Shared(list)
	case is(now.Current(), &list[0]) && (len(list) == 1 || is(now.Previous(), &list[1])):
		return now, nil
	case len(list) == 1: // the previous secret is still honoured
		return now.NextShared(list[0])
	}
	return cookie.Shared(list)
}

// is reports whether k, which may be nil, is of secret s.
func is(k *cookie.Key, s *cookie.Secret) bool { return k != nil && k.Fingerprint() == s.Fingerprint() }

// wait waits until the file was replaced, written to, or is missing twice in a row: it may be missing for a moment between the
// removal of the old and the renaming of the new one.
func (f *fileSecrets) wait(ctx context.Context, _ bool) {
	missed := 0
	for ctx.Err() == nil {
		sleep(ctx, watchFileEvery)
		info, err := os.Stat(f.file)
		seen := f.seen.Load()
		switch {
		case err != nil && seen == nil: // known to be gone
		case err != nil:
			if missed++; missed == 2 {
				return
			}
		case seen == nil || !os.SameFile(info, *seen) || !info.ModTime().Equal((*seen).ModTime()) || info.Size() != (*seen).Size():
			return
		default:
			missed = 0
		}
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
