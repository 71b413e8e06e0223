package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// guardOf returns what the guard behind a control socket knows of the server at a, and the guard's process ID; nil if there is no
// such guard, or it does not have that back end.
func guardOf(ctx context.Context, control string, a netip.AddrPort) (pid int, found *handoff.Status) {
	st, err := askStatus(ctx, control)
	if err != nil {
		return 0, nil
	}
	for _, v := range st.Services {
		for i := range v.Backends {
			if v.Backends[i].Server == a.String() {
				return st.PID, &v.Backends[i]
			}
		}
	}
	return 0, nil
}

// asGuardKnows adds what a running guard knows of its back end b, and reports whether that is enough; it is not if
// secrets must be tried. Probes of the guard and of check at the same server would disturb each other: some servers serve one
// client at a time.
func (r *report) asGuardKnows(pid int, b *handoff.Status, secrets bool) bool {
	mode, err := handoff.ParseMode(b.Handoff)
	if err != nil || b.Profile == nil || !b.Up || secrets {
		r.add(bpf.Warn, "running guard", fmt.Sprintf("the guard with process ID %d asks %s as well: findings may be wrong", pid, b.Server), "stop the guard, and check again")
		return false
	}
	r.add(bpf.Warn, "running guard", fmt.Sprintf("the guard with process ID %d serves %s: its findings are shown, and the server is not probed again", pid, b.Server),
		"stop the guard to probe the server")
	r.backend(b.Server, *b.Profile, mode, b.Why, nil)
	return true
}
