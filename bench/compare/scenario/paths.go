package scenario

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

// path is a way to the server, which start sets up in the guard's namespace.
func path(name string, beyond bool, start func(*Testbed) error) *Subject {
	s := &Subject{Name: name, At: xdp.Stack, Beyond: beyond}
	s.Start = func(b *Testbed) error {
		if err := b.serverSide(s); err != nil {
			return err
		}
		return start(b)
	}
	return s
}

// routePath is only the kernel's forwarding.
func routePath() *Subject {
	return path("no guard", true, func(*Testbed) error { return nil })
}

// passPath is the same with the programs that the guard's are compared with: what veth's XDP mode and two programs cost by themselves.
func passPath() *Subject {
	return path(barePass, true, func(b *Testbed) error { return attach(peers.Pass)(b) })
}

// Of the two that are compared.
const (
	barePass = "bare XDP_PASS, empty egress program"
	inline   = "dtlsguard inline"
)

// inlinePath is the same with the guard's program in front.
func inlinePath() *Subject {
	return path(inline, true, func(b *Testbed) error { return startGuard(b, guardOptions{}) })
}

// proxyPath is the daemon as a proxy with one worker.
func proxyPath(name string, w *Fixtures, xdp bool) *Subject {
	answer := ""
	if xdp {
		answer = "workers"
	}
	d, err := newDaemon(w, "trust", answer, "--hello-rate", "0")
	s := path(name, false, func(b *Testbed) error { return d.proxy(b, streamServer) })
	s.Skip = reason(err)
	return s
}

// nginxModules is Debian's directory of modules.
const nginxModules = "/usr/lib/nginx/modules"

// nginxConfig relays each client's datagrams to the server from a socket per client.
const nginxConfig = `load_module %s/ngx_stream_module.so;
daemon off;
master_process off;
pid %s/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
stream {
	server {
		listen %v udp rcvbuf=4m sndbuf=4m;
		proxy_pass %v;
		proxy_timeout 60s;
	}
}
`

// nginxPath is nginx's UDP proxy with one process.
func nginxPath(w *Fixtures) *Subject {
	binary, err := exec.LookPath("nginx")
	if err == nil {
		_, err = os.Stat(filepath.Join(nginxModules, "ngx_stream_module.so"))
	}
	s := path("nginx UDP stream proxy", false, func(b *Testbed) error {
		config := filepath.Join(w.dir, "nginx.conf")
		text := fmt.Sprintf(nginxConfig, nginxModules, w.dir, b.Service, streamServer)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return err
		}
		cmd := exec.Command(binary, "-p", w.dir, "-e", "stderr", "-c", config)
		return b.serve(cmd, func() bool { return peers.Listens(cmd.Process.Pid, b.Service) })
	})
	if err != nil {
		s.Skip = fmt.Sprintf("no nginx with its stream module (apt-get install nginx-light libnginx-mod-stream): %v", err)
	}
	return s
}
