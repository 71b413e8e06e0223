package settings

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// Locate adds the position in the file of the setting that an error names.
func (l *Loaded) Locate(err error) error {
	if err == nil || l.File == "" || !errors.Is(err, hint.ErrUsage) {
		return err
	}
	m := hint.Setting.FindStringSubmatchIndex(err.Error())
	if m == nil {
		return fmt.Errorf("%s: %w", l.File, err)
	}
	name, rest := err.Error()[m[2]:m[3]], err.Error()[m[3]:]
	places := []map[string]given{l.all}
	for _, s := range l.services {
		places = append(places, s.values)
	}
	for _, values := range slices.Backward(places) {
		if g, ok := values[name]; ok && g.source.File != "" && strings.Contains(rest, g.values[0]) {
			return fmt.Errorf("%v: %w", g.source, err)
		}
	}
	return fmt.Errorf("%s: %w", l.File, err)
}

// Show writes the settings in force and their sources: for all services, then those of each.
func (l *Loaded) Show(line func(section, name, value, source string)) {
	for _, s := range table {
		g := l.all[s.name]
		line("", s.name, g.String(), g.source.String())
	}
	for _, e := range l.services {
		for _, k := range []string{keyName, keyListen, keyProtect, keyBackend} {
			if g, ok := e.values[k]; ok {
				line(e.title, k, g.String(), g.source.String())
			}
		}
		for _, s := range table {
			if g := e.values[s.name]; g.String() != l.all[s.name].String() || g.source != l.all[s.name].source {
				line(e.title, s.name, g.String(), g.source.String())
			}
		}
	}
}

// Shown returns the flags for status that are not part of frontend.Config.
func (l *Loaded) Shown() map[string]any {
	listen, backend, protect := []string{}, []string{}, []string{}
	for _, e := range l.services {
		if g, ok := e.values[keyProtect]; ok {
			protect = append(protect, g.String())
			continue
		}
		listen = append(listen, e.values[keyListen].String())
		backend = append(backend, e.values[keyBackend].String())
	}
	return map[string]any{
		configFlag: l.File, keyListen: listen, keyBackend: backend, keyProtect: protect, "pass": append([]string{}, l.all["pass"].values...),
		"metrics-listen": l.Metrics, "metrics-web-config": string(l.WebConfig), "control": l.Control,
		"log-format": l.LogFormat, "log-level": l.LogLevel, "user": l.User, "on-event": l.OnEvent,
		"drain": l.Drain, "drain-timeout": l.Config.DrainTimeout.String(),
	}
}
