package main

import (
	"slices"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// only lists the flags that not every engine supports, with the engines that do. Engine sendmmsg without -i uses
// sockets on loopback.
var only = []struct {
	flag    string
	engines []string
	hint    string
}{
	{"mac", []string{"xdp", "pcap", "sendmmsg -i"}, "sockets leave it to the kernel; give -i"},
	{"threads", []string{"xdp"}, "sendmmsg sends on one thread"},
	{"affinity", []string{"xdp"}, "run it under taskset"},
	{"batch", []string{"xdp", "sendmmsg", "sendmmsg -i"}, "a file has no batches"},
	{"write", []string{"pcap"}, "capture what is sent with tcpdump"},
	{"duration", []string{"xdp", "sendmmsg", "sendmmsg -i"}, "-n says how many go into a file"},
	{"json", []string{"xdp", "sendmmsg", "sendmmsg -i"}, "nothing is sent, so there is nothing to report"},
	{"sample", []string{"xdp", "sendmmsg", "sendmmsg -i"}, "nothing is sent, so nobody answers"},
	{"return", []string{"xdp", "sendmmsg", "sendmmsg -i"}, "nothing is sent, so nobody answers"},
	{"ndr", []string{"xdp", "sendmmsg", "sendmmsg -i"}, "nothing is sent, so nothing is lost"},
}

// fits refuses flags that the engine would ignore.
func (o *options) fits() error {
	engine := o.engine
	if engine == "sendmmsg" && o.target.iface != "" {
		engine += " -i"
	}
	for _, f := range only {
		if o.given(f.flag) && !slices.Contains(f.engines, engine) {
			return hint.Usagef("--%s is not for engine %s, but for %s: %s", f.flag, engine, strings.Join(f.engines, ", "), f.hint)
		}
	}
	return nil
}
