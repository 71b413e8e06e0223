package lab

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// A capture opens in tshark and tcpdump. It has the outcome of each datagram, from the kernel and from workers, and no application
// data.
func TestCaptureOpens(t *testing.T) {
	for name, answer := range map[string]string{"xdp": "xdp", "workers": "workers"} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			shapes["inline"].serve(t, p.Lab)
			g := p.run(append(inline(), "--answer", answer, "--unverified", "drop")...)
			file := filepath.Join(t.TempDir(), "capture.pcapng")
			c := start(t, p.Middle, program(), "capture", "-w", file, "--rate", "10000", "--control", p.control)
			c.Until("the capture has begun", func() bool { info, err := os.Stat(file); return err == nil && info.Size() > 0 })
			client := openssl()(t, p.Lab, public[0])
			client.ping("a secret text")
			client.close()
			junk(t, p.Client)
			c.Until("the junk is in the file", func() bool { return strings.Contains(read(file), "reason=unverified datagram=not-dtls") })
			if err := c.Cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if status := c.End(); status != 0 || !strings.Contains(c.Text(), " packets captured") {
				t.Errorf("exit status %d: %s", status, c.Text())
			}
			lines := output(t, p.Middle, "tshark", "-r", file, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment", "-e", "frame.cap_len", "-e", "dtls.record.content_type")
			want := []string{iface + "\tverdict=passed reason=verified service=", iface + "\tverdict=passed reason=flow datagram=encrypted", iface + "\tverdict=dropped reason=unverified datagram=not-dtls"}
			if answer == "xdp" {
				want = append(want, iface+"\tverdict=answered service=")
			} else {
				want = append(want, iface+"\tverdict=steered service=", "workers\tverdict=answered service=")
			}
			for _, w := range want {
				if !strings.Contains(lines, w) {
					t.Errorf("tshark reads no %q in:\n%s", w, lines)
				}
			}
			// Ethernet, IPv4 and UDP headers and a record header.
			for line := range strings.Lines(lines) {
				if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) > 3 && f[3] == "23" && f[2] != "55" {
					t.Errorf("application data is in the file: %s", line)
				}
			}
			if said := output(t, p.Middle, "tcpdump", "-nr", file, "udp"); strings.Count(said, "\n") < len(want) {
				t.Errorf("tcpdump reads %s", said)
			}
			p.refusedBeside(exec.Command(program(), "capture", "-w", file, "--verdict", "lost", "--control", p.control), exitRun, `no verdict "lost"`, "answered")
			g.stop()
			p.free()
		})
	}
}

// junk sends a datagram that is not DTLS.
func junk(t *testing.T, h *lab.Namespace) {
	t.Helper()
	conn, err := h.ListenUDP(":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.WriteTo([]byte("junk of a flood"), net.UDPAddrFromAddrPort(public[0])); err != nil {
		t.Fatal(err)
	}
}

// read returns a file's contents, "" if it cannot be read.
func read(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}
