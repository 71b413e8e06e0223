// Package systemd tests the packages under a real systemd: they are installed, configured, started, reloaded, upgraded and
// purged, with clients connected. systemd is the first process of its own namespaces, on a copy of this machine that is
// removed afterwards: nothing outside it changes.
package systemd
