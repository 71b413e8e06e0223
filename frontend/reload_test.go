package frontend

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
)

// TestAlive: a worker that does not go round any more is told of.
func TestAlive(t *testing.T) {
	s := &Server{started: time.Now(), zero: int64(time.Hour)}
	w := new(worker)
	s.services = []*service{{name: "turn", workers: []*worker{new(worker), w}}}
	if err := s.Alive(); err != nil {
		t.Errorf("before any worker runs: %v", err)
	}
	w.alive.Store(s.clock())
	if err := s.Alive(); err != nil {
		t.Errorf("a worker that moves: %v", err)
	}
	w.alive.Store(s.clock() - int64(time.Minute))
	if err := s.Alive(); err == nil || !strings.Contains(err.Error(), "worker 1 of turn") {
		t.Errorf("a worker that stalls: %v", err)
	}
}

// TestPolicyWhileDraining: flows of a service that drains keep their idle time in the programs' table, which removes those that
// are silent for longer than that of any service.
func TestPolicyWhileDraining(t *testing.T) {
	s := &Server{}
	v := &service{configured: Service{Settings: &Settings{IdleTimeout: time.Hour}}}
	c := Config{Settings: Settings{IdleTimeout: time.Minute}, Services: []Service{{Settings: &Settings{IdleTimeout: 2 * time.Minute}}}}
	if d := s.policy(&c, nil).longestIdle(); d != 2*time.Minute {
		t.Errorf("%v without the service that drains", d)
	}
	if d := s.policy(&c, map[serviceKey]*service{{}: v}).longestIdle(); d != time.Hour {
		t.Errorf("%v with the service that drains, want its hour", d)
	}
	if len(c.Services) != 1 {
		t.Error("the configuration has changed")
	}
}

// TestOverlap: which addresses of services compete for datagrams.
func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"[::]:1", "192.0.2.1:1", true}, {"[::]:1", "0.0.0.0:1", true}, {"0.0.0.0:1", "192.0.2.1:1", true}, {"[::]:1", "[2001:db8::1]:1", true},
		{"192.0.2.1:1", "192.0.2.1:1", true}, {"192.0.2.1:1", "192.0.2.2:1", false}, {"0.0.0.0:1", "[2001:db8::1]:1", false}, {"[::]:1", "[::]:2", false},
	} {
		a, b := netip.MustParseAddrPort(c.a), netip.MustParseAddrPort(c.b)
		if overlap(a, b) != c.want || overlap(b, a) != c.want {
			t.Errorf("%v and %v: want %v", a, b, c.want)
		}
	}
}

// TestServiceSettingsAreReloadable: what a service may have of its own, a reload puts in force, and names no restart for it.
func TestServiceSettingsAreReloadable(t *testing.T) {
	fields := reflect.TypeFor[Settings]()
	for i := range fields.NumField() {
		c := Config{Cookies: cookie.Measured()}
		s := &Server{flags: c.flags()}
		change(t, reflect.ValueOf(&c.Settings).Elem().Field(i))
		if names := s.restarts(c.flags()); len(names) != 0 {
			t.Errorf("another %s: a restart for %v", fields.Field(i).Name, names)
		}
	}
}

// change gives a setting another value.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch {
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	case v.CanUint():
		v.SetUint(v.Uint() + 1)
	case v.CanFloat():
		v.SetFloat(v.Float() + 1)
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.Kind() == reflect.String:
		v.SetString("another")
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			change(t, v.Field(i))
		}
	default:
		t.Fatalf("%v cannot be changed", v.Type())
	}
}
