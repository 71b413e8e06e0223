package bpf

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
)

// layoutPin is a symbolic link whose target is the layout of the pinned maps: a bpffs has no files, but links.
const layoutPin = "layout"

// layout identifies what the pinned maps hold: two builds with the same layout can take over each other's maps. Sizes are
// not part of it.
func layout(spec *ebpf.CollectionSpec) (string, error) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
		m := spec.Maps[name]
		if !pins(name) || name == fragsCPUs { // a copy, which Load adds
			continue
		}
		fmt.Fprintln(h, name, m.Type, m.Flags)
		for _, t := range []btf.Type{m.Key, m.Value} {
			if t == nil {
				continue
			}
			text, err := new(btf.GoFormatter).TypeDeclaration("t", t)
			if err != nil {
				return "", fmt.Errorf("layout of map %s: %w", name, err)
			}
			fmt.Fprintln(h, text)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// errLayout and errSize say why pinned maps are not taken over.
var (
	errLayout = errors.New("another build pinned maps of another layout")
	errSize   = errors.New("the limits of flows or services, or the number of CPUs, were others")
)

// fits compares the maps pinned in dir with those of spec. It returns nil too if nothing is pinned there.
func fits(dir string, spec *ebpf.CollectionSpec) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	want, err := layout(spec)
	if err != nil {
		return err
	}
	got, err := os.Readlink(filepath.Join(dir, layoutPin))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if got != want {
		return errLayout
	}
	return nil
}

// findPinned opens the maps that an earlier process pinned for one of the interfaces, nil if there are none that fit: then
// refused says why.
func (g *Programs) findPinned(spec *ebpf.CollectionSpec) (found map[string]*ebpf.Map, refused, err error) {
	if g.pin == "" {
		return nil, nil, nil
	}
	for _, iface := range g.options.Interfaces {
		maps, why, err := pinnedMaps(PinDir(g.pin, iface), spec)
		if maps != nil || err != nil {
			return maps, nil, err
		}
		refused = errors.Join(refused, why)
	}
	return nil, refused, nil
}

// pinnedMaps opens the maps of an earlier process, nil if there are none, or if they do not fit: then refused says why.
func pinnedMaps(dir string, spec *ebpf.CollectionSpec) (found map[string]*ebpf.Map, refused, err error) {
	if dir == "" {
		return nil, nil, nil
	}
	switch err := fits(dir, spec); {
	case errors.Is(err, errLayout):
		return nil, err, nil
	case err != nil:
		return nil, nil, err
	}
	there, err := pinfs.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer there.Close()
	found = make(map[string]*ebpf.Map)
	drop := func() {
		for _, m := range found {
			m.Close()
		}
	}
	for name, s := range spec.Maps {
		if !pins(name) {
			continue
		}
		m, err := there.Map(name)
		if errors.Is(err, os.ErrNotExist) {
			drop()
			return nil, nil, nil
		}
		if err != nil {
			drop()
			return nil, nil, fmt.Errorf("open pinned map %s: %w", filepath.Join(dir, name), err)
		}
		found[name] = m
		if err := s.Compatible(m); err != nil {
			drop()
			return nil, fmt.Errorf("%w: map %s: %w", errSize, name, err), nil
		}
	}
	return found, nil, nil
}

// pins reports whether a map is pinned: all except constants, harvested cookies, whose sockets end with the process, recent
// senders, and a capture, which ends with whoever asked for it.
func pins(name string) bool {
	return name[0] != '.' && name != guardMapHarvested && name != guardMapSenders && !slices.Contains(captureMaps, name)
}
