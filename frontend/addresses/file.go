package addresses

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

// file is a list on disk.
type file struct {
	path    string
	verdict Verdict
	seen    os.FileInfo
	gone    int // looks in a row that found no file
	rules   []netip.Prefix
}

// read reads f, which must be a regular file: reading anything else might never end.
func (f *file) read() error {
	r, err := regular.Open(f.path)
	if err != nil {
		return fmt.Errorf("read the %s file: %w", f.verdict, err)
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return fmt.Errorf("read the %s file %s: %w", f.verdict, f.path, err)
	}
	f.seen = info
	rules, err := Parse(r)
	if err != nil {
		return fmt.Errorf("%s file %s: %w", f.verdict, f.path, err)
	}
	f.rules = rules
	return nil
}

// touched reports whether f was replaced or written since the last look.
func (f *file) touched() bool {
	info, err := os.Stat(f.path)
	if err != nil {
		return false // between the removal and the renaming of a new one
	}
	old := f.seen
	f.seen = info
	return !os.SameFile(info, old) || !info.ModTime().Equal(old.ModTime()) || info.Size() != old.Size()
}

// Parse reads prefixes, one per line; empty lines and what follows a # are skipped. Errors name the line.
func Parse(r io.Reader) (list []netip.Prefix, err error) {
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		text, _, _ := strings.Cut(in.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if list = append(list, p); len(list) > MaxRules {
			return nil, fmt.Errorf("line %d: %w", n, ErrTooMany)
		}
	}
	return list, in.Err()
}

// ParsePrefix reads ADDRESS or ADDRESS/LENGTH. Bits after the prefix must be 0: set, they are most likely a mistake.
func ParsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if a, e := netip.ParseAddr(text); e == nil {
		if a.Zone() != "" {
			return p, fmt.Errorf("%q has a zone: give the address without", text)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is not an address or prefix: want ADDRESS or ADDRESS/LENGTH", text)
	case p.Masked() != p:
		return p, fmt.Errorf("%q has bits after its prefix: %v, or another length?", text, p.Masked())
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%q maps IPv4: write it as IPv4", text)
	}
	return p, nil
}
