package addresses

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	list, err := Parse(strings.NewReader("# a comment\n192.0.2.1\n\n 2001:db8::/32 # one more\n::ffff:192.0.2.2\n"))
	if err != nil || fmt.Sprint(list) != "[192.0.2.1/32 2001:db8::/32 192.0.2.2/32]" {
		t.Errorf("%v, %v", list, err)
	}
	for text, want := range map[string]string{
		"192.0.2.1\nhello": "line 2", "192.0.2.1/24": "192.0.2.0/24", "192.0.2.0/33": "not an address", "fe80::1%eth0": "zone",
		"::ffff:0:0/96": "IPv4", "192.0.2.1,192.0.2.2": "not an address",
	} {
		if _, err := Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestLists(t *testing.T) {
	dir := t.TempDir()
	allow, deny := filepath.Join(dir, "allow"), filepath.Join(dir, "deny")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(allow, "192.0.2.0/24\n198.51.100.7\n")
	write(deny, "198.51.100.7\n")
	var told map[netip.Prefix]Verdict
	l, err := OpenLists(allow, deny, slog.New(slog.DiscardHandler), func(r map[netip.Prefix]Verdict) error { told = r; return nil })
	if err != nil {
		t.Fatal(err)
	}
	of := func(text string) Verdict { return l.Table().Load().Of(ip(text)) }
	if of("192.0.2.9") != Allow || of("198.51.100.7") != Deny || of("203.0.113.1") != None || len(told) != 2 {
		t.Errorf("the files are not in force: %v", told)
	}
	write(deny, "192.0.2.9\n")
	l.Look(time.Now())
	if of("192.0.2.9") != Deny || of("198.51.100.7") != Allow {
		t.Error("a changed file is not in force")
	}
	write(deny, "nonsense\n")
	l.Look(time.Now())
	if of("192.0.2.9") != Deny || l.Failures() != 1 {
		t.Errorf("a broken file is in force; %d failures", l.Failures())
	}
	if l.Look(time.Now()); l.Failures() != 1 {
		t.Error("a broken file is refused again without a change")
	}
	if err := l.Give(netip.MustParsePrefix("203.0.113.0/24"), Deny, time.Minute); err != nil || of("203.0.113.1") != Deny {
		t.Error("a given prefix is not in force", err)
	}
	if r := l.Rules(); len(r) != 4 || r[0].Verdict != Allow || r[3].Source != "control" || r[3].Seconds <= 0 {
		t.Errorf("rules: %+v", r)
	}
	if l.Look(time.Now().Add(2 * time.Minute)); of("203.0.113.1") != None {
		t.Error("a given prefix does not end")
	}
}

// A rule whose time is over is gone, though Look has not come by: what is handed to a successor then must not be for ever.
func TestRulesEnd(t *testing.T) {
	open := func() *Lists {
		l, err := OpenLists("", "", slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	if err := l.Give(netip.MustParsePrefix("203.0.113.0/24"), Allow, time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	rules := l.Rules()
	next := open()
	if err := next.Restore(rules); err != nil {
		t.Fatal(err)
	}
	next.Look(time.Now().Add(time.Hour))
	if v := next.Table().Load().Of(ip("203.0.113.1")); len(rules) > 0 || v != None {
		t.Errorf("rules %v after their time, and %v after an hour more", rules, v)
	}
}

// What could not be put in force is tried again.
func TestListsTryAgain(t *testing.T) {
	var refuse error
	l, err := OpenLists("", "", slog.New(slog.DiscardHandler), func(map[netip.Prefix]Verdict) error { return refuse })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Give(netip.MustParsePrefix("203.0.113.0/24"), Allow, time.Minute); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	refuse = errors.New("no memory")
	l.Look(later)
	l.Look(later)
	if l.Failures() != 1 {
		t.Errorf("%d failures, want one", l.Failures())
	}
	refuse = nil
	if l.Look(later); l.Table().Load().Of(ip("203.0.113.1")) != None {
		t.Error("an allowed prefix is in force after its time")
	}
}

// A file that is gone for good is not a rename: what it said stays in force, and that is said.
func TestListIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "allow")
	if err := os.WriteFile(path, []byte("192.0.2.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLists(path, "", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for want := range []uint64{0, 1, 2} {
		l.Look(time.Now())
		if n := l.Failures(); n != uint64(min(want, 1)) {
			t.Errorf("look %d without the file: %d failures", want, n)
		}
	}
	if l.Table().Load().Of(ip("192.0.2.1")) != Allow {
		t.Error("its prefixes are gone, too")
	}
}

// TestTwoLists: a prefix may be on both lists, deny counts, and what is removed from one stays on the other.
func TestTwoLists(t *testing.T) {
	l, err := OpenLists("", "", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := netip.MustParsePrefix("203.0.113.0/24")
	of := func() Verdict { return l.Table().Load().Of(ip("203.0.113.1")) }
	for _, v := range []Verdict{Deny, Allow} {
		if err := l.Give(p, v, 0); err != nil || of() != Deny {
			t.Errorf("%v given: %v, %v", v, of(), err)
		}
	}
	if err := l.Take(p, Deny); err != nil || of() != Allow {
		t.Errorf("deny taken: %v, %v", of(), err)
	}
	if err := l.Take(p, Deny); err == nil || of() != Allow {
		t.Errorf("deny taken twice: %v, %v", of(), err)
	}
	if err := l.Take(p, Allow); err != nil || of() != None {
		t.Errorf("allow taken: %v, %v", of(), err)
	}
}

func TestListsRefuse(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, filepath.Join(dir, "none")} {
		if _, err := OpenLists("", path, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "deny file") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
