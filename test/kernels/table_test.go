package kernels

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/xdp.md")

// page has the tables.
const page = root + "/docs/xdp.md"

// table is one of the page's tables. When it is first written, it goes before the line next, with an introduction.
type table struct{ intro, head, next string }

var driverTable = table{
	intro: "## Drivers, VLANs and bonds\n\nTried in the emulator with Debian's newest kernel, two cards of a driver connected to each other, a client at the one and\n" +
		"the guard with `--answer auto` at the other, on one CPU and queue and on two; e1000e has one queue always (`make test-drivers`\n" +
		"checks the table):\n\n",
	head: "| driver | guard on | queues | attached | client served | `check` warns of |\n|---|---|---|---|---|---|\n",
	next: "## Under a full ring\n",
}

var costTable = table{
	intro: "Instructions that each kernel's verifier processes, of at most 1 000 000, and the stack of the largest function, of 512 bytes\n" +
		"for a chain of calls (`make info UPDATE=-update` writes the table):\n\n",
	head: "| Linux | `dtlsguard` | `egress` | `ingress` | `select_worker` | `trust_tcp` |\n|---|---|---|---|---|---|\n",
	next: "## Beside another XDP program\n",
}

// rowMark begins a line of the table that the guest prints.
const rowMark = "TABLE "

// row is one line of the table: driver, placement, receive queues, attach mode, whether the client was served, warnings.
type row [6]string

// queueColumn is that of the receive queues.
const queueColumn = 2

func (r row) print() { fmt.Println(rowMark + strings.Join(r[:], "|")) }

// rows parses what the guest printed.
func rows(output string) (found []row) {
	for line := range strings.Lines(output) {
		if _, text, ok := strings.Cut(line, rowMark); ok {
			found = append(found, row(strings.SplitN(strings.TrimSpace(text), "|", len(row{}))))
		}
	}
	return found
}

// merge makes the table's lines from the rows of two machines: rows that differ only in the queues become one line.
func merge(a, b []row) (lines []string) {
	line := func(r row) { lines = append(lines, "| "+strings.Join(r[:], " | ")+" |") }
	for i := range min(len(a), len(b)) {
		same := b[i]
		same[queueColumn] = a[i][queueColumn]
		if same != a[i] {
			line(a[i])
			line(b[i])
			continue
		}
		if a[i] != b[i] {
			same[queueColumn] += ", " + b[i][queueColumn]
		}
		line(same)
	}
	return lines
}

// write replaces the page's lines if -update is given, and reports whether they were the
// same.
func (b *table) write(t *testing.T, lines []string) (same bool) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, old, ok := strings.Cut(string(text), b.head)
	if !ok && *update {
		before, old, ok = strings.Cut(string(text), b.next)
		before, old = before+b.intro, "\n"+b.next+old
	}
	if !ok || len(lines) == 0 {
		t.Fatalf("%d lines; %s has a table: %v (write it with -update)", len(lines), page, ok)
	}
	now, after := strings.Join(lines, "\n")+"\n", old
	for strings.HasPrefix(after, "|") {
		_, after, _ = strings.Cut(after, "\n")
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+b.head+now+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return old == now+after
}
