package lab

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

func need(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" && os.Geteuid() != 0 {
		t.Skipf("needs to be root: %v", err)
	}
	t.Fatal(err)
}

func TestEveryPairTalks(t *testing.T) {
	l, err := New("talk")
	need(t, err)
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []struct {
		from, to *Namespace
		addr     netip.Addr
	}{
		{l.Client, l.Middle, Middle4}, {l.Client, l.Middle, Middle6}, {l.Middle, l.Server, Server4}, {l.Middle, l.Server, Server6},
		{l.Client, l.Server, Server4}, {l.Server, l.Client, Client6},
	} {
		in, err := c.to.ListenUDP(netip.AddrPortFrom(c.addr, 4433).String())
		if err != nil {
			t.Fatal(err)
		}
		var out net.Conn
		if err := c.from.Do(func() (err error) {
			out, err = net.Dial("udp", netip.AddrPortFrom(c.addr, 4433).String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		text := []byte("to " + c.addr.String())
		if _, err := out.Write(text); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 100)
		in.SetReadDeadline(time.Now().Add(await.Patience))
		if n, err := in.Read(buf); err != nil || !bytes.Equal(buf[:n], text) {
			t.Errorf("%s: got %q, %v", text, buf[:n], err)
		}
		in.Close()
		out.Close()
	}
}

func TestProcessesRunInside(t *testing.T) {
	l, err := New("process")
	need(t, err)
	defer l.Close()
	out := new(bytes.Buffer)
	cmd := exec.Command("cat", "/proc/net/dev")
	cmd.Stdout = out
	if err := l.Middle.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), ToServer) {
		t.Errorf("%v\n%s", err, out)
	}
	if err := l.Middle.Run("false"); err == nil {
		t.Error("no error from a command that failed")
	}
}

func named(t *testing.T) string {
	entries, err := os.ReadDir(names)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// Names can be removed although somebody else uses ip netns in between.
func TestNamesSurviveIPNetns(t *testing.T) {
	l, err := New("beside")
	need(t, err)
	other := fmt.Sprintf("other-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", other).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("ip", "netns", "delete", other).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// The next New removes the lab of a dead process, and no other namespace.
func TestRemovesOnlyItsOwn(t *testing.T) {
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	stale := fmt.Sprintf("%s%d-x-client", prefix, dead.Process.Pid)
	other := fmt.Sprintf("other-%d-x-client", dead.Process.Pid)
	for _, n := range []string{stale, other} {
		need(t, onThread(func() error {
			h, err := netns.NewNamed(n)
			if err == nil {
				err = h.Close()
			}
			return err
		}))
	}
	defer netns.DeleteNamed(other)
	bare := stale + "-bare" // without a namespace
	if err := os.WriteFile("/run/netns/"+bare, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	l, err := New("own")
	need(t, err)
	if all := named(t); strings.Contains(all, stale) || !strings.Contains(all, other) || !strings.Contains(all, l.Middle.Name) {
		t.Errorf("with a lab: %s", all)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if all := named(t); strings.Contains(all, fmt.Sprintf("%s%d-own", prefix, os.Getpid())) || !strings.Contains(all, other) {
		t.Errorf("after it: %s", all)
	}
}
