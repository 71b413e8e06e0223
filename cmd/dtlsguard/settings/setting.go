// Package settings has all settings of a guard in one table, from which flags, environment variables (DTLSGUARD_NAME), the
// configuration file (TOML), the reference page and the JSON Schema are made. Only cmd/dtlsguard uses it.
//
// A flag overrides a variable, which overrides the file's value for a service, which overrides the file's value for all
// services. Every value has its source, so that errors name file, line and what would be right.
package settings

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// Run has the values of all settings.
type Run struct {
	Config    frontend.Config
	Metrics   string
	WebConfig frontend.WebConfig // of Metrics
	Control   string
	LogFormat string
	LogLevel  string
	User      string
	OnEvent   string // command for each event
	Drain     bool   // told to stop, wait until the flows have ended
}

// kind is what a value looks like.
type kind string

// The kinds of values, by their names in the reference.
const (
	text     kind = "string"
	list     kind = "list of strings"
	integer  kind = "integer"
	number   kind = "number"
	duration kind = "duration"
	boolean  kind = "boolean"
)

// setting is one row of the table.
type setting struct {
	name       string
	kind       kind
	arg        string   // what stands for the value in help
	def        string   // as it would be written
	words      []string // those that it can be; nil: any
	from, to   int      // of an integer
	least      time.Duration
	perService bool
	xdp        bool // it does nothing without XDP
	doc        string
	set        func(t *target, v string) error // of a list, each element
}

// target is what a setting is written to: own belongs to one service, the rest to all.
type target struct {
	*Run
	own *frontend.Settings
}

// Source is where a value comes from.
type Source struct {
	File string // "": not from a file
	Line int
	Name string // of the flag or variable; "default" if nobody has said anything
}

// String is as in messages.
func (s Source) String() string {
	if s.File != "" {
		return fmt.Sprintf("%s:%d", s.File, s.Line)
	}
	return s.Name
}

// given is a value and its source. A list has several elements.
type given struct {
	values []string
	source Source
}

func (g given) String() string { return strings.Join(g.values, ",") }

// names of a service's own keys in a file, next to the settings that it may have.
const (
	keyName    = "name"
	keyListen  = "listen"
	keyBackend = "backend"
	keyProtect = "protect"
)

// find returns the setting of a name, nil if there is none.
func find(name string) *setting {
	i := slices.IndexFunc(table, func(s setting) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return &table[i]
}

// put parses v and writes it.
func (s *setting) put(t *target, v string) error {
	if s.words != nil && !slices.Contains(s.words, v) {
		return fmt.Errorf("%q: want %s", v, strings.Join(s.words, ", "))
	}
	if err := s.inRange(v); err != nil {
		return err
	}
	return s.set(t, v)
}

// inRange checks the size of an integer or a duration.
func (s *setting) inRange(v string) error {
	switch s.kind {
	case integer:
		n, err := strconv.Atoi(v)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", v)
		}
		if n < s.from || n > s.to {
			return fmt.Errorf("%d: want %d to %d", n, s.from, s.to)
		}
	case duration:
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("%q is not a duration, such as 30s or 5m", v)
		}
		if d < s.least {
			return fmt.Errorf("%v: want %v or more", d, s.least)
		}
	}
	return nil
}

// The rest of this file has the parts that the table is made of.

func textOf(at func(*target) *string) func(*target, string) error {
	return func(t *target, v string) error { *at(t) = v; return nil }
}

// integerOf stores a number that is within its range.
func integerOf(at func(*target) *int) func(*target, string) error {
	return func(t *target, v string) (err error) {
		*at(t), err = strconv.Atoi(v)
		return err
	}
}

// limitOf is integerOf for a limit, where 0 says that there is none.
func limitOf(at func(*target) *int) func(*target, string) error {
	set := integerOf(at)
	return func(t *target, v string) error {
		err := set(t, v)
		if p := at(t); err == nil && *p == 0 {
			*p = -1
		}
		return err
	}
}

func numberOf(put func(*target, float64)) func(*target, string) error {
	return func(t *target, v string) error {
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || n != n || n < 0 || n > 1e12 {
			return fmt.Errorf("%q is not a number from 0 up", v)
		}
		put(t, n)
		return nil
	}
}

// positiveOf stores a number above 0, for settings at which 0 would admit nobody.
func positiveOf(put func(*target, float64)) func(*target, string) error {
	return func(t *target, v string) error {
		if n, err := strconv.ParseFloat(v, 64); err == nil && n == 0 {
			return fmt.Errorf("%q would admit nobody: want more than 0", v)
		}
		return numberOf(put)(t, v)
	}
}

// durationOf stores a duration that is long enough.
func durationOf(at func(*target) *time.Duration) func(*target, string) error {
	return func(t *target, v string) (err error) {
		*at(t), err = time.ParseDuration(v)
		return err
	}
}

func booleanOf(at func(*target) *bool) func(*target, string) error {
	return func(t *target, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%q: want true or false", v)
		}
		*at(t) = b
		return nil
	}
}

// wordOf looks a word up, and put writes what it stands for.
func wordOf[V any](words map[string]V, put func(*target, V)) func(*target, string) error {
	return func(t *target, v string) error {
		if x, ok := words[v]; ok {
			put(t, x)
			return nil
		}
		return fmt.Errorf("%q: want %s", v, strings.Join(keys(words), ", "))
	}
}

func parsed[V any](parse func(string) (V, error), put func(*target, V)) func(*target, string) error {
	return func(t *target, v string) error {
		x, err := parse(v)
		if err == nil {
			put(t, x)
		}
		return err
	}
}

func keys[V any](m map[string]V) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
