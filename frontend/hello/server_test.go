package hello

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// retryOf is a HelloRetryRequest that answers a probe.
func retryOf(t testing.TB, session, cookie int) []byte {
	p := Probe13{Suites: []uint16{0x1301}, Groups: []uint16{29}, Session: make([]byte, session)}
	d := append(p.Append(nil), make([]byte, 200)...)
	n := PutRetry(d, &Retry{Suite: 0x1302, Group: 29, Cookie: make([]byte, cookie), Echo: session > 0})
	if n == 0 {
		t.Fatal("no answer")
	}
	return d[:n]
}

// cutRecord is d with the length of its record set to n.
func cutRecord(d []byte, n int) []byte {
	d = bytes.Clone(d)
	binary.BigEndian.PutUint16(d[11:], uint16(n))
	return d
}

// brokenFlights are answers that no server should give.
func brokenFlights(t testing.TB) map[string][]byte {
	retry := retryOf(t, 32, 67)
	old := bytes.Clone(retry[:bodyAt+2])
	binary.BigEndian.PutUint16(old[bodyAt:], DTLS13)
	late := bytes.Clone(retry)
	binary.BigEndian.PutUint16(late[bodyAt:], DTLS13)
	long := bytes.Clone(retry)
	long[sessionIDAt] = 255
	return map[string][]byte{
		"1.3 in front, nothing behind":     cutRecord(old, 14),
		"1.3 in front, an empty record":    cutRecord(late, 0),
		"1.3 in front, cut at the session": late[:sessionIDAt],
		"1.3 in front, no session":         late[:sessionIDAt+1],
		"an empty record":                  cutRecord(retry, 0),
		"a record without the random":      cutRecord(retry, 14),
		"a session beyond the end":         long,
	}
}

// No answer of a server may stop the guard, and nothing that is cut short is a HelloRetryRequest.
func TestBrokenServerFlights(t *testing.T) {
	for name, d := range brokenFlights(t) {
		if _, ok := ReadRetry(d); ok {
			t.Errorf("%s: taken for a HelloRetryRequest", name)
		}
		if v, _ := ServerVersion(d); v == DTLS13 {
			t.Errorf("%s: DTLS 1.3", name)
		}
	}
	whole := retryOf(t, 32, 67)
	if r, ok := ReadRetry(whole); !ok || r.Suite != 0x1302 || r.Group != 29 || !r.Echo || len(r.Cookie) != 67 {
		t.Errorf("%+v, %v", r, ok)
	}
	for n := range whole {
		_, _ = ReadRetry(whole[:n])
		_, _ = ReadRetry(cutRecord(whole, n))
	}
}

// FuzzServerFlight looks for what a server can send that stops the guard.
func FuzzServerFlight(f *testing.F) {
	f.Add(retryOf(f, 0, 67))
	f.Add(retryOf(f, 32, 20))
	for _, d := range brokenFlights(f) {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, d []byte) {
		if v, ok := ServerVersion(d); !ok && v != 0 {
			t.Errorf("version %#x of what is no ServerHello", v)
		}
		if r, ok := ReadRetry(d); ok && len(r.Cookie) > len(d) {
			t.Errorf("a cookie of %d bytes in %d", len(r.Cookie), len(d))
		}
		if c, ok := HelloVerifyCookie(d); ok {
			s := SequenceOf(d)
			s.Put(d)
			if len(c) > len(d) {
				t.Errorf("a cookie of %d bytes in %d", len(c), len(d))
			}
		}
		_, _, _, _, _, _ = IsAlert(d), IsPlain(d), IsProtected(d), Proves(d), IsEncryptedAlert(d), IsIllegalParameter(d)
		ShiftRecords(d, 5)
	})
}
