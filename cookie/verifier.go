package cookie

// Verifier decides a batch of ClientHellos: which cookies are valid, and which fresh cookie the others get. All of
// it is computed in lanes, in one pass while all cookies have the current key ID: only those that claim the
// previous one are computed under the previous secret, too. Not for concurrent use.
type Verifier struct {
	ring              *Keyring
	current, previous *Batch
	hellos            []verdict
	late              []int // hellos with a cookie of the previous key ID
}

type verdict struct {
	cookie  []byte
	valid   bool
	lane    int     // in current, while not valid
	binding Binding // of a late one
}

// NewVerifier makes a Verifier of at most capacity ClientHellos, for the plan that [Measured] found; nothing is
// allocated after that.
func NewVerifier(capacity int) *Verifier { return Measured().NewVerifier(capacity) }

// NewVerifier makes a Verifier of at most capacity ClientHellos; nothing is allocated after that.
func (p *Plan) NewVerifier(capacity int) *Verifier {
	return &Verifier{
		current: p.NewBatch(capacity), previous: p.NewBatch(capacity),
		hellos: make([]verdict, 0, capacity), late: make([]int, 0, capacity),
	}
}

// Begin empties the Verifier and makes it ready for at most n ClientHellos, n as near as the caller knows it.
func (j *Verifier) Begin(k *Keyring, n int) {
	j.ring = k
	j.current.Reset(n)
	j.hellos, j.late = j.hellos[:0], j.late[:0]
}

// Add takes a ClientHello and the cookie in it, which is empty in a first one, and returns its number. What b
// and c point to must stay as it is up to the last call of Valid or Cookie; b itself need not. The caller keeps
// to what it told Begin.
func (j *Verifier) Add(b *Binding, c []byte) int {
	i := len(j.hellos)
	j.hellos = j.hellos[:i+1]
	h := &j.hellos[i]
	h.cookie, h.valid = c, false
	if p := j.ring.previous; p != nil && j.ring.ForCookie(c) == p {
		h.binding = *b
		j.late = append(j.late, i)
	} else {
		h.lane = j.current.Add(b)
	}
	return i
}

// Len is the number of ClientHellos added.
func (j *Verifier) Len() int { return len(j.hellos) }

// Finish computes all cookies.
func (j *Verifier) Finish() {
	j.finishLate()
	j.current.Sum(j.ring.current)
	for i := range j.hellos {
		if h := &j.hellos[i]; !h.valid && len(h.cookie) > 0 {
			h.valid = j.current.Equal(h.lane, h.cookie)
		}
	}
}

// finishLate verifies the cookies of the previous key ID; those that fail get a lane for a fresh one.
func (j *Verifier) finishLate() {
	j.previous.Reset(len(j.late))
	if len(j.late) == 0 {
		return
	}
	for _, i := range j.late {
		j.previous.Add(&j.hellos[i].binding)
	}
	j.previous.Sum(j.ring.previous)
	for lane, i := range j.late {
		h := &j.hellos[i]
		if h.valid = j.previous.Equal(lane, h.cookie); !h.valid {
			h.lane = j.current.Add(&h.binding)
		}
	}
}

// Valid reports whether ClientHello i came with the cookie that the current or the previous secret gives it.
func (j *Verifier) Valid(i int) bool { return j.hellos[i].valid }

// Cookie writes the cookie under the current secret for a ClientHello that is not valid; one that is keeps its
// own.
func (j *Verifier) Cookie(i int, dst *[Size]byte) {
	if h := &j.hellos[i]; h.valid {
		copy(dst[:], h.cookie)
	} else {
		j.current.Cookie(h.lane, dst)
	}
}
