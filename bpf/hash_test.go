package bpf

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// question is that of testdata/hash.bpf.c.
type question struct {
	H   [8]uint32
	W   [16]uint32
	Sip struct {
		M   [7]uint64
		Tag [2]uint64
	}
	Key struct {
		Epoch, Valid uint32
		Sip          [2]uint64
		Inner, Outer [8]uint32
	}
}

// hashAlone compiles the hashes as the guard is compiled, and returns a function that loads it, and with it the question
// whose answer is the returned one.
func hashAlone(tb testing.TB) (load func() *ebpf.Collection, answer []byte) {
	tb.Helper()
	needClang(tb)
	line, err := os.ReadFile("bpf.go")
	need(tb, err)
	_, flags, ok := strings.Cut(string(line), " -- ")
	flags, _, _ = strings.Cut(flags, "\n")
	if !ok {
		tb.Fatal("no flags in the go:generate line")
	}
	object := filepath.Join(tb.TempDir(), "hash.o")
	// What bpf2go adds, and where the headers are.
	args := append([]string{"-target", "bpfel", "-g", "-I.", "-c", "testdata/hash.bpf.c", "-o", object}, strings.Fields(flags)...)
	if out, err := exec.Command("clang-19", args...).CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	need(tb, err)

	message := bytes.Repeat([]byte("message"), 8)[:55]
	var block [64]byte
	block[copy(block[:], message)] = 0x80 // RFC 6234 section 4.1
	binary.BigEndian.PutUint16(block[62:], 8*(64+55))
	var q question
	for i := range q.W {
		q.W[i] = binary.BigEndian.Uint32(block[4*i:])
	}
	k := testRing.Current()
	q.Key.Inner, q.Key.Outer = k.Midstates()
	q.Key.Sip = k.SipHash()
	h := hmac.New(sha256.New, testSecret[:])
	h.Write(message)
	return func() *ebpf.Collection {
		c, err := ebpf.NewCollection(spec)
		need(tb, err)
		need(tb, c.Maps["questions"].Put(uint32(0), &q))
		return c
	}, h.Sum(nil)
}

func TestHashAlone(t *testing.T) {
	load, want := hashAlone(t)
	c := load()
	defer c.Close()
	if code, _, err := c.Programs["hash"].Test(make([]byte, 64)); err != nil || code != 0 {
		t.Fatalf("returned %d: %v", int32(code), err)
	}
	var q question
	need(t, c.Maps["questions"].Lookup(uint32(0), &q))
	var got []byte
	for _, w := range q.H {
		got = binary.BigEndian.AppendUint32(got, w)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the kernel's HMAC is %x, want %x", got, want)
	}
}

// The kernel's SipHash gives what the reference's vectors say, for messages of as many words as a binding has: of 48 to
// 55 bytes.
func TestSipHashVectors(t *testing.T) {
	load, _ := hashAlone(t)
	c := load()
	defer c.Close()
	text, err := os.ReadFile("../cookie/testdata/siphash128.txt")
	need(t, err)
	var vectors []string
	for line := range strings.Lines(string(text)) {
		if line[0] != '#' {
			vectors = append(vectors, strings.TrimSpace(line))
		}
	}
	var q question
	q.Key.Sip = [2]uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	for n := 48; n <= 55; n++ {
		var m [56]byte
		for i := range n {
			m[i] = byte(i)
		}
		m[55] = byte(n)
		for i := range q.Sip.M {
			q.Sip.M[i] = binary.LittleEndian.Uint64(m[8*i:])
		}
		need(t, c.Maps["questions"].Put(uint32(0), &q))
		if code, _, err := c.Programs["sip"].Test(make([]byte, 64)); err != nil || code != 0 {
			t.Fatalf("returned %d: %v", int32(code), err)
		}
		var a question
		need(t, c.Maps["questions"].Lookup(uint32(0), &a))
		got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, a.Sip.Tag[0]), a.Sip.Tag[1])
		if hex.EncodeToString(got) != vectors[n] {
			t.Errorf("message of %d bytes: %x, want %s", n, got, vectors[n])
		}
	}
}

// BenchmarkHash is what the two compressions of a cookie of format v1, and the SipHash of one of v2, cost in the kernel, with
// the overhead of BPF_PROG_RUN, against crypto/hmac with Reset on the same machine at the same time. Loaded anew each time,
// because where the kernel puts the code matters by a tenth.
func BenchmarkHash(b *testing.B) {
	load, _ := hashAlone(b)
	const repeat = 20_000
	h := hmac.New(sha256.New, testSecret[:])
	var message [55]byte
	var tag [32]byte
	var kernel, sip, std []float64
	for b.Loop() { // interleaved, because the machine is never alone
		c := load()
		for name, to := range map[string]*[]float64{"hash": &kernel, "sip": &sip} {
			_, d, err := c.Programs[name].Benchmark(make([]byte, 64), repeat, nil)
			need(b, err)
			*to = append(*to, float64(d.Nanoseconds()))
		}
		c.Close()
		start := time.Now()
		for range repeat {
			h.Reset()
			h.Write(message[:])
			h.Sum(tag[:0])
		}
		std = append(std, float64(time.Since(start).Nanoseconds())/repeat)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(kernel), "ns/hmac")
	b.ReportMetric(median(sip), "ns/siphash")
	b.ReportMetric(median(std), "ns/crypto-hmac")
	b.ReportMetric(median(sip)/median(kernel), "siphash/hmac")
}
