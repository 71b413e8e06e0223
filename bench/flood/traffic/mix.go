package traffic

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dtlsguard/dtlsguard/bench/flood/hellos"
)

// Item is what one source sends: a datagram, or the fragments of a ClientHello in order.
type Item struct {
	Name      string
	Weight    int
	Templates []Template
}

// Mix is what the sources send: each item in proportion to its weight.
type Mix []Item

// MaxItems and MaxTemplates are the limits of the generator in the kernel (MAX_ITEMS, MAX_TEMPLATES of flood.bpf.c).
const (
	MaxItems     = 16
	MaxTemplates = 32
)

// Of returns the item that source sends.
func (m Mix) Of(source netip.AddrPort) *Item {
	x, total, sum := uint32(spreadOf(source)>>32), m.total(), 0
	for i := range m[:len(m)-1] {
		if sum += m[i].Weight; x < threshold(sum, total) {
			return &m[i]
		}
	}
	return &m[len(m)-1]
}

func (m Mix) total() (weight int) {
	for i := range m {
		weight += m[i].Weight
	}
	return weight
}

// threshold is where the share of the first items ends, whose weights are sum of total.
func threshold(sum, total int) uint32 { return uint32(min(uint64(sum)<<32/uint64(total), 1<<32-1)) }

// Thresholds returns one threshold per item except the last: a source sends the first item whose threshold is above the
// upper half of its spread.
func (m Mix) Thresholds() []uint32 {
	until, sum := make([]uint32, 0, len(m)), 0
	for _, i := range m[:len(m)-1] {
		sum += i.Weight
		until = append(until, threshold(sum, m.total()))
	}
	return until
}

// Questions is the share of datagrams that require an answer, 0 to 1.
func (m Mix) Questions() float64 {
	var questions, all float64
	for _, i := range m {
		for _, t := range i.Templates {
			all += float64(i.Weight)
			if t.Question {
				questions += float64(i.Weight)
			}
		}
	}
	return questions / all
}

// Check returns the first mistake in m.
func (m Mix) Check() error {
	templates := 0
	for _, i := range m {
		if len(i.Templates) == 0 || i.Weight <= 0 || i.Weight > maxWeight {
			return fmt.Errorf("mix: %s=%d: want a weight of 1 to %d", i.Name, i.Weight, maxWeight)
		}
		templates += len(i.Templates)
	}
	if len(m) == 0 || len(m) > MaxItems || templates > MaxTemplates {
		return fmt.Errorf("mix of %d items: want 1 to %d, of %d datagrams together at most", len(m), MaxItems, MaxTemplates)
	}
	return nil
}

// maxWeight keeps sums of weights, shifted by 32 bits, in 64.
const maxWeight = 1 << 20

// Single is a mix of one datagram.
func Single(t Template) Mix { return Mix{{Name: "hello", Weight: 1, Templates: []Template{t}}} }

// Kinds are the names that [ParseMix] knows, with their meaning.
var Kinds = map[string]string{
	"hello":        "ClientHello of openssl s_client, DTLS 1.2, or that of --hello",
	"gnutls":       "ClientHello of gnutls-cli",
	"mbedtls":      "ClientHello of Mbed TLS",
	"pion":         "ClientHello of Pion",
	"large":        "post-quantum ClientHello of BoringSSL, DTLS 1.3 and 1.2, X25519MLKEM768, in two fragments",
	"dtls10":       "ClientHello of openssl s_client, DTLS 1.0",
	"wrong-cookie": "hello with an invalid cookie (Pion and SSL_accept drop it)",
	"junk":         "not DTLS",
	"record":       "application data of an unknown flow",
}

// ParseMix reads NAME=WEIGHT,NAME=WEIGHT... with a default weight of 1. own replaces the datagrams of kind hello, if it
// is not empty.
func ParseMix(text string, own [][]byte) (Mix, error) {
	var m Mix
	for part := range strings.SplitSeq(text, ",") {
		name, number, weighted := strings.Cut(part, "=")
		weight := 1
		if weighted {
			var err error
			if weight, err = strconv.Atoi(number); err != nil {
				return nil, fmt.Errorf("mix: %q: want NAME=WEIGHT", part)
			}
		}
		if slices.ContainsFunc(m, func(i Item) bool { return i.Name == name }) {
			return nil, fmt.Errorf("mix: %s is given twice", name)
		}
		templates, err := templatesOf(name, own)
		if err != nil {
			return nil, err
		}
		m = append(m, Item{name, weight, templates})
	}
	return m, m.Check()
}

// otherSize is the size of the captured ClientHello, for kinds of any size.
const otherSize = 205

func templatesOf(name string, own [][]byte) ([]Template, error) {
	if own == nil {
		own = [][]byte{Captured("openssl-dtls12:1")}
	}
	one := func(t Template, err error) ([]Template, error) { return []Template{t}, err }
	switch name {
	case "hello":
		return Hello(own...)
	case "gnutls", "mbedtls", "pion":
		return Hello(Captured(name + ":1"))
	case "large":
		return Hello(Captured("mlkem-boringssl:1"), Captured("mlkem-boringssl:2"))
	case "dtls10":
		return Hello(Captured("openssl-dtls10:1"))
	case "wrong-cookie":
		return one(WithCookie(own[0], slices.Repeat([]byte{0xff}, 32)))
	case "junk":
		return one(Junk(otherSize))
	case "record":
		return one(Record(otherSize))
	}
	return nil, fmt.Errorf("mix: there is no %q; want one of %s", name, strings.Join(slices.Sorted(maps.Keys(Kinds)), ", "))
}

// Hello makes templates of a real client's ClientHello, first fragment first.
func Hello(datagrams ...[]byte) ([]Template, error) {
	if len(datagrams) == 0 {
		return nil, errors.New("want a ClientHello")
	}
	first, err := FirstHello(datagrams[0])
	all := []Template{first}
	for _, d := range datagrams[1:] {
		t, e := laterFragment(d)
		err = errors.Join(err, e)
		all = append(all, t)
	}
	return all, err
}

// Captured returns a captured datagram by its name in package hellos. It panics if there is none.
func Captured(name string) []byte {
	for _, c := range hellos.All() {
		if c.Name == name {
			return c.Datagram
		}
	}
	panic("no captured ClientHello " + name)
}
