package settings

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

// file is a configuration file: settings of all services, and of each.
type file struct {
	all      map[string]given
	services []section
}

// section is a [[service]], or what flags say of one.
type section struct {
	source Source
	own    map[string]given
}

// mostBytes bounds a configuration file: 100 000 services' worth.
const mostBytes = 16 << 20

// readFile reads a configuration file. Errors name the line, and what would be right.
func readFile(name string) (*file, error) {
	b, err := regular.Read(name, mostBytes)
	if err != nil {
		return nil, hint.Errorf("write the file (dtlsguard config reference has an example), or name another", "read the configuration file: %w", err)
	}
	return parseFile(name, b)
}

func mistake(s Source, fix, format string, a ...any) error {
	return hint.Usage(hint.Errorf(fix, "%v: "+format, append([]any{s}, a...)...))
}

// parseFile parses the text of a file. It uses two parsers: one of expressions, which knows line numbers, and one that checks
// what TOML forbids across lines, such as duplicate keys.
func parseFile(name string, b []byte) (*file, error) {
	var any map[string]any
	var syntax *toml.DecodeError
	if err := toml.Unmarshal(b, &any); errors.As(err, &syntax) {
		line, _ := syntax.Position()
		return nil, mistake(Source{File: name, Line: line}, "see https://toml.io: text values stand in quotes, as in handoff = \"trust\"", "%s", strings.TrimPrefix(syntax.Error(), "toml: "))
	} else if err != nil {
		return nil, mistake(Source{File: name, Line: 1}, "see https://toml.io", "%v", err)
	}
	f := &file{all: make(map[string]given)}
	into := f.all
	p := unstable.Parser{}
	p.Reset(b)
	var bad []error // so that whoever mends one knows of the others
	for p.NextExpression() {
		e := p.Expression()
		key, at := keyOf(&p, name, e)
		switch {
		case e.Kind == unstable.ArrayTable && key == "service":
			f.services = append(f.services, section{at, make(map[string]given)})
			into = f.services[len(f.services)-1].own
		case e.Kind == unstable.ArrayTable || e.Kind == unstable.Table:
			how := "settings of all services stand at the top, those of one below [[service]]"
			if distance(key, "service") <= 2 {
				how = "did you mean [[service]]? " + how
			}
			return nil, mistake(at, how, "there is no table %q", key)
		case e.Kind == unstable.KeyValue:
			g, err := valueOf(e.Value(), key, at, len(f.services) > 0)
			if err != nil {
				bad = append(bad, err)
				continue
			}
			into[key] = g
		}
	}
	if err := p.Error(); err != nil {
		return nil, mistake(Source{File: name, Line: 1}, "see https://toml.io", "%v", err)
	}
	return f, hint.Several(bad...)
}

// keyOf returns the dotted key of an expression, and its position.
func keyOf(p *unstable.Parser, name string, e *unstable.Node) (string, Source) {
	var parts []string
	at := Source{File: name}
	for k := e.Key(); k.Next(); {
		n := k.Node()
		if len(parts) == 0 {
			at.Line = p.Shape(n.Raw).Start.Line
		}
		parts = append(parts, string(n.Data))
	}
	return strings.Join(parts, "."), at
}

// valueOf returns the value of a key, in the kind that the key requires.
func valueOf(n *unstable.Node, key string, at Source, inService bool) (given, error) {
	want, err := kindOf(key, at, inService)
	if err != nil {
		return given{}, err
	}
	g := given{source: at}
	switch {
	case n.Kind == unstable.Array && want == list:
		for c := n.Children(); c.Next(); {
			if c.Node().Kind == unstable.Comment {
				continue
			}
			if c.Node().Kind != unstable.String {
				return g, mistake(at, fmt.Sprintf("write %s = [\"ONE\", \"OTHER\"]", key), "%s: want a list of strings", key)
			}
			g.values = append(g.values, string(c.Node().Data))
		}
		return g, nil
	case fits(n.Kind, want):
		g.values = []string{string(n.Data)}
		return g, nil
	}
	return g, mistake(at, "write "+key+" = "+example(key, want), "%s: want %s, not %s", key, article(string(want)), article(strings.ToLower(n.Kind.String())))
}

func fits(got unstable.Kind, want kind) bool {
	switch want {
	case integer:
		return got == unstable.Integer
	case number:
		return got == unstable.Integer || got == unstable.Float
	case boolean:
		return got == unstable.Bool
	}
	return got == unstable.String // a list of one, too
}

// article puts the right one before a noun.
func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// examples are values of settings that have no default, and of a service's own keys.
var examples = map[string]string{
	keyName: "turn", keyListen: ":4433", keyBackend: "127.0.0.1:4434", keyProtect: "192.0.2.7:4433",
	"interface": "eth0", "trust-tcp": "443",
}

// example is a value that a key may have, as it is written in TOML.
func example(key string, k kind) string {
	value := examples[key]
	if s := find(key); s != nil && value == "" {
		switch {
		case s.def != "":
			value = s.def
		case s.words != nil:
			value = s.words[0]
		case s.arg != "":
			value = s.arg
		default:
			value = "WORD"
		}
	}
	switch k {
	case integer, number, boolean:
		return value
	case list:
		return fmt.Sprintf("[%q]", value)
	}
	return strconv.Quote(value)
}

// serviceKeys are those that only a service has.
var serviceKeys = map[string]kind{keyName: text, keyListen: text, keyBackend: list, keyProtect: text}

// kindOf is the kind of a key's values, if there is such a key in that place.
func kindOf(key string, at Source, inService bool) (kind, error) {
	s := find(key)
	k, own := serviceKeys[key]
	switch {
	case own && inService:
		return k, nil
	case own:
		return "", mistake(at, "write [[service]] above it", "%s is of a service", key)
	case s == nil:
		return "", mistake(at, nearest(key, inService), "there is no setting %q", key)
	case inService && !s.perService && s.name != "interface":
		return "", mistake(at, "put it above the first [[service]]", "%s is for all services together", key)
	}
	return s.kind, nil
}

// nearest returns a hint for an unknown key.
func nearest(key string, inService bool) string {
	var names []string
	for _, s := range table {
		if !inService || s.perService {
			names = append(names, s.name)
		}
	}
	if inService {
		names = append(names, keys(serviceKeys)...)
	}
	key = strings.ReplaceAll(key, "_", "-")
	best := slices.MinFunc(names, func(a, b string) int { return distance(key, a) - distance(key, b) })
	if distance(key, best) <= max(2, len(key)/3) {
		return "did you mean " + best + "?"
	}
	return "dtlsguard config reference lists what there is"
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		last := row[0]
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			last, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, last+cost)
		}
	}
	return row[len(b)]
}
