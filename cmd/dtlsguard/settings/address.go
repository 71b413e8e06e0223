package settings

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// credential returns the path of a secret file: a bare name is looked up among the service manager's credentials first.
func credential(name string) string {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && name != "" && !strings.Contains(name, "/") {
		if file := filepath.Join(dir, name); isFile(file) {
			return file
		}
	}
	return name
}

func checkListener(v string) error {
	if v == Off {
		return nil
	}
	if _, _, err := net.SplitHostPort(v); err != nil {
		return fmt.Errorf("%q: want ADDRESS:PORT, or off", v)
	}
	return nil
}

func splitAll(values []string) (all []string) {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			all = append(all, strings.TrimSpace(part))
		}
	}
	return all
}

// oneBackend reads HOST:PORT, or HOST:PORT*WEIGHT. Names are resolved later.
func oneBackend(text string) (b frontend.Backend, err error) {
	address, weight, ok := strings.Cut(text, "*")
	if ok {
		if b.Weight, err = strconv.Atoi(weight); err != nil || b.Weight < 1 || b.Weight > frontend.MaxWeight {
			return b, fmt.Errorf("%q: %q is not a weight, 1 to %d", text, weight, frontend.MaxWeight)
		}
	}
	host, port, err := hostPort(address)
	b.Address = net.JoinHostPort(host, strconv.Itoa(int(port)))
	return b, err
}

// hostPort reads HOST:PORT, whose port may be the name of a service.
func hostPort(text string) (host string, port uint16, err error) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, fmt.Errorf("%q: want HOST:PORT, with an IPv6 address in [brackets]", text)
	}
	n, err := net.LookupPort("udp", portText)
	if err != nil {
		return "", 0, fmt.Errorf("%q: %q is not a port", text, portText)
	}
	return host, uint16(n), nil
}

// resolvePatience is longer than the first timeout of a resolver (resolv.conf(5): 5 s).
const resolvePatience = 6 * time.Second

// errUnresolved says that a name could not be resolved.
var errUnresolved = errors.New("cannot be resolved")

// Unresolved reports whether err says no more than that a name could not be resolved.
func Unresolved(err error) bool { return errors.Is(err, errUnresolved) }

// listenAt reads HOST:PORT; an empty host is every address, IPv4 and IPv6, and a name all that it resolves to.
func listenAt(ctx context.Context, text string) (found []netip.AddrPort, err error) {
	host, port, err := hostPort(text)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), port)}, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a, port)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(ips) == 0 {
		return nil, fmt.Errorf("%q: %w: %q is not an address, and no resolver knows the name", text, errUnresolved, host)
	}
	for _, ip := range ips {
		if a := netip.AddrPortFrom(ip.Unmap(), port); !slices.Contains(found, a) {
			found = append(found, a)
		}
	}
	return found, nil
}

// Addresses reads HOST:PORT of a command's own flag.
func Addresses(ctx context.Context, flag, text string) ([]netip.AddrPort, error) {
	found, err := listenAt(ctx, text)
	if err != nil {
		return nil, wrong(Source{Name: flag}, "", err)
	}
	return found, nil
}
