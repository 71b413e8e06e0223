package lanes

import (
	"strings"
	"testing"
	"unsafe"
)

func TestChooseFindsTheBreakEven(t *testing.T) {
	one := &implementation{name: "one", width: 1, lanes: 1}
	two := &implementation{name: "two", width: 2, lanes: 1}
	wide := &implementation{name: "wide", width: 16, lanes: 16}
	for _, c := range []struct {
		costs []cost
		want  string
	}{
		{[]cost{{one, 80, 80, 0}, {two, 120, 120, 5}, {wide, 500, 500, 5}},
			"one for 1, two for 2, one for 3, two for 4..8, wide for 9..16 and each further 16"},
		{[]cost{{one, 80, 80, 0}, {two, 160, 160, 5}, {wide, 500, 500, 5}}, "one for 1..6, wide for 7..16 and each further 16"},
		{[]cost{{one, 80, 80, 0}, {two, 120, 120, 5}, {wide, 5000, 5000, 5}}, "one for 1, two for 2 and each further 2"},
		{[]cost{{one, 80, 80, 0}, {two, 240, 240, 5}, {wide, 5000, 5000, 5}}, "one"},
		{[]cost{{one, 80, 80, 0}, {two, 90, 90, 5}, {wide, 40, 40, 5}}, "wide"},
		// The wide one would be best for a single message, but its group would end after the batch.
		{[]cost{{two, 100, 100, 0}, {wide, 90, 5000, 5}}, "two"},
	} {
		if got := choose(c.costs).String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestSelect(t *testing.T) {
	for _, name := range Names() {
		p, err := Select(name)
		if err != nil {
			t.Fatal(err)
		}
		if p.String() != name {
			t.Errorf("the plan for %s is %q", name, p)
		}
	}
	if p, err := Select(Auto); err != nil || p != Measured() {
		t.Errorf("auto: %v, %v", p, err)
	}
	_, err := Select("abacus")
	if err == nil {
		t.Fatal("an unknown name is accepted")
	}
	for _, name := range append(Names(), Auto, "abacus") {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("error %q does not name %s", err, name)
		}
	}
	t.Logf("on this CPU: %v", Measured())
}

// Widths and lanes hold what the layout of a batch relies on.
func TestImplementationsFitTheLayout(t *testing.T) {
	for _, im := range implementations {
		if maxWidth%im.width != 0 || im.width%im.lanes != 0 || perCall%im.width != 0 {
			t.Errorf("%s: width %d, lanes %d", im.name, im.width, im.lanes)
		}
	}
}

// The kernels find the parts of a key at these offsets; _asm has the same numbers.
func TestKeyIsLaidOutAsTheKernelsThink(t *testing.T) {
	var p Key
	for name, x := range map[string][2]uintptr{
		"inner":      {unsafe.Offsetof(p.inner), 0},
		"outer":      {unsafe.Offsetof(p.outer), 32},
		"innerPairs": {unsafe.Offsetof(p.innerPairs), 64},
		"outerPairs": {unsafe.Offsetof(p.outerPairs), 96},
		"innerHead":  {unsafe.Offsetof(p.innerHead), 128},
		"outerHead":  {unsafe.Offsetof(p.outerHead), 160},
		"keyID":      {unsafe.Offsetof(p.keyID), 192},
		"size":       {unsafe.Sizeof(p), 208},
	} {
		if x[0] != x[1] {
			t.Errorf("%s is at %d, the kernels look at %d", name, x[0], x[1])
		}
	}
}
