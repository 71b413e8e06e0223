package settings

import (
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Flags are the flags of a command that runs a guard or checks its configuration.
type Flags struct {
	set    *pflag.FlagSet
	values map[string]*flagValue
}

// flagValue collects the values of a flag.
type flagValue struct {
	kind   kind
	arg    string // what the help calls a value; "": by its kind
	values []string
	def    string
}

func (v *flagValue) String() string { return v.def }

// Type is what the help calls a value. It shows none for "bool".
func (v *flagValue) Type() string {
	switch {
	case v.arg != "":
		return v.arg
	case v.kind == boolean:
		return "bool"
	}
	return strings.ToUpper(strings.ReplaceAll(string(v.kind), " of strings", ""))
}

func (v *flagValue) Set(text string) error {
	if v.kind != list {
		v.values = nil // the last one counts
	}
	v.values = append(v.values, text)
	return nil
}

// configFlag names the configuration file.
const configFlag = "config"

// Register adds all settings to a command's flags.
func Register(set *pflag.FlagSet, defaults map[string]string) *Flags {
	f := &Flags{set, make(map[string]*flagValue)}
	add := func(name string, k kind, arg, def, doc string) {
		v := &flagValue{kind: k, arg: arg, def: def}
		f.values[name] = v
		flag := set.VarPF(v, name, "", doc)
		if k == boolean {
			flag.NoOptDefVal = "true"
		}
	}
	add(configFlag, text, "FILE", "", "configuration, TOML (dtlsguard config reference); flags and DTLSGUARD_* variables override it")
	add(keyListen, list, "HOST:PORT", "", "public address; :PORT is every address (repeat in pairs with --backend)")
	add(keyBackend, list, "HOST:PORT", "", "the server's address, or several, HOST:PORT*WEIGHT,...")
	add(keyProtect, list, "HOST:PORT", "", "address of a server on this host that keeps its port (repeatable)")
	for _, s := range table {
		def := s.def
		if d, ok := defaults[s.name]; ok {
			def = d
		}
		doc := s.doc
		if s.xdp {
			doc = "XDP: " + doc
		}
		if s.words != nil && s.kind == text {
			doc += "; one of " + strings.Join(s.words, ", ")
		}
		add(s.name, s.kind, s.arg, def, doc)
	}
	return f
}

// Complete completes the values of a command's flags: the words that a setting takes, and names of interfaces.
func (f *Flags) Complete(cmd *cobra.Command) {
	for i := range table {
		s := &table[i]
		complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			words := s.words
			if s.name == "interface" {
				words = interfaces()
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		}
		if s.arg == "FILE" || s.arg == "MAP" || s.arg == "DIRECTORY" || s.arg == "SOCKET" {
			continue // the shell knows files
		}
		_ = cmd.RegisterFlagCompletionFunc(s.name, complete) // it fails only for flags that there are not
	}
}

func interfaces() (names []string) {
	all, _ := net.Interfaces()
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

// given returns the value of a flag or of its environment variable.
func (f *Flags) given(name string) (given, bool) {
	if v := f.values[name]; v != nil && len(v.values) > 0 {
		return given{v.values, Source{Name: "--" + name}}, true
	}
	variable := variableOf(name)
	if v, ok := os.LookupEnv(variable); ok && v != "" {
		return given{strings.Fields(v), Source{Name: variable}}, true
	}
	return given{}, false
}

// File is the configuration file that was named: by the flag, its variable, or the service manager's directory.
func (f *Flags) File() string {
	if g, ok := f.given(configFlag); ok {
		return g.values[0]
	}
	if dir, _, _ := strings.Cut(os.Getenv("CONFIGURATION_DIRECTORY"), ":"); dir != "" {
		if name := filepath.Join(dir, "dtlsguard.toml"); isFile(name) {
			return name
		}
	}
	return ""
}

// variableOf is the environment variable of a setting.
func variableOf(name string) string {
	return "DTLSGUARD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// mostlyRight is how many letters may be wrong in a variable that is taken for a misspelt setting: a swap of two is two changes.
// Settings of up to five letters are left out, since variables of others (DTLSGUARD_PORT, which Kubernetes sets for a service
// of that name) are as near to them.
const mostlyRight = 2

// Misspelt says of each variable in environment ("NAME=VALUE") that is nearly that of a setting which one is probably meant.
func Misspelt(environment []string) (list []string) {
	for _, e := range environment {
		variable, _, _ := strings.Cut(e, "=")
		short, ours := strings.CutPrefix(variable, "DTLSGUARD_")
		if !ours {
			continue
		}
		name := strings.ToLower(strings.ReplaceAll(short, "_", "-"))
		for i := range table {
			if d := distance(name, table[i].name); len(table[i].name) > 5 && d > 0 && d <= mostlyRight && find(name) == nil {
				list = append(list, variable+" is not a setting: did you mean "+variableOf(table[i].name)+"?")
				break
			}
		}
	}
	return list
}
