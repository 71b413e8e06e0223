package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
)

// Holdings measures the memory of daemons, each in several states, one after another.
type Holdings struct {
	Name, Title string
	Template    xdp.Template
	Daemons     []holder
	Flows       []int // numbers of verified flows, ascending
}

// holder is a daemon with or without a socket per flow.
type holder struct {
	*Subject
	sockets bool
}

// heldFlows are a moderate number of flows, and nearly the most that a daemon allows.
var heldFlows = []int{10000, 60000}

func memory(e *Entry, w *Fixtures) (Scenario, error) {
	t, err := xdp.FirstHello(question())
	return &Holdings{e.Name, e.Title, t, []holder{{proxyPath("proxy behind XDP", w, true), true}, {inlineHolder(w), false}}, heldFlows}, err
}

// inlineHolder is the daemon in front of a server that accepts any cookie.
func inlineHolder(w *Fixtures) *Subject {
	server, err := newServer("openssl", w)
	d, err2 := newDaemon(w, "trust", "xdp", "--hello-rate", "0")
	return &Subject{Name: "inline", At: xdp.Driver, Skip: reason(err, err2), Start: func(b *Testbed) error {
		if err := server.start(b, "trust"); err != nil {
			return err
		}
		return d.inline(b)
	}}
}

// Estimate is the approximate duration.
func (h *Holdings) Estimate(s *Settings) (all time.Duration) {
	const flowsEach = 100 * time.Microsecond
	for _, d := range h.Daemons {
		if d.Skip == "" {
			all += setUp + settle + s.Window + time.Duration(slices.Max(h.Flows))*flowsEach
		}
	}
	return all
}

// Run measures once in each state: there is little variation.
func (h *Holdings) Run(ctx context.Context, s *Settings) (*result.Outcome, error) {
	o := &result.Outcome{Name: h.Name, Title: h.Title}
	for _, d := range h.Daemons {
		if d.Skip != "" {
			o.Memory = append(o.Memory, result.Memory{Subject: d.Name, Skipped: d.Skip})
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := h.look(o, d, s); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", h.Name, d.Name, err)
		}
	}
	return o, nil
}

// look measures one daemon.
func (h *Holdings) look(o *result.Outcome, d holder, s *Settings) (err error) {
	flows, tooMany := h.Flows, error(nil)
	if d.sockets {
		flows, tooMany = affordable(h.Flows)
	}
	b, err := newTestbed(d.Subject, &h.Template)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	look := func(state string) error {
		m, err := b.held(d.Name + ", " + state)
		if err == nil {
			o.Memory = append(o.Memory, m)
			fmt.Fprintf(s.Progress, "%s %s: %d KiB resident, %d KiB of maps\n", h.Name, m.Subject, m.Resident>>10, m.MapBytes()>>10)
		}
		return err
	}
	if err := look("idle"); err != nil {
		return err
	}
	if err := b.under(0, func() error {
		time.Sleep(settle + s.Window)
		return look("during a flood")
	}); err != nil {
		return err
	}
	if err := b.withFlows(flows, func(n int) error { return look(withFlows(n)) }); err != nil {
		return err
	}
	for _, n := range h.Flows[len(flows):] {
		o.Memory = append(o.Memory, result.Memory{Subject: d.Name + ", " + withFlows(n), Skipped: tooMany.Error()})
	}
	return nil
}

func withFlows(n int) string { return fmt.Sprintf("%d verified flows", n) }

// affordable returns those numbers of flows, ascending, for which a process here may open a socket each, and the reason against the
// rest. It raises the limit if possible.
func affordable(numbers []int) ([]int, error) {
	const others = 1000 // files of a daemon that are not flows
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("read limit of open files: %w", err)
	}
	for i, n := range numbers {
		want := unix.Rlimit{Cur: limit.Cur, Max: uint64(n + others)}
		if want.Max <= limit.Max {
			continue
		}
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &want, nil); err != nil {
			return numbers[:i], fmt.Errorf("a proxy has a socket for each flow, and needs a limit of %d open files, which is %d here and cannot be raised (ulimit -Hn %[1]d, or CAP_SYS_RESOURCE): %[3]w", want.Max, limit.Max, err)
		}
		limit = want
	}
	return numbers, nil
}

// held measures the daemon now.
func (b *Testbed) held(state string) (m result.Memory, err error) {
	m.Subject = state
	if m.Resident, err = resident(b.daemon); err != nil {
		return m, err
	}
	m.Maps, err = mapsOf(b.daemon)
	return m, err
}

// resident is the resident memory of a process in bytes.
func resident(pid int) (uint64, error) {
	value, err := field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(value, " kB"), 10, 64)
	return n << 10, err
}

// field is the value of a line of a /proc file, "" if there is no such line.
func field(path, key string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && name == key {
			return strings.TrimSpace(value), nil
		}
	}
	return "", s.Err()
}

// mapsOf returns the BPF maps that a process has open, largest first, each once.
func mapsOf(pid int) (all []result.MapSize, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, f := range files {
		id, err := field(f, "map_id")
		if errors.Is(err, fs.ErrNotExist) || (err == nil && (id == "" || seen[id])) {
			continue // closed since, not a map, or known
		}
		if err != nil {
			return nil, err
		}
		seen[id] = true
		m, err := mapSize(f, id)
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", id, err)
		}
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b result.MapSize) int { return int(b.Bytes>>4) - int(a.Bytes>>4) })
	return all, nil
}

// mapSize reads the size of a map from the fdinfo of a descriptor.
func mapSize(fdinfo, id string) (m result.MapSize, err error) {
	bytes, err := field(fdinfo, "memlock")
	if err != nil {
		return m, err
	}
	if m.Bytes, err = strconv.ParseUint(bytes, 10, 64); err != nil {
		return m, err
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return m, err
	}
	handle, err := ebpf.NewMapFromID(ebpf.MapID(n))
	if err != nil {
		return m, err
	}
	defer handle.Close()
	info, err := handle.Info()
	if err != nil {
		return m, err
	}
	m.Name = info.Name
	return m, nil
}
