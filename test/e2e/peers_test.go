package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

// builds caches the programs of bench/testkit/peers.
var builds peers.Builder

// build compiles a program of bench/testkit/peers.
func build(t *testing.T, p *peers.Program) string {
	t.Helper()
	need(t, "cc")
	return built(t)(builds.Build(p))
}

// built returns a build's program; if the build failed, the test is skipped, or fails in CI.
func built(t *testing.T) func(path string, err error) string {
	return func(path string, err error) string {
		t.Helper()
		if err != nil && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
}

// startPeer starts a server of bench/testkit/peers. cookies are its arguments about cookies.
func startPeer(t *testing.T, addr netip.AddrPort, name, cookies string) *server {
	t.Helper()
	s := peers.Find(name)
	cert, key := certFiles(t)
	p := start(t, "", build(t, &s.Program), peers.Arguments(addr, peers.Identity{Certificate: cert, Key: key}, cookies)...)
	awaitListener(t, p, addr)
	return &server{program: p, addr: addr, closed: "closed"}
}

// peerClient is a client of bench/testkit/peers.
func peerClient(name string) dialer {
	return func(t *testing.T, addr netip.AddrPort) association {
		t.Helper()
		c := peers.FindClient(name)
		return &gnutlsClient{start(t, "", build(t, c), addr.Addr().String(), strconv.Itoa(int(addr.Port())))}
	}
}

// botan is the client of Botan's command, whose output is buffered unless it is told otherwise.
func botan(t *testing.T, addr netip.AddrPort) association {
	t.Helper()
	need(t, "botan", "stdbuf")
	return &gnutlsClient{start(t, "", "stdbuf", "-o0", "botan", "tls_client", addr.Addr().String(), fmt.Sprint("--port=", addr.Port()), "--type=udp", "--skip-system-cert-store")}
}

// awaitListener waits until something listens on the server's port.
func awaitListener(t *testing.T, p *program, addr netip.AddrPort) {
	t.Helper()
	eventually(t, p.name+" listens", func() bool {
		select {
		case <-p.exited:
			t.Fatalf("%s ended as soon as it was started", p.name)
		default:
		}
		return peers.Listens(p.cmd.Process.Pid, addr)
	})
}

// coapKey is the pre-shared key of coap-server and its clients.
const coapKey = "a-key-for-tests"

// coapClient is libcoap's: a program that sends one request, each in an association of its own.
type coapClient struct {
	t       *testing.T
	addr    netip.AddrPort
	library string
}

func coap(library string) dialer {
	return func(t *testing.T, addr netip.AddrPort) association { return &coapClient{t, addr, library} }
}

// ping puts text into a resource and reads it back.
func (c *coapClient) ping(text string) {
	c.t.Helper()
	need(c.t, "coap-client-"+c.library)
	uri := "coaps://" + c.addr.String() + "/" + c.library
	c.ask("-m", "put", "-e", text, uri)
	if got := c.ask("-m", "get", uri); !strings.Contains(got, text) {
		c.t.Errorf("coap-client-%s put %q and got %q", c.library, text, got)
	}
}

// ask runs the program until it ends.
func (c *coapClient) ask(args ...string) string {
	c.t.Helper()
	args = append([]string{"-B", strconv.Itoa(int(patience.Seconds())), "-u", "me", "-k", coapKey}, args...)
	out, err := exec.CommandContext(c.t.Context(), "coap-client-"+c.library, args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "4.") || strings.Contains(string(out), "ERR") {
		c.t.Fatalf("coap-client-%s %s: %v\n%s", c.library, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// exchange is for servers of other protocols.
func (c *coapClient) exchange(string, string) {
	c.t.Helper()
	c.t.Fatal("coap-client speaks CoAP only")
}

func (*coapClient) close() {}
