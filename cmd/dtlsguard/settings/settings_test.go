package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// load puts together what a file and flags say.
func load(t *testing.T, text string, args ...string) (*Loaded, error) {
	t.Helper()
	set := pflag.NewFlagSet("run", pflag.ContinueOnError)
	flags := Register(set, map[string]string{"control": "off"})
	if text != "" {
		name := filepath.Join(t.TempDir(), "guard.toml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", name)
	}
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	l, err := Load(context.Background(), flags, map[string]string{"control": "off"})
	if err == nil {
		err = l.Locate(l.Config.Check())
	}
	return l, err
}

const service = "[[service]]\nlisten = \"127.0.0.1:4433\"\nbackend = \"127.0.0.1:4434\"\n"

// TestBadConfigurations: each mistake is refused, with its line and what would be right.
func TestBadConfigurations(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       string // after the file's name
		hint       string
	}{
		{"nothing", "# nothing\n", ": nothing to protect", ""},
		{"no TOML", "listen 5\n", ":1: ", "see https://toml.io"},
		{"no quotes", service + "handoff = trust\n", ":4: ", "stand in quotes"},
		{"twice", "batch = 1\nbatch = 2\n" + service, ":2: ", ""},
		{"unknown key", "helo-rate = 5\n" + service, `:1: there is no setting "helo-rate"`, "did you mean hello-rate?"},
		{"services", "[[services]]\n", `:1: there is no table "services"`, "did you mean [[service]]?"},
		{"underscore", "hello_rate = 5\n" + service, `:1: there is no setting "hello_rate"`, "did you mean hello-rate?"},
		{"unknown key of a service", service + "harvest = 5\n", `:4: there is no setting "harvest"`, "reference"},
		{"nothing like it", "colour = \"red\"\n" + service, `:1: there is no setting "colour"`, ""},
		{"unknown table", "[global]\nbatch = 5\n" + service, `:1: there is no table "global"`, "stand at the top"},
		{"service as a table", "[service]\nlisten = \":1\"\n", `:1: there is no table "service"`, "[[service]]"},
		{"dotted key", "service.listen = \":1\"\n", `:1: there is no setting "service.listen"`, ""},
		{"service's key at the top", "listen = \":1\"\n", ":1: listen is of a service", "[[service]]"},
		{"everybody's key in a service", service + "batch = 5\n", ":4: batch is for all services together", "above the first [[service]]"},
		{"text for a number", "batch = \"5\"\n" + service, ":1: batch: want an integer, not a string", "write batch = 64"},
		{"number for text", service + "handoff = 5\n", ":4: handoff: want a string, not an integer", `write handoff = "auto"`},
		{"number for a duration", "idle-timeout = 30\n" + service, ":1: idle-timeout: want a duration", `write idle-timeout = "5m0s"`},
		{"number for an address", "[[service]]\nlisten = \":4433\"\nbackend = 4434\n", ":3: backend: want a list of strings, not an integer", `write backend = ["127.0.0.1:4434"]`},
		{"text for bytes", "receive-buffer = \"4MB\"\n" + service, ":1: receive-buffer: want an integer, not a string", "write receive-buffer = 4194304"},
		{"too small for a datagram", "receive-buffer = 5\n" + service, ":1: receive-buffer: 5: want ", ""},
		{"list of numbers", service + "pass = [1, 2]\n", ":4: pass: want a list of strings", "pass = ["},
		{"fraction", "batch = 2.5\n" + service, ":1: batch: want an integer, not a float", ""},
		{"bad duration", "idle-timeout = \"soon\"\n" + service, `:1: idle-timeout: "soon" is not a duration`, ""},
		{"short duration", "rotate-every = \"1ms\"\n" + service, ":1: rotate-every: 1ms: want 1s or more", ""},
		{"too large", "batch = 5000\n" + service, ":1: batch: 5000: want 1 to 1024", ""},
		{"negative", "hello-rate = -1\n" + service, ":1: hello-rate: \"-1\" is not a number from 0 up", ""},
		{"admits nobody", "engage-rate = 0\n" + service, ":1: engage-rate: \"0\" would admit nobody: want more than 0", ""},
		{"unknown word", service + "handoff = \"magic\"\n", `:4: handoff: "magic": want auto, `, ""},
		{"unknown protocol", "interface = \"lo\"\n" + service + "pass = [\"sip\"]\n", `:5: pass: "sip": want anyconnect, `, ""},
		{"neither", "[[service]]\nname = \"x\"\n", ":1: a service has listen or protect", "protect"},
		{"both", service + "protect = \":5\"\n", ":1: a service has listen or protect", ""},
		{"no back end", "[[service]]\nlisten = \":4433\"\n", ":1: listen and backend go together", ""},
		{"bad address", "[[service]]\nlisten = \"127.0.0.1\"\nbackend = \":1\"\n", `:2: listen: "127.0.0.1": want HOST:PORT`, ""},
		{"bad port", "[[service]]\nlisten = \":4433\"\nbackend = \"a:99999\"\n", `:3: backend: "a:99999": "99999" is not a port`, ""},
		{"bad weight", "[[service]]\nlisten = \":4433\"\nbackend = [\"a:1*0\"]\n", `:3: backend: "a:1*0": "0" is not a weight`, ""},
		{"XDP without an interface", service + "monitor = true\n", ":4: monitor is done by XDP", "interface = "},
		{"inline without an interface", "[[service]]\nprotect = \"127.0.0.1:5\"\n", ": --protect is done by XDP", ""},
		{"native without a secret", service + "handoff = \"native-qt\"\n", ":4: --handoff native-qt computes", ""},
		{"address twice", service + service, ":5: --listen 127.0.0.1:4433 is given twice", ""},
		{"address in another", "[[service]]\nlisten = \":4433\"\nbackend = \"127.0.0.1:4434\"\n" + service, ":5: --listen 127.0.0.1:4433 and --listen [::]:4433 ", "at one address each"},
		{"itself by any address", "[[service]]\nlisten = \":5\"\nbackend = \"127.0.0.1:5\"\n", ":2: --listen [::]:5 takes what is sent to --backend 127.0.0.1:5", ""},
		{"addresses that XDP takes for one", "interface = \"lo\"\n[[service]]\nlisten = \"[fe80::1%a]:5\"\nbackend = \"127.0.0.1:6\"\n[[service]]\nlisten = \"[fe80::1%b]:5\"\nbackend = \"127.0.0.1:7\"\n",
			":6: --listen [fe80::1%b]:5 differs from another one by its zone alone", ""},
		{"itself", "[[service]]\nlisten = \"127.0.0.1:5\"\nbackend = \"127.0.0.1:5\"\n", ":2: --listen and --backend are both", ""},
		{"more flows than there are", "max-flows = 10\n" + service + "max-flows = 20\n", ":5: --max-flows 20 of ", ""},
		{"a share of the kernel's flows", "interface = \"lo\"\n[[service]]\nprotect = \"127.0.0.1:5\"\nmax-flows = 20\n", ":4: --max-flows 20 of ", ""},
		{"bad listener", "metrics-listen = \"9477\"\n" + service, `:1: metrics-listen: "9477": want ADDRESS:PORT`, ""},
	} {
		_, err := load(t, c.text)
		if err == nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		_, after, _ := strings.Cut(hint.Flags(err.Error()), "guard.toml")
		if !strings.HasPrefix(after, c.want) || !strings.Contains(hint.Of(err), c.hint) || !errors.Is(err, hint.ErrUsage) {
			t.Errorf("%s: error %q, hint %q, want %q, %q", c.name, err, hint.Of(err), c.want, c.hint)
		}
	}
}

// TestWhatCounts: a flag before a variable, that before a service's own, that before everybody's.
func TestWhatCounts(t *testing.T) {
	text := "hello-rate = 5\nmax-flows = 9\nidle-timeout = \"1m\"\nbatch = 8\nhandoff = \"trust\"\n" + service + "hello-rate = 6\nmax-flows = 3\nidle-timeout = \"2m\"\n" +
		"[[service]]\nlisten = \"127.0.0.1:5433\"\nbackend = [\"a.example:1*3\", \"b.example:2\"]\nhandoff = \"replay\"\n"
	l, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	s := l.Config.Services
	if len(s) != 2 || s[0].Settings.HelloRate.PerSecond != 6 || s[1].Settings.HelloRate.PerSecond != 5 || l.Config.Batch != 8 ||
		s[0].Settings.Handoff.String() != "trust" || s[1].Settings.Handoff.String() != "replay" || len(s[1].Backends) != 2 || s[1].Backends[0].Weight != 3 {
		t.Errorf("%+v", s)
	}
	if c := l.Config; c.MaxFlows != 9 || s[0].Settings.ServiceFlows != 3 || c.IdleTimeout != time.Minute || s[0].Settings.IdleTimeout != 2*time.Minute {
		t.Errorf("of all: %d flows, %v idle; of one service: %d, %v", c.MaxFlows, c.IdleTimeout, s[0].Settings.ServiceFlows, s[0].Settings.IdleTimeout)
	}
	t.Setenv("DTLSGUARD_HELLO_RATE", "7")
	t.Setenv("DTLSGUARD_BATCH", "9")
	if l, err = load(t, text, "--batch", "10"); err != nil {
		t.Fatal(err)
	}
	s = l.Config.Services
	if s[0].Settings.HelloRate.PerSecond != 7 || s[1].Settings.HelloRate.PerSecond != 7 || l.Config.Batch != 10 {
		t.Errorf("variable and flag do not count: %v, %v, batch %d", s[0].Settings.HelloRate, s[1].Settings.HelloRate, l.Config.Batch)
	}
	if _, err := load(t, text, "--listen", ":1", "--backend", "a:1"); err == nil || !strings.Contains(err.Error(), "services are named by --listen and in ") {
		t.Errorf("services by flags and file: %v", err)
	}
}

// TestServiceManagersDirectories: configuration and credentials are found where systemd puts them.
func TestServiceManagersDirectories(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("dtlsguard.toml", service+"secret-file = \"cookies\"\n")
	write("cookies", "")
	t.Setenv("CONFIGURATION_DIRECTORY", dir)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	l, err := load(t, "")
	if err != nil || l.Config.Services[0].Settings.SecretFile != filepath.Join(dir, "cookies") {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestRangesAreSaid: what is refused for its size has its range in the reference and in the schema.
func TestRangesAreSaid(t *testing.T) {
	var reference, schema bytes.Buffer
	if err := errors.Join(Reference(&reference), Schema(&schema)); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"| `max-flows` | 1 to 16777216 |", "| `worker-nice` | -20 to 19 |", "| `idle-timeout` | duration, 1s or more |"} {
		if !strings.Contains(reference.String(), row) {
			t.Errorf("the reference has no %q", row)
		}
	}
	if !strings.Contains(schema.String(), `"maximum": 16777216`) {
		t.Error("the schema has no maximum of max-flows")
	}
}

// TestPackagedConfiguration: the values that the package's configuration shows as defaults are those.
func TestPackagedConfiguration(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/package/dtlsguard.toml")
	if err != nil {
		t.Fatal(err)
	}
	whole, seen := string(text), 0
	all, _, _ := strings.Cut(whole, "#[[service]]")
	for line := range strings.Lines(all) {
		name, value, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "#")), " = ")
		s := find(name)
		if !ok || s == nil || s.def == "" {
			continue // a comment, or a setting without a default
		}
		if seen++; strings.Trim(value, `"`) != s.def {
			t.Errorf("%s = %s, and the default is %s", name, value, s.def)
		}
	}
	if seen == 0 {
		t.Error("no defaults found")
	}
	uncommented := regexp.MustCompile(`(?m)^#(\[\[service|[a-z-]+ = )`).ReplaceAllString(whole, "$1")
	if _, err := load(t, uncommented); err != nil {
		t.Error(err)
	}
}

var update = flag.Bool("update", false, "write the reference and the schema")

// TestReferenceIsCurrent holds the written reference and schema to the table.
func TestReferenceIsCurrent(t *testing.T) {
	for file, write := range map[string]func(io.Writer) error{
		"../../../docs/configuration.md": Reference, "../../../docs/dtlsguard.schema.json": Schema,
	} {
		var now bytes.Buffer
		if err := write(&now); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, now.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if was, err := os.ReadFile(file); err != nil || !bytes.Equal(was, now.Bytes()) {
			t.Errorf("%s is not current: go test ./cmd/dtlsguard/settings -update", file)
		}
	}
	var schema map[string]any
	var b bytes.Buffer
	if err := errors.Join(Schema(&b), json.Unmarshal(b.Bytes(), &schema)); err != nil {
		t.Error(err)
	}
}

// Variables that are nearly those of settings are named; those of others are not.
func TestMisspeltVariables(t *testing.T) {
	got := Misspelt([]string{"DTLSGUARD_DENY_FIEL=/etc/deny", "DTLSGUARD_DENY_FILE=x", "DTLSGUARD_PORT=tcp://192.0.2.1:80",
		"DTLSGUARD_SERVICE_HOST=192.0.2.1", "PATH=/bin", "DTLSGUARD_HELLORATE=5"})
	want := []string{
		"DTLSGUARD_DENY_FIEL is not a setting: did you mean DTLSGUARD_DENY_FILE?",
		"DTLSGUARD_HELLORATE is not a setting: did you mean DTLSGUARD_HELLO_RATE?",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range table { // the variables of all settings themselves
		if m := Misspelt([]string{variableOf(table[i].name) + "=1"}); m != nil {
			t.Error(m)
		}
	}
}
