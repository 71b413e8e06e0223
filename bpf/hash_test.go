package bpf

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
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
	Key struct {
		Inner, Outer [8]uint32
		Epoch, Valid uint32
	}
}

// hashAlone compiles the hash as the guard is compiled, and returns a function that loads it, and with it the question
// whose answer is the returned one.
func hashAlone(tb testing.TB) (load func() *ebpf.Collection, answer []byte) {
	tb.Helper()
	needClang(tb)
	line, err := os.ReadFile("bpf.go")
	need(tb, err)
	_, flags, ok := strings.Cut(string(line), " -- ")
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

// BenchmarkHash is what the two compressions of a cookie cost in the kernel, with the overhead of BPF_PROG_RUN, against
// crypto/hmac with Reset on the same machine at the same time. Loaded anew each time, because where the kernel puts the code
// matters by a tenth.
func BenchmarkHash(b *testing.B) {
	load, _ := hashAlone(b)
	const repeat = 20_000
	h := hmac.New(sha256.New, testSecret[:])
	var message [55]byte
	var tag [32]byte
	var kernel, std []float64
	for b.Loop() { // interleaved, because the machine is never alone
		c := load()
		_, d, err := c.Programs["hash"].Benchmark(make([]byte, 64), repeat, nil)
		need(b, err)
		c.Close()
		kernel = append(kernel, float64(d.Nanoseconds()))
		start := time.Now()
		for range repeat {
			h.Reset()
			h.Write(message[:])
			h.Sum(tag[:0])
		}
		std = append(std, float64(time.Since(start).Nanoseconds())/repeat)
	}
	cost, base := median(kernel), median(std)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(cost, "ns/hmac")
	b.ReportMetric(base, "ns/crypto-hmac")
	b.ReportMetric(cost/base, "ratio")
}
