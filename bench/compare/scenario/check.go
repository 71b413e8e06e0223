package scenario

import (
	"bytes"
	"fmt"

	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// sampled is how much a sample has at least of a datagram: 128 bytes of a frame, headers of Ethernet, IPv6 and UDP included.
const sampled = 128 - 14 - 40 - 8

// checkAnswers compares the sampled answers of a guard with the expected ones, byte by byte.
func (b *Testbed) checkAnswers(t xdp.Template) error {
	if b.key == nil {
		return nil
	}
	answers, err := b.counter.Samples()
	if err != nil {
		return err
	}
	for _, a := range answers {
		asked := b.flow.Datagram(&t, a.Peer)
		want, err := rightAnswer(b, asked, a)
		if err != nil {
			return err
		}
		if n := len(a.Datagram); n >= sampled && n < len(want) { // a HelloRetryRequest, of which a sample has the head
			want = want[:n]
		}
		if !bytes.Equal(a.Datagram, want) {
			return fmt.Errorf("answer to %v is\n% x, want\n% x", a.Peer, a.Datagram, want)
		}
	}
	return nil
}

// issue is a guard's own cookie.
func issue(k *cookie.Key, f bpf.Format, b *cookie.Binding) []byte {
	if f == bpf.FormatV2 {
		c := k.IssueV2(b)
		return c[:]
	}
	c := k.Issue(b)
	return c[:]
}

// rightAnswer is the guard's answer to a question, computed here.
func rightAnswer(b *Testbed, asked []byte, a xdp.Answer) ([]byte, error) {
	var h hello.ClientHello
	if r := hello.Parse(asked, &h); r != hello.OK {
		return nil, fmt.Errorf("%v was answered, and its datagram is not a ClientHello: %v", a.Peer, r)
	}
	binding := cookie.Binding{
		Source: a.Peer.Addr().As16(), SourcePort: a.Peer.Port(),
		DestinationPort: b.Service.Port(), Version: h.Version, Random: h.Random,
	}
	var x hello.Extensions
	if b.retries && h.ReadExtensions(&x) && x.Offers13() {
		binding.Purpose = cookie.HelloRetry
		return asked[:hello.PutRetry(asked, &hello.Retry{Suite: x.Suite13(), Cookie: issue(b.key, b.format, &binding)})], nil
	}
	return asked[:hello.PutHelloVerify(asked, issue(b.key, b.format, &binding))], nil
}
