package peers

import (
	"os"
	"path/filepath"
	"sync"
)

// Builder compiles programs below Dir, each once. It is safe for concurrent use.
type Builder struct {
	Dir string

	mu   sync.Mutex
	made map[string]func() (string, error)
}

// Build compiles p, or waits for a compilation that is under way, and returns the binary's path. Errors are those of
// [Program.Build].
func (b *Builder) Build(p *Program) (string, error) {
	b.mu.Lock()
	once := b.made[p.Name]
	if once == nil {
		once = sync.OnceValues(func() (string, error) {
			dir := filepath.Join(b.Dir, p.Name+".d")
			if err := os.Mkdir(dir, 0o700); err != nil {
				return "", err
			}
			return p.Build(dir)
		})
		if b.made == nil {
			b.made = make(map[string]func() (string, error))
		}
		b.made[p.Name] = once
	}
	b.mu.Unlock()
	return once()
}
