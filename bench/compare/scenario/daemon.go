package scenario

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
)

// daemon is the guard's command, as users start it.
type daemon struct {
	binary  string
	handoff string
	answer  string   // --answer; "": without XDP
	more    []string // arguments
}

func newDaemon(w *Fixtures, handoff, answer string, more ...string) (*daemon, error) {
	binary, err := w.daemon()
	return &daemon{binary, handoff, answer, more}, err
}

// metricsPort is the port of /readyz of a daemon in the guard's namespace.
const metricsPort = 9477

// proxy starts it as a proxy in front of a server, with a worker per CPU under test.
func (d *daemon) proxy(b *Testbed, server netip.AddrPort) error {
	return d.start(b, "--listen", b.Service.String(), "--backend", server.String(), "--workers", fmt.Sprint(len(b.cpus)))
}

// inline starts it in front of a server at the service's address. That address can be reached over the server's link as well, which only
// the benchmark uses.
func (d *daemon) inline(b *Testbed) error {
	return d.start(b, "--protect", b.Service.String(), "--allow-unguarded")
}

func (d *daemon) start(b *Testbed, shape ...string) error {
	cpus := strings.Trim(strings.ReplaceAll(fmt.Sprint(b.cpus), " ", ","), "[]")
	// Confine it before it starts: it pins its workers to the CPUs it may use.
	args := append([]string{"-c", cpus, d.binary, "run"}, shape...)
	args = append(args, "--handoff", d.handoff, "--metrics-listen", fmt.Sprintf("127.0.0.1:%d", metricsPort), "--control", "off")
	if d.answer != "" {
		args = append(args, "--interface", b.Front(), "--xdp-mode", "native", "--answer", d.answer, "--pin", "off")
	}
	cmd := exec.Command("taskset", append(args, d.more...)...)
	if err := b.serve(cmd, b.daemonReady); err != nil {
		return err
	}
	b.daemon = cmd.Process.Pid
	return nil
}

// daemonReady asks /readyz in the guard's namespace.
func (b *Testbed) daemonReady() bool {
	status, _, _ := strings.Cut(b.ask("/readyz"), "\n")
	return strings.Contains(status, " 200 ")
}

// harvest is the hand-off with a pool of cookies.
const harvest = "harvest"

// poolFull waits until the daemon has harvested all cookies. It asks from the generator's CPU, 20 000 times per second, so a flood
// would come slower before that.
func (b *Testbed) poolFull() error {
	var size, known float64
	for end := time.Now().Add(poolPatience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for line := range strings.Lines(b.ask("/metrics")) {
			name, labels, _ := strings.Cut(strings.TrimSpace(line), "{")
			_, value, _ := strings.Cut(labels, "} ")
			switch name {
			case "dtlsguard_harvest_pool":
				size, _ = strconv.ParseFloat(value, 64)
			case "dtlsguard_harvested_cookies":
				known, _ = strconv.ParseFloat(value, 64)
			}
		}
		if size > 0 && known >= mostly*size {
			return nil
		}
	}
	return fmt.Errorf("the daemon knows %.0f of %.0f cookies after %v", known, size, poolPatience)
}

// mostly is all but the ports that other programs of the host have, the server's among them.
const mostly = 0.99

// poolPatience is many times what 65 536 questions take, for machines that do other things as well.
const poolPatience = time.Minute

// ask is the daemon's answer over HTTP, head and body; "": none.
func (b *Testbed) ask(path string) string {
	var conn net.Conn
	err := b.Lab.Middle.Do(func() (err error) {
		conn, err = net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", metricsPort))
		return err
	})
	if err != nil {
		return ""
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
	answer, _ := io.ReadAll(conn) // what is missing is not found in it
	return string(answer)
}

// workersSubject is the daemon as a proxy whose workers answer, behind its XDP program or alone.
func workersSubject(name string, w *Fixtures, kernel bool) *Subject {
	answer := ""
	if kernel {
		answer = "workers"
	}
	return proxySubject(name, xdp.Stack, w, "trust", answer)
}

// proxySubject is the daemon as a proxy. It needs a server, which receives nothing of the flood.
func proxySubject(name string, at xdp.At, w *Fixtures, handoff, answer string, more ...string) *Subject {
	server, err := newServer("openssl", w)
	d, err2 := newDaemon(w, handoff, answer, more...)
	return &Subject{Name: name, At: at, Handled: rightAnswers, Skip: reason(err, err2), Start: func(b *Testbed) error {
		if err := server.startBehind(b, ""); err != nil {
			return err
		}
		if err := d.proxy(b, streamServer); err != nil {
			return err
		}
		if handoff == harvest {
			return b.poolFull()
		}
		return nil
	}}
}
