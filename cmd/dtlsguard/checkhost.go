package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/privileges"
)

// host adds what every guard needs.
func (r *report) host() {
	r.add(bpf.Pass, "cookies", cookie.Measured().String(), "")
	r.receiveBuffer()
	r.openFiles()
	if os.Geteuid() == 0 {
		if u, err := privileges.LookUp(""); u == nil && err == nil {
			r.add(bpf.Warn, "user", "there is no user "+privileges.DefaultUser+": a guard that root starts stays root, without capabilities", addUser)
		} else {
			r.add(bpf.Pass, "user", "a guard that root starts becomes "+privileges.DefaultUser, "")
		}
	}
}

func (r *report) receiveBuffer() {
	const name, sysctl = "receive buffer", "net.core.rmem_max"
	b, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil { // other network namespaces do not show it; the host's value applies
		r.add(bpf.Pass, name, sysctl+" is not visible here", "")
		return
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || most < frontend.DefaultReceiveBuffer {
		r.add(bpf.Warn, name, fmt.Sprintf("%s is %d: without CAP_NET_ADMIN, longer bursts are lost", sysctl, most),
			fmt.Sprintf("sysctl -w %s=%d", sysctl, frontend.DefaultReceiveBuffer))
		return
	}
	r.add(bpf.Pass, name, fmt.Sprintf("%s is %d", sysctl, most), "")
}

// openFiles: a proxy has a socket for each verified flow.
func (r *report) openFiles() {
	const name = "open files"
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		r.add(bpf.Warn, name, err.Error(), "ulimit -n shows the limit")
		return
	}
	const spare = 1024 // for files other than flows: workers' sockets, maps, pollers
	if l.Max < frontend.DefaultMaxFlows+spare {
		r.add(bpf.Warn, name, fmt.Sprintf("at most %d: a proxy has one per flow, and --max-flows is %d by default", l.Max, frontend.DefaultMaxFlows),
			fmt.Sprintf("ulimit -Hn %d (LimitNOFILE= of a systemd unit)", frontend.DefaultMaxFlows+spare))
		return
	}
	r.add(bpf.Pass, name, fmt.Sprintf("at most %d", l.Max), "")
}

// needed are the capabilities that XDP needs.
var needed = []struct {
	bit  int
	name string
}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_PERFMON, "CAP_PERFMON"}}

func capabilities() bpf.Finding {
	const name = "capabilities"
	var data [2]unix.CapUserData // of 32 each
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return bpf.Finding{Name: name, Level: bpf.Warn, Text: err.Error(), Hint: "run as root"}
	}
	var missing []string
	for _, c := range needed {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return bpf.Finding{Name: name, Level: bpf.Fail, Text: "missing " + strings.Join(missing, ", "),
			Hint: "run as root, or with AmbientCapabilities= in a systemd unit"}
	}
	if data[0].Effective&(1<<unix.CAP_NET_RAW) == 0 {
		return bpf.Finding{Name: name, Level: bpf.Warn, Text: "missing CAP_NET_RAW: where workers answer inline, their answers leave from another port, which only the egress program puts right",
			Hint: "run as root, or with AmbientCapabilities= in a systemd unit"}
	}
	return bpf.Finding{Name: name, Text: "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_NET_RAW"}
}
