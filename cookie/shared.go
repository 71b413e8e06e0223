package cookie

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// ParseSecrets reads secrets that several guards and servers share: 64 hexadecimal digits per line, the current one
// first, then the one before. Empty lines and lines that start with # are skipped. There is at least one in the
// result; an error names the line.
func ParseSecrets(r io.Reader) ([]Secret, error) {
	var list []Secret
	in := bufio.NewScanner(io.LimitReader(r, 1<<16)) // a page of secrets is plenty
	for n := 1; in.Scan(); n++ {
		text := strings.TrimSpace(in.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		s, err := ParseSecret(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, s)
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("no secret in it")
	}
	return list, nil
}

// Shared is the keyring of who shares secrets: list's first is the current one, its second, if there is one, the one
// before; both must be other than each other. The key IDs follow from the secrets, so all guards have the same.
func Shared(list []Secret) (*Keyring, error) {
	if len(list) == 0 {
		return nil, errors.New("no secret to share")
	}
	if len(list) == 1 {
		return NewKeyring(list[0], list[0].SharedKeyID()), nil
	}
	return NewKeyring(list[1], list[1].SharedKeyID()).NextShared(list[0])
}

// NextShared is Next to a shared secret.
func (k *Keyring) NextShared(s Secret) (*Keyring, error) {
	next, err := k.Next(s, s.SharedKeyID())
	if errors.Is(err, ErrKeyIDCollision) {
		err = fmt.Errorf("%w, which happens once in 256: generate another", err)
	}
	return next, err
}

// Bind is what the cookie of a ClientHello is bound to: the client's address as the server sees it, the server's port,
// client_version and the random. The Binding points to random.
func Bind(client netip.AddrPort, port, version uint16, random *[RandomSize]byte) Binding {
	return Binding{
		Source: client.Addr().As16(), SourcePort: client.Port(), DestinationPort: port, Version: version, Random: random,
	}
}
