package answer

import (
	_ "embed"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
)

//go:embed testdata/servers.txt
var servers string

// real calls f with each captured answer of a real server.
func real(t *testing.T, f func(name string, q Question, d []byte, want string)) {
	t.Helper()
	n := 0
	for line := range strings.Lines(servers) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		c := strings.Fields(line)
		seq, err := strconv.ParseUint(c[1], 10, 48)
		if err != nil {
			t.Fatal(err)
		}
		d, err := hex.DecodeString(c[3])
		if err != nil {
			t.Fatal(err)
		}
		const question = 205
		f(c[0], Question{question, seq, 0}, d, c[2])
		n++
	}
	if n < 14 {
		t.Fatalf("only %d answers in testdata", n)
	}
}

// Answers of real servers have no fault, whatever version they put into them.
func TestServers(t *testing.T) {
	real(t, func(name string, q Question, d []byte, want string) {
		if cookie, f := Check(d, q); f.String() != want || len(cookie) != len(d)-28 {
			t.Errorf("%s with %d: %v and a cookie of %d bytes, want %s", name, q.RecordSeq, f, len(cookie), want)
		}
	})
}

// A change of any byte before the cookie is noticed.
func TestAnyByte(t *testing.T) {
	real(t, func(name string, q Question, d []byte, want string) {
		if want != "none" {
			return
		}
		for i := range d[:28] {
			d[i] ^= 1
			if _, f := Check(d, q); f == None {
				t.Errorf("%s: byte %d changed, but the answer counts as right", name, i)
			}
			d[i] ^= 1
		}
		for n := range d {
			if _, f := Check(d[:n], q); f == None {
				t.Errorf("%s: cut to %d bytes, but right", name, n)
			}
		}
	})
}

func TestFaults(t *testing.T) {
	real(t, func(name string, q Question, d []byte, _ string) {
		if name != "openssl" || q.RecordSeq != 7 {
			return
		}
		short, later, second := q, q, q
		short.Length, later.RecordSeq, second.MessageSeq = len(d)-1, 8, 1
		with := func(n int) []byte { // a cookie of n bytes
			a := append(append([]byte(nil), d[:28]...), make([]byte, n)...)
			a[12], a[16], a[24], a[27] = byte(len(a)-13), byte(len(a)-25), byte(len(a)-25), byte(n)
			return a
		}
		for _, c := range []struct {
			d    []byte
			q    Question
			want Fault
		}{
			{d, q, None}, {d, short, Length}, {d, later, RecordSeq}, {d, second, MessageSeq},
			{with(1), q, None}, {with(32), q, None}, {with(40), Question{68, q.RecordSeq, q.MessageSeq}, None}, {with(40), Question{67, q.RecordSeq, q.MessageSeq}, Length}, {with(0), q, Cookie},
			{d[:40], q, Lengths}, {d[:13], q, Kind}, {nil, q, Kind}, {[]byte("hello"), q, Kind},
		} {
			if _, f := Check(c.d, c.q); f != c.want {
				t.Errorf("%x to %v: %v, want %v", c.d, c.q, f, c.want)
			}
		}
	})
}

func TestKinds(t *testing.T) {
	var first []byte
	for _, c := range hellotest.Captured() {
		if c.Name == "openssl-dtls12:1" {
			first = c.Datagram
		}
	}
	if q := QuestionOf(first); q != (Question{len(first), 0, 0}) {
		t.Errorf("numbers of a captured ClientHello: %v", q)
	}
	fatal := []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40}
	if !IsAlert(fatal) || IsHandshake(fatal) || IsAlert(nil) || IsHandshake(nil) || !IsHandshake(first) || IsAlert(first) {
		t.Error("an alert or a handshake message is taken for something else")
	}
	real(t, func(name string, _ Question, d []byte, _ string) {
		if IsHandshake(d) || IsAlert(d) {
			t.Errorf("%s's HelloVerifyRequest counts as something after it", name)
		}
	})
}
