package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// sample is a snapshot of a guard's counters.
type sample struct {
	frontend.Status
	at   time.Time
	cpus []cpuTimes
}

// cpuTimes are a CPU's ticks since boot.
type cpuTimes struct{ busy, softirq, total uint64 }

// readCPUs reads /proc/stat; XDP and the sockets' receive side run as softirq, so that column is the flood's.
func readCPUs() (cpus []cpuTimes) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 9 || !strings.HasPrefix(f[0], "cpu") || f[0] == "cpu" {
			continue
		}
		var t [8]uint64 // user nice system idle iowait irq softirq steal (proc_stat(5))
		for i := range t {
			_, _ = fmt.Sscan(f[i+1], &t[i]) // what is not a number counts as 0
		}
		c := cpuTimes{softirq: t[6]}
		for i, v := range t {
			c.total += v
			if i != 3 && i != 4 {
				c.busy += v
			}
		}
		cpus = append(cpus, c)
	}
	return cpus
}

// draw writes the difference between two samples as a frame.
func draw(out io.Writer, was, now *sample, h *history) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	defer w.Flush()
	took := now.at.Sub(was.at).Seconds()
	drawState(w, was, now, took)
	h.draw(w)
	for i := range now.Services {
		if v := &now.Services[i]; len(v.Prefixes) > 0 {
			fmt.Fprintf(w, "from\t%s\t%v\n", v.Name, v.Prefixes)
		}
	}
	w.Flush() // what follows has columns of its own
	drawCounters(w, was, now, took)
}

// drawState writes the state of the guard, its flows and its CPU time.
func drawState(w io.Writer, was, now *sample, took float64) {
	state := "ready"
	if !now.Ready {
		state = "NOT READY: " + now.NotReady
	}
	fmt.Fprintf(w, "dtlsguard  %s  up %v", state, seconds(now.UptimeSeconds))
	for _, x := range now.Secrets {
		fmt.Fprintf(w, "  secret key ID %d, %v old%s", x.KeyID, seconds(x.AgeSeconds), whose(now.Secrets, &x))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "flows  %d", now.Flows)
	if now.XDP != nil {
		fmt.Fprintf(w, ", %d verified in XDP", now.XDP.Flows)
		for _, i := range now.XDP.Interfaces {
			fmt.Fprintf(w, " (%s)", interfaceLine(&i))
		}
	}
	fmt.Fprintf(w, "\nCPU  process %.0f%%", 100*(now.CPUSeconds-was.CPUSeconds)/took)
	for i := range min(len(was.cpus), len(now.cpus)) {
		a, b := was.cpus[i], now.cpus[i]
		if total := float64(b.total - a.total); total > 0 {
			fmt.Fprintf(w, "  cpu%d %.0f%% (softirq %.0f%%)", i, 100*float64(b.busy-a.busy)/total, 100*float64(b.softirq-a.softirq)/total)
		}
	}
	fmt.Fprint(w, "\n\n")
}

// drawCounters writes a table of all counters, per second and in total.
func drawCounters(w io.Writer, was, now *sample, took float64) {
	fmt.Fprintf(w, "\n\tper second\ttotal\n")
	row := func(name string, was, now uint64) {
		fmt.Fprintf(w, "%s\t%.0f\t%d\n", name, float64(now-was)/took, now)
	}
	table := func(prefix string, was, now map[string]uint64) {
		for _, k := range slices.Sorted(maps.Keys(now)) {
			row(prefix+" "+k, was[k], now[k])
		}
	}
	if now.XDP != nil {
		old := was.XDP
		if old == nil {
			old = &frontend.XDPStatus{}
		}
		for _, service := range slices.Sorted(maps.Keys(now.XDP.Services)) {
			table(service, old.Services[service], now.XDP.Services[service])
		}
		table("cookie", old.Cookies, now.XDP.Cookies)
		table("to workers", old.Ingress, now.XDP.Ingress)
		table("egress", old.Egress, now.XDP.Egress)
	}
	for i := range now.Services {
		v, old := &now.Services[i], frontend.ServiceStatus{}
		for _, o := range was.Services {
			if o.Listen == v.Listen {
				old = o
			}
		}
		table(v.Name+" workers", old.Clients, v.Clients)
		table(v.Name+" handshakes", old.Handshakes, v.Handshakes)
	}
	row("received by workers", was.Received, now.Received)
	row("lost to full buffers", was.Overruns, now.Overruns)
	for _, stage := range stages {
		table(stage, was.Packets[stage], now.Packets[stage])
	}
}
