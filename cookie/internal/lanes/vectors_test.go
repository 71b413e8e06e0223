package lanes

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"io"
	mrand "math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// compressor is the compression that an implementation's kernel is made of: width at a time, word i of lane l
// at i*lanes+l of its lanes, as in an implementation.
type compressor struct {
	name         string
	width, lanes int
	f            func(states, words *uint32)
}

func compressors() []compressor {
	return append(nativeCompressors(), compressor{"generic", 1, 1, func(states, words *uint32) {
		compress((*state)(unsafe.Slice(states, 8)), (*block)(unsafe.Slice(words, 16)))
	}})
}

// hash is SHA-256 with all compressions in one lane of c. The other lanes get noise.
func (c *compressor) hash(r *mrand.Rand, lane int, msg []byte) []byte {
	padded := append(bytes.Clone(msg), 0x80)
	for len(padded)%64 != 56 {
		padded = append(padded, 0)
	}
	padded = binary.BigEndian.AppendUint64(padded, 8*uint64(len(msg)))
	states, words := make([]uint32, 8*c.width), make([]uint32, 16*c.width)
	at := func(words, i int) int { return lane/c.lanes*c.lanes*words + i*c.lanes + lane%c.lanes }
	for i := range states {
		states[i] = r.Uint32()
	}
	for i, h := range initialState {
		states[at(8, i)] = h
	}
	for ; len(padded) > 0; padded = padded[64:] {
		for i := range words {
			words[i] = r.Uint32()
		}
		for i := range 16 {
			words[at(16, i)] = binary.BigEndian.Uint32(padded[4*i:])
		}
		c.f(&states[0], &words[0])
	}
	var sum []byte
	for i := range 8 {
		sum = binary.BigEndian.AppendUint32(sum, states[at(8, i)])
	}
	return sum
}

// hmac is RFC 2104 over hash.
func (c *compressor) hmac(r *mrand.Rand, lane int, key, msg []byte) []byte {
	if len(key) > 64 {
		key = c.hash(r, lane, key)
	}
	inner, outer := bytes.Repeat([]byte{0x36}, 64), bytes.Repeat([]byte{0x5c}, 64)
	for i, b := range key {
		inner[i] ^= b
		outer[i] ^= b
	}
	return c.hash(r, lane, append(outer, c.hash(r, lane, append(inner, msg...))...))
}

type vector struct{ key, msg, want []byte }

// vectors reads a file of "Name = hexadecimal" lines; Len is in bits, MD ends a vector.
func vectors(t *testing.T, name string) []vector {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	var all []vector
	var v vector
	bits := 0
	s := bufio.NewScanner(in)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		field, text, ok := strings.Cut(s.Text(), " = ")
		if !ok || strings.HasPrefix(field, "#") || strings.HasPrefix(field, "[") {
			continue
		}
		if field == "Len" {
			if bits, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatalf("%s: %s: %v", name, field, err)
		}
		switch field {
		case "Key":
			v.key = b
		case "Msg":
			v.msg = b[:bits/8]
		case "MD":
			v.want = b
			all = append(all, v)
			v = vector{}
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestStandardVectors(t *testing.T) {
	r := mrand.New(mrand.NewPCG(21, 22))
	for _, file := range []struct {
		name  string
		count int
	}{{"SHA256ShortMsg.rsp", 65}, {"SHA256LongMsg.rsp.gz", 64}, {"rfc4231-sha256.txt", 6}} {
		all := vectors(t, file.name)
		if len(all) != file.count {
			t.Errorf("%s has %d vectors, want %d", file.name, len(all), file.count)
		}
		for _, c := range compressors() {
			for i, v := range all {
				// Short messages pass through every lane, long ones through one each.
				lanes := []int{i % c.width}
				if len(v.msg) <= 256 {
					lanes = nil
					for l := range c.width {
						lanes = append(lanes, l)
					}
				}
				for _, lane := range lanes {
					var got []byte
					if v.key == nil {
						got = c.hash(r, lane, v.msg)
					} else {
						got = c.hmac(r, lane, v.key, v.msg)
					}
					if !bytes.Equal(got, v.want) {
						t.Errorf("%s, %s, vector %d in lane %d: %x, want %x", c.name, file.name, i, lane, got, v.want)
					}
				}
			}
		}
	}
}

// Every implementation that can be chosen is one whose compression the vectors test.
func TestEveryImplementationHasItsVectors(t *testing.T) {
	tested := map[string]bool{}
	for _, c := range compressors() {
		tested[c.name] = true
	}
	for _, name := range Names() {
		if !tested[name] {
			t.Errorf("%s is not tested with standard vectors", name)
		}
	}
}
