package settings

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// introduction is what the reference begins with.
const introduction = `# Configuration

Written by ` + "`dtlsguard config reference`" + `; do not edit.

Every setting is a flag of ` + "`dtlsguard run`" + ` (` + "`--hello-rate 5`" + `), an environment variable (` + "`DTLSGUARD_HELLO_RATE=5`" + `; lists are
separated by spaces), and a key of the configuration file (` + "`hello-rate = 5`" + `). The file is TOML. A flag overrides a variable,
which overrides the file; in the file a [[service]] overrides what is set for all services.

` + "```toml" + `
# /etc/dtlsguard/dtlsguard.toml
metrics-listen = "127.0.0.1:9477"
hello-rate = 20                       # for every service without its own

[[service]]
name = "turn"                         # in logs, metrics and status
listen = "192.0.2.7:5349"
backend = ["10.0.0.5:5349", "10.0.0.6:5349*2"]   # the second gets two of three clients
harvest-pool = 256

[[service]]
listen = ":5684"                      # every address of this host
backend = "coap.example.net:5684"     # resolved again every resolve-every
handoff = "trust"
` + "```" + `

` + "`dtlsguard config check FILE`" + ` finds mistakes, names their lines and suggests corrections; ` + "`dtlsguard config show`" + ` shows the effective
settings and where each comes from.

` + "`dtlsguard reload`" + `, or SIGHUP, reads the file again. It adds services, changes them and removes them (their flows may continue for
drain-timeout), without affecting the flows of others. A file with a mistake changes nothing. The settings of the second table, and
max-flows of all services, need a restart; a reload names those that changed. Those of sockets (workers, their port, buffers,
freebind) need ` + "`systemctl stop` and `start`" + ` where the unit stores file descriptors, because a restart keeps the sockets there.

A range is one of whole numbers; a number is 0 or more.

Without --config the file is dtlsguard.toml in CONFIGURATION_DIRECTORY, which systemd sets, if there is one. A secret-file that is a
bare name is looked up in CREDENTIALS_DIRECTORY first.
`

// Reference writes the reference page.
func Reference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("\n## Keys of a service\n\n| key | value | meaning |\n|---|---|---|\n")
	for _, k := range [][3]string{
		{keyName, "string", "in logs, metrics and status; default: the address"},
		{keyListen, "string", "public address, HOST:PORT; :PORT is every address; a name stands for all its addresses"},
		{keyBackend, "list of strings", "its servers, HOST:PORT or HOST:PORT*WEIGHT; a client stays with one, chosen by its address"},
		{keyProtect, "string", "instead of both: the address of a server on this host that keeps its port"},
	} {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k[0], k[1], k[2])
	}
	for _, part := range []struct {
		title string
		own   bool
	}{{"Settings that each service may have", true}, {"Settings of all services together", false}} {
		fmt.Fprintf(&b, "\n## %s\n\n| setting | value | default | meaning |\n|---|---|---|---|\n", part.title)
		for _, s := range table {
			if s.perService == part.own {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.name, s.values(), code(s.def), s.meaning())
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func (s *setting) values() string {
	switch {
	case s.words != nil:
	case s.kind == integer:
		return fmt.Sprintf("%d to %d", s.from, s.to)
	case s.kind == duration:
		return fmt.Sprintf("duration, %v or more", s.least)
	default:
		return string(s.kind)
	}
	const most = 110 // of a table of the documentation, whose rows have 160 characters
	words := strings.Join(s.words, ", ")
	if len(words) > most {
		return fmt.Sprintf("%s ... (%d, see the schema)", s.words[0], len(s.words))
	}
	return words
}

func (s *setting) meaning() string {
	if s.xdp {
		return "XDP: " + s.doc
	}
	return s.doc
}

// Schema writes the JSON Schema of the file, for editors that check TOML by it.
func Schema(w io.Writer) error {
	all, own := make(map[string]any), make(map[string]any)
	for _, s := range table {
		p := s.schema()
		all[s.name] = p
		if s.perService || s.name == "interface" {
			own[s.name] = p
		}
	}
	for k, v := range serviceKeys {
		own[k] = (&setting{kind: v}).schema()
	}
	all["service"] = map[string]any{"type": "array", "items": map[string]any{
		"type": "object", "properties": own, "additionalProperties": false,
		"oneOf": []any{
			map[string]any{"required": []string{keyListen, keyBackend}}, map[string]any{"required": []string{keyProtect}},
		},
	}}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "dtlsguard", "type": "object",
		"properties": all, "additionalProperties": false,
	})
}

// schema is that of one setting's values.
func (s *setting) schema() map[string]any {
	p := make(map[string]any)
	switch s.kind {
	case integer:
		p["type"], p["minimum"], p["maximum"] = string(s.kind), s.from, s.to
	case number:
		p["type"], p["minimum"] = string(s.kind), 0
	case boolean:
		p["type"] = string(s.kind)
	case list:
		one := map[string]any{"type": "string"}
		if s.words != nil {
			one["enum"] = s.words
		}
		p["anyOf"] = []any{one, map[string]any{"type": "array", "items": one}}
	case duration:
		p["type"], p["pattern"] = "string", `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`
	default:
		p["type"] = "string"
		if s.words != nil {
			p["enum"] = s.words
		}
	}
	if s.doc != "" {
		p["description"] = s.meaning()
	}
	return p
}
