package addresses

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// MaxRules is how many prefixes all lists may have together; the programs' table has room for them and one more.
const MaxRules = 1<<16 - 1

// ErrTooMany says that the lists are full.
var ErrTooMany = fmt.Errorf("more than %d prefixes", MaxRules)

// Rule is one prefix of a list.
type Rule struct {
	Prefix  netip.Prefix `json:"prefix"`
	Verdict Verdict      `json:"list"`
	Source  string       `json:"source"`                       // a file, or Control
	Seconds float64      `json:"expires_in_seconds,omitempty"` // 0: it does not expire
}

// Control is the Source of rules that were given at run time.
const Control = "control"

// onList is a prefix on one of the lists. It may be on both.
type onList struct {
	prefix  netip.Prefix
	verdict Verdict
}

// Lists are the prefixes that are allowed or denied: from two files, which are read again when they change, and given
// at run time. The longest prefix that an address is in decides; of two that are equal, deny.
type Lists struct {
	table  atomic.Pointer[Table]
	log    *slog.Logger
	tell   func(map[netip.Prefix]Verdict) error // of the kernel; may be nil
	files  []*file
	mu     sync.Mutex
	given  map[onList]time.Time // at run time, and until when; zero: no end
	behind bool                 // what is in force is not what the lists say
	failed atomic.Uint64
}

// OpenLists reads the files, of which either may be "". tell is called with all rules whenever they change.
func OpenLists(allow, deny string, log *slog.Logger, tell func(map[netip.Prefix]Verdict) error) (*Lists, error) {
	l := &Lists{log: log, tell: tell, given: make(map[onList]time.Time)}
	for _, f := range []*file{{path: allow, verdict: Allow}, {path: deny, verdict: Deny}} {
		if f.path == "" {
			continue
		}
		if err := f.read(); err != nil {
			return nil, err
		}
		l.files = append(l.files, f)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l, l.publish()
}

// Table is where workers find the rules in force.
func (l *Lists) Table() *atomic.Pointer[Table] { return &l.table }

// Failures counts changes that could not be put in force.
func (l *Lists) Failures() uint64 { return l.failed.Load() }

// Give adds a prefix to the list of a verdict, for a time; 0: without an end.
func (l *Lists) Give(p netip.Prefix, v Verdict, long time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var until time.Time
	if long > 0 {
		until = time.Now().Add(long)
	}
	return l.change(onList{p, v}, func(k onList) { l.given[k] = until })
}

// Restore adds the rules that another process was given at run time, with the rest of their time.
func (l *Lists) Restore(rules []Rule) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range rules {
		if r.Source != Control {
			continue
		}
		var until time.Time
		if r.Seconds > 0 {
			until = time.Now().Add(time.Duration(r.Seconds * float64(time.Second)))
		}
		l.given[onList{r.Prefix, r.Verdict}] = until
	}
	return l.publish()
}

// Take removes a prefix that Give has added to the list of a verdict. It fails if there is none.
func (l *Lists) Take(p netip.Prefix, v Verdict) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := onList{p, v}
	if _, there := l.given[k]; there {
		return l.change(k, func(k onList) { delete(l.given, k) })
	}
	fix := ""
	for _, f := range l.files {
		if f.verdict == v && slices.Contains(f.rules, p) {
			fix = "it is of a file: remove it from " + f.path
		}
	}
	for _, other := range []Verdict{Allow, Deny} {
		if _, there := l.given[onList{p, other}]; there {
			fix = fmt.Sprintf("it is on the %v list: command %[1]v with setting remove takes it off", other)
		}
	}
	return hint.Errorf(fix, "the %v list has no %v", v, p)
}

// change changes one rule, and undoes that on failure. The caller holds mu.
func (l *Lists) change(k onList, how func(onList)) error {
	old, had := l.given[k]
	how(k)
	err := l.publish()
	if err != nil {
		delete(l.given, k)
		if had {
			l.given[k] = old
		}
	}
	return err
}

// publish puts the rules in force, the kernel's first. The caller holds mu.
func (l *Lists) publish() error {
	rules := make(map[netip.Prefix]Verdict)
	add := func(p netip.Prefix, v Verdict) { rules[p] = max(rules[p], v) }
	for k := range l.given {
		add(k.prefix, k.verdict)
	}
	for _, f := range l.files {
		for _, p := range f.rules {
			add(p, f.verdict)
		}
	}
	if len(rules) > MaxRules {
		return ErrTooMany
	}
	if l.tell != nil {
		if err := l.tell(rules); err != nil {
			return err
		}
	}
	l.table.Store(NewTable(rules))
	l.behind = false
	return nil
}

// Run removes expired rules and reads files that have changed, until ctx ends.
func (l *Lists) Run(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			l.Look(now)
		}
	}
}

// Look does what Run does, once.
func (l *Lists) Look(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := false
	for k, until := range l.given {
		if !until.IsZero() && !now.Before(until) {
			delete(l.given, k)
			changed = true
		}
	}
	for _, f := range l.files {
		l.missed(f)
		if !f.touched() {
			continue // a failure to read it is logged once
		}
		if err := f.read(); err != nil {
			l.failed.Add(1)
			l.log.Error("list refused; keeping its previous version", "error", err)
			continue
		}
		l.log.Info("list read again", "list", f.verdict, "file", f.path, "prefixes", len(f.rules))
		changed = true
	}
	if !changed && !l.behind {
		return
	}
	if err := l.publish(); err != nil {
		if !l.behind { // it is tried again, and said once
			l.failed.Add(1)
			l.log.Error("lists could not be put in force; keeping the previous ones", "error", err)
		}
		l.behind = true
	}
}

// missed says once that f has been gone for two looks in a row: one may come between a removal and a renaming.
func (l *Lists) missed(f *file) {
	if _, err := os.Stat(f.path); err == nil {
		f.gone = 0
		return
	} else if f.gone++; f.gone == 2 {
		l.failed.Add(1)
		l.log.Error("list cannot be read any more; keeping what it said", "list", f.verdict, "error", err,
			"hint", "to take its prefixes back, empty the file")
	}
}

// Rules returns the rules in force, with their sources.
func (l *Lists) Rules() []Rule {
	l.mu.Lock()
	defer l.mu.Unlock()
	rules := []Rule{}
	for _, k := range slices.SortedFunc(maps.Keys(l.given), func(a, b onList) int { return a.prefix.Compare(b.prefix) }) {
		r := Rule{Prefix: k.prefix, Verdict: k.verdict, Source: Control}
		if until := l.given[k]; !until.IsZero() {
			if r.Seconds = time.Until(until).Seconds(); r.Seconds <= 0 {
				continue // it ends with the next Look
			}
		}
		rules = append(rules, r)
	}
	for _, f := range l.files {
		for _, p := range f.rules {
			rules = append(rules, Rule{Prefix: p, Verdict: f.verdict, Source: f.path})
		}
	}
	slices.SortStableFunc(rules, func(a, b Rule) int { return cmp.Or(int(a.Verdict)-int(b.Verdict), a.Prefix.Compare(b.Prefix)) })
	return rules
}
