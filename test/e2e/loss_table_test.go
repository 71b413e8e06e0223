package e2e

import (
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/netpath"
)

var (
	loss     = flag.Bool("loss", false, "measure handshakes over paths that lose datagrams: make test-loss")
	lossRows = flag.String("rows", "", "with -loss: measure only rows of the table that match this regular expression, such as 'reset.*20 ms'")
)

// The table of handshake times in docs/field.md is between two marks.
const (
	lossPage  = "../../docs/field.md"
	lossBegin = "<!-- loss: written by make test-loss -->\n"
	lossEnd   = "<!-- loss ends -->\n"
)

const (
	// lossRuns is the number of handshakes per cell, with the guard and without it; their seeds count from 1.
	lossRuns = 15
	// lossPool has far more cookies than clients, so that two of them rarely share one.
	lossPool = 4096
	// givesUp is how long a handshake may take. Clients and servers themselves give up after 30 to 60 s.
	givesUp = time.Minute
)

// lossPaths are round trips and the number of handshakes that run at once over each: a handshake takes some 20 ms of CPU, which must not
// become the thing measured.
var lossPaths = []struct {
	roundTrip time.Duration
	atOnce    int
}{{20 * time.Millisecond, 3}, {200 * time.Millisecond, 12}, {2000 * time.Millisecond, 48}}

var losses = []float64{0, 0.01, 0.05, 0.2}

// cell is a cell of the table: how handshakes went without the guard and with it.
type cell struct{ direct, guarded run }

func (c cell) String() string {
	if c.direct.took == never && c.guarded.took == never {
		return "fails"
	}
	seconds := func(d time.Duration) string {
		if d == never {
			return "fails"
		}
		return fmt.Sprintf("%.2f", d.Seconds())
	}
	return seconds(c.direct.took) + " / " + seconds(c.guarded.took)
}

// TestLossTable measures handshakes through the guard against those without it. In the median the guard must cost no
// retransmissions, and no more round trips than allowed.
func TestLossTable(t *testing.T) {
	if !*loss {
		t.Skip("run by make test-loss: it takes 25 minutes")
	}
	wanted, err := regexp.Compile(*lossRows)
	if err != nil {
		t.Fatal(err)
	}
	cells := make([][]cell, len(stacks)*len(lossPaths))
	type ends struct{ direct, guarded netip.AddrPort }
	places := make([]ends, len(stacks))
	for i := range stacks {
		if slices.ContainsFunc(rowNames(i), wanted.MatchString) {
			places[i].direct, places[i].guarded = stacks[i].both(t, lossPool)
		}
	}
	for j, path := range lossPaths {
		slots := make(chan struct{}, path.atOnce)
		t.Run(path.roundTrip.String(), func(t *testing.T) {
			for i := range stacks {
				if !wanted.MatchString(rowNames(i)[j]) {
					continue
				}
				row := make([]cell, len(losses))
				cells[i*len(lossPaths)+j] = row
				for k, share := range losses {
					t.Run(fmt.Sprintf("%s %v", stacks[i].server, share), func(t *testing.T) {
						t.Parallel()
						row[k] = stacks[i].cell(t, places[i].direct, places[i].guarded, path.roundTrip, share, slots)
					})
				}
			}
		})
	}
	if !slices.ContainsFunc(cells, func(row []cell) bool { return row != nil }) {
		t.Fatalf("no row matches %q: a row is named as in %q", *lossRows, rowNames(0)[0])
	}
	before, old, after := lossParts(t)
	table := lossTable(cells, old)
	t.Log("\n" + table)
	if *update {
		if err := os.WriteFile(lossPage, []byte(before+table+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// cell measures a cell and checks it against the rule. A cell that fails is measured again: a busy machine may have spoilt it.
func (s *stack) cell(t *testing.T, direct, guarded netip.AddrPort, roundTrip time.Duration, share float64, slots chan struct{}) (c cell) {
	const tries = 3
	for range tries {
		var without, with [lossRuns]run
		var running sync.WaitGroup
		for n := range lossRuns {
			for to, put := range map[netip.AddrPort]*run{direct: &without[n], guarded: &with[n]} {
				running.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					path := netpath.Conditions{Seed: uint64(n + 1), Loss: share, Delay: roundTrip / 2}
					*put = s.measure(t, to, path.Decide, givesUp)
				})
			}
		}
		running.Wait()
		c = cell{median(without[:]), median(with[:])}
		t.Logf("%v: %d datagrams of the client, %d with the guard", c, c.direct.sent, c.guarded.sent)
		if c.keeps(s.allowed(roundTrip, share)) {
			return c
		}
	}
	t.Errorf("%s through the guard: %v", s.client, c)
	return c
}

// retransmission is how long a client waits for an answer before it sends again (RFC 6347 section 4.2.4.1).
const retransmission = time.Second

// allowed is the time that the guard may cost in the median: the additional round trips, and a retransmission if more than half of the
// clients lose one of those datagrams.
func (s *stack) allowed(roundTrip time.Duration, share float64) time.Duration {
	more := time.Duration(s.extra) * roundTrip
	if math.Pow(1-share, float64(2*s.extra)) < 0.5 {
		more += retransmission
	}
	return more
}

// keeps reports whether the guard costs no more than allowed, within half a retransmission.
func (c cell) keeps(allowed time.Duration) bool {
	return c.direct.took == never || c.guarded.took < never && c.guarded.took-c.direct.took < allowed+retransmission/2
}

// median returns the median of runs, by time and by datagrams.
func median(runs []run) run {
	took, sent := make([]time.Duration, 0, len(runs)), make([]int, 0, len(runs))
	for _, r := range runs {
		took, sent = append(took, r.took), append(sent, r.sent)
	}
	slices.Sort(took)
	slices.Sort(sent)
	return run{took[len(took)/2], sent[len(sent)/2]}
}

// rowNames returns the first columns of a stack's rows, one per path.
func rowNames(i int) (names []string) {
	s := &stacks[i]
	for _, path := range lossPaths {
		names = append(names, fmt.Sprintf("| %s | %s | `%s` | %d ms |", matrixClients[s.client].library, s.server, s.mode, path.roundTrip.Milliseconds()))
	}
	return names
}

// lossTable returns the table as Markdown. Rows that were not measured are those of the table before, old.
func lossTable(cells [][]cell, old string) string {
	var b strings.Builder
	b.WriteString("| client | server | mode | round trip |")
	for _, l := range losses {
		fmt.Fprintf(&b, " %.0f %% |", 100*l)
	}
	b.WriteString("\n|---|---|---|---:|" + strings.Repeat("---:|", len(losses)) + "\n")
	for i, row := range cells {
		name := rowNames(i / len(lossPaths))[i%len(lossPaths)]
		if row == nil {
			if _, after, ok := strings.Cut(old, name); ok {
				line, _, _ := strings.Cut(after, "\n")
				b.WriteString(name + line + "\n")
			}
			continue
		}
		b.WriteString(name)
		for _, c := range row {
			fmt.Fprintf(&b, " %v |", c)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// lossParts returns the page before the table, the table, and the page after it.
func lossParts(t *testing.T) (before, table, after string) {
	t.Helper()
	text, err := os.ReadFile(lossPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), lossBegin)
	table, after, ok2 := strings.Cut(rest, lossEnd)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks of the table: %s%s", lossPage, lossBegin, lossEnd)
	}
	return before + lossBegin, table, lossEnd + after
}

// TestLossPage: the table of docs/field.md has a row for each stack and path, and no other. One whose rows are not measured stays as it is.
func TestLossPage(t *testing.T) {
	_, table, _ := lossParts(t)
	if again := lossTable(make([][]cell, len(stacks)*len(lossPaths)), table); again != table {
		t.Errorf("rows of %s are not those of the stacks; make test-loss UPDATE=-update\n%s", lossPage, again)
	}
	if n := strings.Count(table, "\n") - 2; n != len(stacks)*len(lossPaths) {
		t.Errorf("%d rows, want %d for %d stacks: make test-loss UPDATE=-update", n, len(stacks)*len(lossPaths), len(stacks))
	}
}
