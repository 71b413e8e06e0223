package settings

import (
	"context"
	"errors"
	"maps"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// Loaded is a guard's settings and where each comes from.
type Loaded struct {
	Run
	File     string
	all      map[string]given
	services []effective
}

// effective has the settings in force for one service.
type effective struct {
	title  string
	values map[string]given
}

// Default reports whether nobody has said anything about a setting.
func (l *Loaded) Default(name string) bool { return l.all[name].source.Name == byDefault }

// byDefault is the Source.Name of such a setting.
const byDefault = "default"

// Load merges file, variables and flags.
func Load(ctx context.Context, f *Flags, defaults map[string]string) (*Loaded, error) {
	l := &Loaded{File: f.File()}
	from := &file{all: make(map[string]given)}
	if l.File != "" {
		var err error
		if from, err = readFile(l.File); err != nil {
			return nil, err
		}
	}
	return l, l.merge(ctx, f, from, defaults)
}

func (l *Loaded) merge(ctx context.Context, f *Flags, from *file, defaults map[string]string) error {
	over := make(map[string]given) // what counts more than the file
	l.all = make(map[string]given)
	for _, s := range table {
		def := s.def
		if d, ok := defaults[s.name]; ok {
			def = d
		}
		g := given{source: Source{Name: byDefault}}
		if def != "" {
			g.values = []string{def}
		}
		l.all[s.name] = g
		if g, ok := f.given(s.name); ok {
			if s.kind == list {
				g.values = splitAll(g.values)
			}
			over[s.name] = g
		}
	}
	maps.Copy(l.all, from.all)
	maps.Copy(l.all, over)
	sections, err := f.sections(from)
	if err != nil {
		return err
	}
	bad := []error{l.write(&target{&l.Run, &l.Config.Settings}, l.all, nil)}
	for _, s := range sections {
		values := maps.Clone(l.all)
		for name, g := range s.own {
			if _, ok := over[name]; !ok {
				values[name] = g
			}
		}
		bad = append(bad, l.service(ctx, s, values))
	}
	if err := hint.Several(bad...); err != nil {
		return err
	}
	return l.refuseWithoutXDP()
}

// write parses values and stores them; only those that only selects, if it is not nil.
func (l *Loaded) write(t *target, values map[string]given, only func(*setting) bool) error {
	for i := range table {
		s := &table[i]
		if only != nil && !only(s) {
			continue
		}
		g := values[s.name]
		for _, v := range g.values {
			if err := s.put(t, v); err != nil {
				return wrong(g.source, s.name, err)
			}
		}
	}
	return nil
}

// wrong returns the error of an invalid value.
func wrong(at Source, name string, err error) error {
	if errors.Is(err, errUnresolved) { // which says nothing against what was written
		return hint.Errorf("see that the resolver answers (getent hosts NAME), or write the address", "%v: %w", at, err)
	}
	if at.File != "" {
		return mistake(at, "dtlsguard config reference says what "+name+" can be", "%s: %w", name, err)
	}
	return hint.Usagef("%s: %w", at.Name, err)
}

// sections returns the services of the file or of the flags.
func (f *Flags) sections(from *file) ([]section, error) {
	listen, _ := f.given(keyListen)
	backend, _ := f.given(keyBackend)
	protect, _ := f.given(keyProtect)
	if len(listen.values) != len(backend.values) {
		return nil, hint.Usagef("%d of --listen and %d of --backend are given: they go in pairs", len(listen.values), len(backend.values))
	}
	var named []section
	for i := range listen.values {
		named = append(named, section{listen.source, map[string]given{
			keyListen:  {listen.values[i : i+1], listen.source},
			keyBackend: {backend.values[i : i+1], backend.source},
		}})
	}
	for i := range protect.values {
		named = append(named, section{protect.source, map[string]given{keyProtect: {protect.values[i : i+1], protect.source}}})
	}
	switch {
	case len(named) == 0:
		return from.services, nil
	case len(from.services) > 0:
		return nil, hint.Usage(hint.Errorf("write all services into the file", "services are named by %s and in %s", named[0].source.Name, from.services[0].source.File))
	}
	return named, nil
}

// service adds one service of a section, or several if its name has several addresses.
func (l *Loaded) service(ctx context.Context, s section, values map[string]given) error {
	own := new(frontend.Settings)
	if err := l.write(&target{&l.Run, own}, values, func(s *setting) bool { return s.perService }); err != nil {
		return err
	}
	listen, proxy := s.own[keyListen]
	protect, inline := s.own[keyProtect]
	backend, backed := s.own[keyBackend]
	switch {
	case proxy == inline:
		return mistake(s.source, "a proxy has listen and backend, a server on this host protect", "a service has listen or protect, one of them")
	case proxy != backed:
		return mistake(s.source, "backend names the server behind a proxy; protect needs none", "listen and backend go together")
	}
	var interfaces []string // a flag applies to all services
	if g, ok := s.own["interface"]; ok && values["interface"].source == g.source {
		for _, v := range g.values {
			if err := find("interface").put(&target{&l.Run, own}, v); err != nil {
				return wrong(g.source, "interface", err)
			}
			interfaces = append(interfaces, v)
		}
	}
	at := listen
	if inline {
		at = protect
		if len(values["unverified"].values) == 0 {
			own.Unverified = bpf.UnverifiedLimit // a server that was there before has clients that no guard has verified
		}
	}
	addrs, err := listenAt(ctx, at.values[0])
	if err != nil {
		return wrong(at.source, map[bool]string{true: keyProtect, false: keyListen}[inline], err)
	}
	var backends []frontend.Backend
	for _, v := range splitAll(backend.values) {
		b, err := oneBackend(v)
		if err != nil {
			return wrong(backend.source, keyBackend, err)
		}
		backends = append(backends, b)
	}
	name := s.own[keyName].String()
	for _, a := range addrs {
		service := frontend.Service{Name: name, Listen: a, Backends: backends, Settings: own, Interfaces: interfaces}
		if len(addrs) > 1 && name != "" {
			service.Name = name + " " + a.String()
		}
		l.Config.Services = append(l.Config.Services, service)
	}
	title := at.values[0]
	maps.Copy(values, s.own)
	l.services = append(l.services, effective{title, values})
	return nil
}

// refuseWithoutXDP refuses settings that have no effect without XDP: whoever sets them expects that something is enforced.
func (l *Loaded) refuseWithoutXDP() error {
	if len(l.Config.XDP.Interfaces) > 0 {
		return nil
	}
	places := []map[string]given{l.all}
	for _, s := range l.services {
		places = append(places, s.values)
	}
	for _, values := range places {
		for _, s := range table {
			g := values[s.name]
			if !s.xdp || g.source.Name == byDefault || s.name == "interface" {
				continue
			}
			const say = "is done by XDP: give --interface, the one that clients come in by"
			if g.source.File != "" {
				return mistake(g.source, "interface = [\"NAME\"], the one that clients come in by", "%s is done by XDP, which needs an interface", s.name)
			}
			return hint.Usagef("%s %s", g.source.Name, say)
		}
	}
	if x := &l.Config.XDP; x.Chain != "" && (x.KeepAttached || x.Mode != bpf.AttachAuto) {
		return hint.Usagef("--xdp-chain leaves the way of attaching to the root program, and nothing of it is kept: leave --xdp-mode and --keep-attached out")
	}
	if l.Config.XDP.KeepAttached && l.Config.XDP.Pin == "" {
		return hint.Usagef("--keep-attached needs a --pin directory")
	}
	return nil
}
