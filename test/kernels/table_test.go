package kernels

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of drivers into docs/xdp.md")

// The table stands between these lines of the page.
const (
	page       = root + "/docs/xdp.md"
	tableNext  = "## Under a full ring\n"
	tableIntro = "Tried in the emulator, with Debian's newest kernel, two cards of each driver and a cable between them (`make test-drivers`\n" +
		"holds this table to what works):\n\n"
	tableHead = "| driver | placement | attached | client served | `check` warns of |\n|---|---|---|---|---|\n"
)

// writeTable puts the rows in the place of those that the page has, or sees that they are those.
func writeTable(t *testing.T, rows []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableHead)
	if !ok && *update { // the first time
		before, rest, ok = strings.Cut(string(text), tableNext)
		before, rest = before+tableIntro, "\n"+tableNext+rest
	}
	if !ok || len(rows) == 0 {
		t.Fatalf("%d rows, and %s has a table: %v (it is written with -update)", len(rows), page, ok)
	}
	old, after, _ := strings.Cut(rest+"\n", "\n\n")
	if strings.HasPrefix(rest, "\n") {
		old, after = "", rest[1:]
	}
	now := strings.Join(rows, "\n")
	if *update {
		if err := os.WriteFile(page, []byte(before+tableHead+now+"\n\n"+strings.TrimSuffix(after, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if strings.TrimSpace(old) != now {
		t.Errorf("%s says\n%s\nand it is\n%s\nwrite it with -update", page, old, now)
	}
}
