package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/settings"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// finding is one line of a report.
type finding struct {
	Level string `json:"level"` // PASS, WARN, FAIL
	Name  string `json:"name"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"` // one command or step
}

// report is what check has found.
type report struct {
	OK       bool             `json:"ok"` // nothing fails
	Findings []finding        `json:"findings"`
	Backends []checkedBackend `json:"backends,omitempty"` // those that answered

	control string // a running guard's socket

	own    bool           // the probed back end is on this host
	trusts bool           // a back end on this host accepts any cookie
	modes  []handoff.Mode // the modes of back ends that have one
}

// checkedBackend is what check has found out about a back end.
type checkedBackend struct {
	Address string          `json:"address"`
	Profile handoff.Profile `json:"profile"`
	Handoff string          `json:"handoff,omitempty"` // that fits it
	Why     string          `json:"why,omitempty"`
}

func newCheck() *cobra.Command {
	var secretFile string
	var interfaces, backends []string
	var asJSON, allowed bool
	cmd := &cobra.Command{
		Use: "check", Short: "Find out what this kernel, an interface and a back end can do", Args: noArgs,
		Long: `check tries everything that run needs, and changes nothing. It prints PASS, WARN for what works less well
than it could, or FAIL for what does not work, each with the step that fixes it.

With --interface it attaches a program that passes everything and takes it off again, unless one is
attached. Without --interface, missing XDP support is not a failure. With --backend it asks a DTLS server for
cookies, as run does, or several that one service is to have; a server that would not be served is a failure, although run starts
without it. With --secret-file in addition it reports whether the server computes them from a secret in that file. The exit
status is 1 if something fails.`,
		Example: `  dtlsguard check --interface eth0 --backend 127.0.0.1:4434
  dtlsguard check --backend 127.0.0.1:4434 --secret-file /etc/dtlsguard.secret`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := report{OK: true, control: defaultAsk()}
			r.host()
			r.kernel(interfaces)
			if len(backends) == 0 && secretFile != "" {
				return hint.Usage(errors.New("--secret-file is for a server that may share it: give --backend"))
			}
			for _, b := range backends {
				if err := r.probe(cmd.Context(), b, secretFile); err != nil {
					return err
				}
			}
			if cmd.Context().Err() != nil {
				return errors.New("interrupted before all checks were done")
			}
			r.together(len(interfaces) > 0)
			if others, err := frontend.Unguarded(interfaces...); err == nil && len(interfaces) > 0 {
				r.unguarded(others, allowed)
			}
			if err := r.print(cmd.OutOrStdout(), asJSON); err != nil {
				return err
			}
			if !r.OK {
				return errors.New("some checks failed")
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&interfaces, "interface", nil, "where XDP would be attached; `NAME` may be given several times")
	cmd.Flags().BoolVar(&allowed, "allow-unguarded", false, "as in run: the server may be reached by interfaces without XDP, too")
	cmd.Flags().StringSliceVar(&backends, "backend", nil, "a DTLS server; `HOST:PORT` may be given several times, for the servers of one service")
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "secrets that the back end may compute its cookies from")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func (r *report) add(level bpf.Level, name, text, fix string) {
	if level == bpf.Fail {
		r.OK = false
	}
	r.Findings = append(r.Findings, finding{level.String(), name, hint.Flags(text), hint.Flags(fix)})
}

// kernel adds the findings about XDP. Without --interface none of them fails, because XDP was not asked for.
func (r *report) kernel(interfaces []string) {
	found := []bpf.Finding{capabilities()}
	permitted := found[0].Level == bpf.Pass // otherwise every probe fails for lack of privileges
	if permitted {
		found = append(found, bpf.Probe()...)
	}
	for _, iface := range interfaces {
		if permitted {
			found = append(found, bpf.ProbeInterface(iface)...)
			found = append(found, bpf.ProbeAttach(iface)...)
		}
	}
	found = append(found, shapes(found))
	for _, f := range found {
		if f.Level == bpf.Fail && len(interfaces) == 0 {
			f.Level, f.Text = bpf.Warn, f.Text+" (for XDP)"
		}
		r.add(f.Level, f.Name, f.Text, f.Hint)
	}
}

// shapes reports which shapes work: those with XDP need all findings to pass.
func shapes(found []bpf.Finding) bpf.Finding {
	const name = "shapes"
	text := "proxy, proxy with XDP, inline"
	for _, f := range found {
		if f.Level == bpf.Fail {
			return bpf.Finding{Name: name, Level: bpf.Warn, Text: "a proxy without XDP is what works here", Hint: "use " + bpf.WithoutXDP}
		}
		if f.Name == bpf.VethPeer && f.Level == bpf.Warn {
			text = "proxy, proxy with XDP, inline; workers answer, not XDP"
		}
	}
	return bpf.Finding{Name: name, Text: text}
}

// unguarded reports the other interfaces through which inline servers can be reached past XDP, which is unsafe for a server that accepts any cookie.
func (r *report) unguarded(others []string, allowed bool) {
	if len(others) == 0 {
		return
	}
	level, text := bpf.Warn, "clients can also arrive on "+strings.Join(others, ", ")+" and reach inline servers unchecked"
	if r.trusts && !allowed {
		level, text = bpf.Fail, text+"; the server takes any cookie, so protected inline, without --allow-unguarded, it keeps run from starting (--handoff trust) or from being ready (auto)"
	}
	r.add(level, "other interfaces", text, frontend.UnguardedHint)
}

// ownAddress reports whether clients can reach a at this host: a server there may be meant to be protected inline.
func ownAddress(a netip.Addr) bool {
	if a.IsLoopback() {
		return false
	}
	all, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(all, func(have net.Addr) bool {
		p, err := netip.ParsePrefix(have.String())
		return err == nil && p.Addr().WithZone("").Unmap() == a.WithZone("").Unmap()
	})
}

// together reports who would answer the ClientHellos of one service with all of the back ends.
func (r *report) together(xdp bool) {
	if !xdp || len(r.modes) < 2 {
		return
	}
	if why := frontend.WhyWorkers(r.modes); why != "" {
		r.add(bpf.Warn, "several back ends", "in one service, workers would answer ClientHellos, not XDP:  "+why, "")
		return
	}
	r.add(bpf.Pass, "several back ends", "in one service, XDP can answer", "")
}

// probe probes a back end. Errors are mistakes in usage.
func (r *report) probe(ctx context.Context, backend, secretFile string) error {
	addrs, err := settings.Addresses(ctx, "--backend", backend)
	if settings.Unresolved(err) {
		r.add(bpf.Fail, "back end "+backend, err.Error()+runWaits, hint.Of(err))
		return nil
	}
	if err != nil {
		return err
	}
	a := addrs[0]
	var shared *cookie.Keyring
	if secretFile != "" {
		list, err := readSecrets(secretFile)
		if err == nil {
			shared, err = cookie.Shared(list)
		}
		if err != nil {
			return err
		}
	}
	r.own = ownAddress(a.Addr())
	if pid, b := guardOf(ctx, r.control, a); b != nil && r.asGuardKnows(pid, b, shared != nil) {
		return nil
	}
	t, kind, why, err := handoff.Probe(ctx, a, shared)
	r.backend(a.String(), t, kind, why, err)
	if shared != nil && t.AsksCookie && t.Native == nil {
		r.add(bpf.Warn, "native", "no mode computes the server's cookies from a secret of "+secretFile+" (fingerprint of the first: "+shared.Current().Fingerprint()+")",
			"give the server the 32 bytes of the first line as its key")
	}
	return nil
}

// runWaits is the consequence of an unusable back end for run.
const runWaits = ": run would start, and serve nobody"

// backend adds the findings about a server.
func (r *report) backend(addr string, t handoff.Profile, kind handoff.Mode, why string, err error) {
	name := "back end " + addr
	var misfit *handoff.Misfit
	switch {
	case errors.As(err, &misfit):
		r.add(bpf.Fail, name, handoff.ErrNoMode.Error()+": "+misfit.Reason+runWaits, hint.Of(err))
	case err != nil:
		r.add(bpf.Fail, name, err.Error()+runWaits, hint.Of(err))
		return
	default:
		r.modes = append(r.modes, kind)
		r.add(bpf.Pass, name, fmt.Sprintf("--handoff %v: %s", kind, why), "")
	}
	for _, l := range t.Lines() {
		r.add(bpf.Pass, l[0], l[1], "")
	}
	b := checkedBackend{Address: addr, Profile: t, Why: why}
	if err == nil {
		b.Handoff = kind.String()
	}
	r.Backends = append(r.Backends, b)
	r.trusts = r.trusts || r.own && t.Trusts
}

func (r *report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.Findings {
		line := f.Text
		if f.Hint != "" {
			line += "; hint: " + f.Hint
		}
		fmt.Fprintf(tab, "%s\t%s\t%s\n", f.Level, f.Name, line)
	}
	return tab.Flush()
}
