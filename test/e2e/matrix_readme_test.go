package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

// readme is the file that has the matrix, between two marks.
const (
	readme    = "../../README.md"
	markBegin = "<!-- matrix: written by make test-matrix -->\n"
	markEnd   = "<!-- matrix ends -->\n"
)

// packages have the libraries and programs whose versions the matrix shows.
var packages = map[string]string{
	"OpenSSL": "openssl", "GnuTLS": "gnutls-bin", "Mbed TLS": "libmbedtls-dev", "wolfSSL": "libwolfssl-dev",
	"Qt": "qt6-base-dev", "libcoap": "libcoap3-bin", "coturn": "coturn", "radsecproxy": "radsecproxy",
}

// version is what is installed of a library, without what a distribution adds.
func version(library string) string {
	if library == "wolfSSL 1.3" {
		tree, err := peers.Find("wolfssl13").Prefix()
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
	return v
}

// table is the matrix as Markdown, with versions or without.
func table(version func(library string) string) string {
	var b strings.Builder
	b.WriteString("| server | version | mode | configuration, to the letter | clients | what does not work, and why |\n|---|---|---|---|---|---|\n")
	for i := range rows {
		r := &rows[i]
		mode := "`" + r.handoff() + "`"
		if len(r.clients) == 0 {
			mode = "none"
		}
		var titles []string
		for _, c := range r.clients {
			titles = append(titles, matrixClients[c].title)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.server, version(r.library), mode, r.configuration(), strings.Join(titles, ", "), r.limits)
	}
	return b.String()
}

// checkReadme compares the README's matrix with the table, all but the versions, or writes it.
func checkReadme(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(markBegin))
	old, after, ok2 := bytes.Cut(rest, []byte(markEnd))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the matrix: %s%s", readme, markBegin, markEnd)
	}
	if *update {
		now := string(before) + markBegin + table(version) + markEnd + string(after)
		if err := os.WriteFile(readme, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := table(func(string) string { return "" }); withoutVersions(string(old)) != withoutVersions(want) {
		t.Errorf("the matrix in %s is not that of this test: make test-matrix UPDATE=-update", readme)
	}
}

// withoutVersions blanks the second column.
func withoutVersions(table string) string {
	lines := strings.Split(table, "\n")
	for i, l := range lines {
		if cells := strings.Split(l, "|"); len(cells) > 2 {
			cells[2] = ""
			lines[i] = strings.Join(cells, "|")
		}
	}
	return strings.Join(lines, "\n")
}
