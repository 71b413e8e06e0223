// Package systemd has tests of the packages under a real systemd: installed, configured, started, reloaded, upgraded and
// purged, with clients meanwhile. systemd is the first process of namespaces of its own, on a copy of this machine that is
// thrown away: nothing outside of it changes.
package systemd
