package scenario

import (
	"bytes"
	"fmt"

	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello/hellotest"
)

// question is the ClientHello of the floods: of openssl s_client with DTLS 1.2, 205 bytes.
const question = "openssl-dtls12:1"

// junkSize is that of the question, so that only the content differs.
const junkSize = 205

// Contests are all there are, in the order of the report. Peers are compiled into dir.
func Contests(dir string) ([]*Contest, error) {
	first, err := gen.FirstHello(captured(question))
	if err != nil {
		return nil, err
	}
	wrong, err := gen.WithCookie(captured(question), bytes.Repeat([]byte{guardEpoch}, cookie.Size))
	if err != nil {
		return nil, err
	}
	junk, err := gen.Junk(junkSize)
	if err != nil {
		return nil, err
	}
	xdp := guardSubject("dtlsguard xdp", guardOptions{})
	dropped := guardSubject("dtlsguard xdp", guardOptions{})
	dropped.Handled = packetsReceived
	return []*Contest{
		{
			Name: "swap", Title: "ClientHellos answered in the kernel, against a program that only sends back",
			Template: first, Subjects: []*Subject{xdp, swapSubject()}, Compare: []Comparison{{0, 1, 0.26}},
		},
		{
			Name: "peers", Title: "ClientHellos answered in the kernel, against servers with sockets, at overload",
			Template: first,
			Subjects: []*Subject{xdp, serverSubject("openssl", dir), serverSubject("echo", dir), serverSubject("gnutls", dir)},
			Compare:  []Comparison{{0, 1, 18}, {0, 2, 13}, {0, 3, 0}},
		},
		{
			Name: "junk", Title: "datagrams that are no DTLS, dropped",
			Template: junk, Subjects: []*Subject{dropped, dropSubject()}, Compare: []Comparison{{0, 1, 0.90}},
		},
		{
			Name: "wrong-cookie", Title: "ClientHellos with a wrong cookie, answered anew",
			Template: wrong, Subjects: []*Subject{xdp, swapSubject()}, Compare: []Comparison{{0, 1, 0}},
		},
		{
			Name: "size", Title: "answers with few and many services and verified flows",
			Template: first,
			Subjects: []*Subject{
				guardSubject("1 service, 10 flows", guardOptions{flows: 10}),
				guardSubject("1024 services, 10 flows", guardOptions{services: 1023, flows: 10}),
				guardSubject("1 service, 60000 flows", guardOptions{flows: 60000}),
			},
			Compare: []Comparison{{1, 0, 0.90}, {2, 0, 0.90}},
		},
	}, nil
}

func captured(name string) []byte {
	for _, c := range hellotest.Captured() {
		if c.Name == name {
			return c.Datagram
		}
	}
	panic(fmt.Sprintf("no captured ClientHello %s", name))
}
