package events

import "log/slog"

// Kind is what an event is about.
type Kind uint8

// The kinds.
const (
	AttackStarted Kind = iota
	AttackContinues
	AttackEnded
	LimitReached
	LimitFree
	BackendDown
	BackendUp
	SecretRotated
	SecretFailed
	XDPAttached
	XDPLost
	Reloaded
	ReloadFailed
	KindLen
)

// kind describes a Kind.
type kind struct {
	name string
	// message and level of its line in the log; "": the emitter logs it
	message string
	level   slog.Level
	doc     string
	details []string
}

// attackDetails are common to the three kinds.
var attackDetails = []string{"rate", "normal", "threshold", "answered", "dropped"}

var kinds = [KindLen]kind{
	AttackStarted: {"attack-started", "attack started", slog.LevelWarn,
		"more unverified datagrams per second than are usual, or than `--attack-rate`, for 3 s", attackDetails},
	AttackContinues: {"attack-continues", "attack continues", slog.LevelWarn, "every minute meanwhile", append(attackDetails, "for", "peak", "prefixes")},
	AttackEnded: {"attack-ended", "attack ended", slog.LevelWarn,
		"below half of that rate for `--attack-quiet`", append(attackDetails, "for", "peak", "total", "prefixes")},
	LimitReached: {"limit-reached", "limit of flows reached", slog.LevelWarn,
		"clients get no flow, or take an old one's place, for want of what `limit` names", []string{"limit", "clients"}},
	LimitFree:     {"limit-free", "limit of flows no longer reached", slog.LevelInfo, "a minute without such clients", []string{"limit", "clients"}},
	BackendDown:   {"backend-down", "", slog.LevelError, "a server does not answer, or cannot be used", []string{"backend", "error"}},
	BackendUp:     {"backend-up", "", slog.LevelInfo, "it answers, again or for the first time", []string{"backend"}},
	SecretRotated: {"secret-rotated", "", slog.LevelInfo, "another cookie secret is in force", []string{"source", "key_id", "fingerprint"}},
	SecretFailed:  {"secret-failed", "", slog.LevelError, "a new secret was refused; the old one stays", []string{"source", "error"}},
	XDPAttached:   {"xdp-attached", "", slog.LevelInfo, "the programs are in force, at the start or again", []string{"interface", "mode"}},
	XDPLost:       {"xdp-lost", "", slog.LevelError, "they are not: what is protected inline stands open", []string{"interface", "error"}},
	Reloaded:      {"reloaded", "", slog.LevelInfo, "the configuration was read again", []string{"changes"}},
	ReloadFailed:  {"reload-failed", "", slog.LevelError, "it was refused; what was in force stays", []string{"error"}},
}

// String is the kind's name in JSON, in metrics and for commands.
func (k Kind) String() string { return kinds[k].name }

// Doc is what the kind means, and which details it has.
func (k Kind) Doc() (meaning string, details []string) { return kinds[k].doc, kinds[k].details }
