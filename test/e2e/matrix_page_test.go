package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

// page is the file with the matrix, between two marks.
const (
	page      = "../../docs/servers.md"
	markBegin = "<!-- matrix: written by make test-matrix -->\n"
	markEnd   = "<!-- matrix ends -->\n"
)

// packages are the Debian packages of the libraries and programs whose versions the matrix shows.
var packages = map[string]string{
	"OpenSSL": "openssl", "GnuTLS": "gnutls-bin", "Mbed TLS": "libmbedtls-dev", "wolfSSL": "libwolfssl-dev",
	"Qt": "qt6-base-dev", "libcoap": "libcoap3-bin", "coturn": "coturn", "radsecproxy": "radsecproxy", "socat": "socat", "Botan": "botan", "BoringSSL": "android-libboringssl-dev",
	"Erlang/OTP": "erlang-base", "Java": "openjdk-17-jdk-headless", "BouncyCastle": "libbctls-java", "Godot": "godot3-server",
}

// version returns the installed version of a library, without the distribution's suffix.
func version(library string) string {
	if built := map[string]string{"wolfSSL 1.3": "wolfssl13", "wolfSSL 1.3 of Debian 12": "wolfssl13-bookworm"}[library]; built != "" {
		tree, err := peers.Find(built).Prefix()
		if err != nil {
			return "?"
		}
		out, err := exec.Command("sed", "-n", `s/^Version: //p`, filepath.Join(tree, "lib/pkgconfig/wolfssl.pc")).Output()
		if err != nil {
			return "?"
		}
		return strings.TrimSpace(string(out))
	}
	if module := map[string]string{"Pion": "v3", "Pion v4": "v4"}[library]; module != "" {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/pion/dtls/"+module).Output()
		if err != nil {
			return "?"
		}
		return strings.TrimPrefix(strings.TrimSpace(string(out)), "v")
	}
	out, err := exec.Command("dpkg-query", "-W", "-f", "${source:Upstream-Version}", packages[library]).Output()
	if err != nil {
		return "?"
	}
	v, _, _ := strings.Cut(string(out), "+") // +dfsg
	v, _, _ = strings.Cut(v, "~")
	v, _, _ = strings.Cut(v, "-")
	return v
}

// letters name the clients in the table.
var letters = []struct{ client, letter string }{
	{"openssl", "O"}, {"fragments", "F"}, {"gnutls", "G"}, {"mbedtls", "M"}, {"pion", "P"}, {"wolfssl", "W"}, {"botan", "B"},
	{"pion4", "P4"}, {"pion4-13", "P13"}, {"wolfssl13", "W13"}, {"wolfssl-dual", "WD"},
	{"coap-openssl", "CO"}, {"coap-gnutls", "CG"}, {"radsecproxy", "R"},
	{"erlang", "E"}, {"jsse", "J"}, {"bouncycastle", "BC"}, {"godot", "GD"}, {"werift", "WR"}, {"node", "N"}, {"nodertc", "NR"},
}

// table returns the matrix as Markdown, with versions or without: a short row per server, with notes below.
func table(version func(library string) string) string {
	var b, notes strings.Builder
	var legend []string
	for _, l := range letters {
		legend = append(legend, l.letter+" "+matrixClients[l.client].title)
	}
	fmt.Fprintf(&b, "Clients: %s.\n\n", strings.Join(legend, "; "))
	b.WriteString("| | server | version | mode | clients |\n|---:|---|---|---|---|\n")
	for i := range rows {
		r := &rows[i]
		mode := "`" + r.handoff() + "`"
		if len(r.clients)+len(r.fails) == 0 {
			mode = "none"
		}
		var served []string
		for _, l := range letters {
			if slices.Contains(r.clients, l.client) {
				served = append(served, l.letter)
			}
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", i+1, r.server, version(r.library), mode, strings.Join(served, " "))
		fmt.Fprintf(&notes, "%d. **%s**: %s", i+1, r.server, r.configuration())
		if r.limits != "" {
			fmt.Fprintf(&notes, ". Limits: %s", r.limits)
		}
		notes.WriteString(".\n")
	}
	return b.String() + "\nThe exact configuration of each, and its limits:\n\n" + notes.String()
}

// checkPage compares the page's matrix with the table, all but the versions, or writes it.
func checkPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(markBegin))
	old, after, ok2 := bytes.Cut(rest, []byte(markEnd))
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks of the matrix: %s%s", page, markBegin, markEnd)
	}
	if *update {
		now := string(before) + markBegin + table(version) + markEnd + string(after)
		if err := os.WriteFile(page, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := table(func(string) string { return "" }); withoutVersions(string(old)) != withoutVersions(want) {
		t.Errorf("the matrix in %s differs from this test's: make test-matrix UPDATE=-update", page)
	}
}

// withoutVersions blanks the column of versions.
func withoutVersions(table string) string {
	lines := strings.Split(table, "\n")
	for i, l := range lines {
		if cells := strings.Split(l, "|"); len(cells) > 3 {
			cells[3] = ""
			lines[i] = strings.Join(cells, "|")
		}
	}
	return strings.Join(lines, "\n")
}
