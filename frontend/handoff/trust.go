package handoff

import "github.com/dtlsguard/dtlsguard/cookie"

// trust issues and verifies the guard's own cookies.
type trust struct {
	current, previous *cookie.Batch
	lanes             []int
	second            []int
}

// NewTrust makes the mode that issues and verifies cookies of the guard itself, for batches of at most size hellos.
func NewTrust(size int) Mode {
	return &trust{
		current: cookie.NewBatch(size), previous: cookie.NewBatch(size),
		lanes: make([]int, size), second: make([]int, 0, size),
	}
}

// Judge implements Mode. A cookie names the secret that made it, so there is a second pass only over those
// made before the last rotation.
func (t *trust) Judge(k *cookie.Keyring, hellos []Hello) {
	t.current.Reset(len(hellos))
	t.previous.Reset(len(hellos))
	t.second = t.second[:0]
	for i := range hellos {
		h := &hellos[i]
		if len(h.Cookie) > 0 && k.Previous() != nil && k.ForCookie(h.Cookie) == k.Previous() {
			t.previous.Add(&h.Binding)
			t.second = append(t.second, i)
		}
	}
	if len(t.second) > 0 {
		t.previous.Sum(k.Previous())
		for lane, i := range t.second {
			hellos[i].Verified = t.previous.Equal(lane, hellos[i].Cookie)
		}
	}
	for i := range hellos {
		if !hellos[i].Verified {
			t.lanes[i] = t.current.Add(&hellos[i].Binding)
		}
	}
	t.current.Sum(k.Current())
	for i := range hellos {
		h := &hellos[i]
		if h.Verified {
			continue
		}
		t.current.Cookie(t.lanes[i], &h.Answer)
		h.Length = cookie.Size
		h.Verified = t.current.Equal(t.lanes[i], h.Cookie)
	}
}
