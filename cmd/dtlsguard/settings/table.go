package settings

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/attack"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/privileges"
)

// The words that settings take.
var (
	xdpModes = map[string]bpf.AttachMode{"auto": bpf.AttachAuto, "native": bpf.AttachNative, "generic": bpf.AttachGeneric}
	answers  = map[string]bpf.Answer{"auto": bpf.AnswerAuto, "workers": bpf.AnswerWorkers, "xdp": bpf.AnswerXDP}
	policies = map[string]bpf.Unverified{"drop": bpf.UnverifiedDrop, "pass": bpf.UnverifiedPass, "limit": bpf.UnverifiedLimit}
	losses   = map[string]bool{"drop": false, "pass": true}
	classes  = map[string]bpf.Class{
		"stun": bpf.ClassSTUN, "zrtp": bpf.ClassZRTP, "turn": bpf.ClassTURN, "quic": bpf.ClassQUIC, "rtp": bpf.ClassRTP,
		"capwap": bpf.ClassCAPWAP, "anyconnect": bpf.ClassAnyConnect,
	}
)

// burstOf is a tenth of a second's worth at once: packets come in bursts of a round trip.
func burstOf(rate float64) bpf.Rate {
	return bpf.Rate{PerSecond: rate, Burst: uint32(max(1, rate/10))}
}

func unlimited(rate float64) float64 {
	if rate == 0 {
		return -1
	}
	return rate
}

// Off switches a listener or a directory off.
const Off = "off"

// table is all settings, in the order of the help.
var table = []setting{
	{name: "interface", kind: list, arg: "NAME", xdp: true, doc: "attach XDP here, repeatable (none: sockets only); in a [[service]]: the interfaces that it is guarded on",
		set: func(t *target, v string) error {
			if x := &t.Config.XDP; v != "" && !slices.Contains(x.Interfaces, v) {
				x.Interfaces = append(x.Interfaces, v)
			}
			return nil
		}},
	{name: "allow-unguarded", kind: boolean, def: "false", xdp: true, doc: "with protect: start although a server that trusts the guard can be reached by interfaces without XDP",
		set: booleanOf(func(t *target) *bool { return &t.Config.XDP.AllowUnguarded })},
	{name: "xdp-mode", kind: text, def: "auto", words: keys(xdpModes), xdp: true, doc: "how XDP is attached; auto warns where the driver has no native mode",
		set: wordOf(xdpModes, func(t *target, m bpf.AttachMode) { t.Config.XDP.Mode = m })},
	{name: "xdp-chain", kind: text, arg: "MAP", xdp: true, doc: "pinned program array of a root XDP program on the interface, which calls the guard",
		set: textOf(func(t *target) *string { return &t.Config.XDP.Chain })},
	{name: "answer", kind: text, def: "auto", words: keys(answers), perService: true, xdp: true, doc: "who answers ClientHellos: workers, xdp (in the kernel), auto",
		set: wordOf(answers, func(t *target, a bpf.Answer) { t.own.Answer = a })},
	{name: "unverified", kind: text, words: keys(policies), perService: true, xdp: true, doc: "with protect: packets of unknown flows (default: limit; a proxy drops them)",
		set: wordOf(policies, func(t *target, u bpf.Unverified) { t.own.Unverified = u })},
	{name: "unverified-rate", kind: number, def: "1000", perService: true, xdp: true, doc: "packets per second of a service that unverified = limit lets through",
		set: numberOf(func(t *target, n float64) { t.own.UnverifiedRate = burstOf(n) })},
	{name: "pass", kind: list, arg: "PROTOCOL", words: keys(classes), perService: true, xdp: true, doc: "with protect: protocols that share the port and pass unguarded",
		set: wordOf(classes, func(t *target, c bpf.Class) { t.own.Pass |= c })},
	{name: "answer-rate", kind: number, def: "0", xdp: true, doc: "answers of the kernel per second and CPU, for all services, to protect the uplink (0: no limit)",
		set: numberOf(func(t *target, n float64) { t.Config.XDP.AnswerRate = burstOf(n) })},
	{name: "on-daemon-loss", kind: text, def: "drop", words: keys(losses), xdp: true, doc: "ClientHellos that nobody answers because this process died",
		set: wordOf(losses, func(t *target, pass bool) { t.Config.XDP.PassWhenLost = pass })},
	{name: "keep-attached", kind: boolean, def: "false", xdp: true, doc: "leave the programs attached after SIGTERM, for the next start (unload removes them)",
		set: booleanOf(func(t *target) *bool { return &t.Config.XDP.KeepAttached })},
	{name: "pin", kind: text, arg: "DIRECTORY", def: bpf.PinRoot, xdp: true, doc: "directory on a bpffs, in which programs and flows outlive this process (off: they do not)",
		set: func(t *target, v string) error {
			if t.Config.XDP.Pin = v; v == Off {
				t.Config.XDP.Pin = ""
			}
			return nil
		}},
	{name: "keep-neighbours", kind: boolean, def: "true", xdp: true, doc: "keep routers reachable while a flood loses their ARP replies",
		set: booleanOf(func(t *target) *bool { return &t.Config.XDP.KeepNeighbours })},
	{name: "monitor", kind: boolean, def: "false", perService: true, xdp: true, doc: "count verdicts, enforce nothing",
		set: booleanOf(func(t *target) *bool { return &t.own.Monitor })},
	{name: "handoff", kind: text, def: "auto", words: handoff.Names(), perService: true, doc: "hand-off to the server",
		set: parsed(handoff.ParseMode, func(t *target, m handoff.Mode) { t.own.Handoff = m })},
	{name: "harvest-pool", kind: integer, def: "0", perService: true, doc: "harvest: cookies to ask for; a forged cookie passes with probability 1/N (0: 65536, or what fits the server)",
		from: 0, to: 1 << 20, set: integerOf(func(t *target) *int { return &t.own.HarvestPool })},
	{name: "harvest-rate", kind: number, def: fmt.Sprint(handoff.DefaultHarvestRate), perService: true, doc: "harvest: questions per second while cookies are asked for",
		set: numberOf(func(t *target, n float64) { t.own.HarvestRate = n })},
	{name: "psk-suite", kind: text, words: handoff.SuiteNames(), perService: true, doc: "native-wolfssl: suite of all pre-shared keys of DTLS 1.3 (none: the server is asked)",
		set: parsed(handoff.ParseSuite, func(t *target, s handoff.Suite) { t.own.PSKSuite = s })},
	{name: "workers", kind: integer, def: "0", doc: "threads and sockets per service (0: one per CPU)",
		from: 0, to: 1024, set: integerOf(func(t *target) *int { return &t.Config.Workers })},
	{name: "workers-port", kind: integer, def: "0", xdp: true, doc: "with protect: reach workers by this port and the next ones, which a firewall must let in (0: by the service's)",
		from: 0, to: 1<<16 - 1, set: integerOf(func(t *target) *int { return &t.Config.WorkersPort })},
	{name: "worker-nice", kind: integer, def: strconv.Itoa(frontend.DefaultNice), doc: "priority of the workers' threads, -20 to 19; below 0 needs CAP_SYS_NICE or LimitNICE=",
		from: -20, to: 19, set: integerOf(func(t *target) *int { return &t.Config.Nice })},
	{name: "batch", kind: integer, def: strconv.Itoa(frontend.DefaultBatch), doc: "datagrams per system call",
		from: 1, to: frontend.MaxBatch, set: integerOf(func(t *target) *int { return &t.Config.Batch })},
	{name: "cookie-mac", kind: text, def: cookie.HMACSHA256.String(), doc: "the guard's own cookies: hmac-sha256 (32 bytes) or siphash (16 bytes, faster)",
		set: parsed(cookie.ParseMAC, func(t *target, m cookie.MAC) { t.Config.MAC = m })},
	{name: "cookie-impl", kind: text, def: cookie.Auto, doc: "how workers compute cookies: auto measures what this CPU has, generic runs everywhere",
		set: parsed(cookie.Select, func(t *target, p *cookie.Plan) { t.Config.Cookies = p })},
	{name: "secret-file", kind: text, arg: "FILE", perService: true, doc: "cookie secrets, 64 hex digits per line, current first, read again on change; a bare name: a credential",
		set: func(t *target, v string) error { t.own.SecretFile = credential(v); return nil }},
	{name: "rotate-every", kind: duration, def: frontend.DefaultRotateEvery.String(), perService: true, doc: "how often the guard's own secrets are replaced",
		least: frontend.MinRotateEvery, set: durationOf(func(t *target) *time.Duration { return &t.own.RotateEvery })},
	{name: "resolve-every", kind: duration, def: frontend.DefaultResolveEvery.String(), doc: "how often names of back ends are resolved",
		least: time.Second, set: durationOf(func(t *target) *time.Duration { return &t.Config.ResolveEvery })},
	{name: "max-flows", kind: integer, def: strconv.Itoa(frontend.DefaultMaxFlows), perService: true, doc: "most verified flows; a quarter may be half-open, and those go first; in a [[service]] with listen: its share",
		from: 1, to: 1 << 24, set: integerOf(func(t *target) *int {
			if t.own != &t.Config.Settings {
				return &t.own.ServiceFlows
			}
			return &t.Config.MaxFlows
		})},
	{name: "flows-per-source", kind: integer, def: strconv.Itoa(frontend.DefaultFlowsPerSource), doc: "flows of one source, /32 or /64, once half of all are used; a /24 or /48 has 8 times that (0: no limit)",
		from: 0, to: 1 << 30, set: limitOf(func(t *target) *int { return &t.Config.FlowsPerSource })},
	{name: "half-open-per-source", kind: integer, def: strconv.Itoa(frontend.DefaultHalfOpenPerSource), doc: "the same, of flows whose handshake is not finished",
		from: 0, to: 1 << 30, set: limitOf(func(t *target) *int { return &t.Config.HalfOpenPerSource })},
	{name: "handshake-timeout", kind: duration, def: frontend.DefaultHandshakeTimeout.String(), doc: "an unfinished handshake ends after this time without one of its messages",
		least: time.Second, set: durationOf(func(t *target) *time.Duration { return &t.Config.HandshakeTimeout })},
	{name: "idle-timeout", kind: duration, def: frontend.DefaultIdleTimeout.String(), perService: true, doc: "a silent flow ends after this",
		least: time.Second, set: durationOf(func(t *target) *time.Duration { return &t.own.IdleTimeout })},
	{name: "drain-timeout", kind: duration, def: frontend.DefaultDrainTimeout.String(), doc: "flows of a service that is removed, or of a guard that drains, end after this",
		least: 0, set: durationOf(func(t *target) *time.Duration { return &t.Config.DrainTimeout })},
	{name: "drain", kind: boolean, def: "false", doc: "on SIGTERM and SIGINT let no new clients in and wait for the last flow; a second signal ends all flows",
		set: booleanOf(func(t *target) *bool { return &t.Drain })},
	{name: "hello-rate", kind: number, def: fmt.Sprint(frontend.DefaultHelloRate.PerSecond), perService: true, doc: "verified ClientHellos per second from one source, /32 or /64 (0: no limit)",
		set: numberOf(func(t *target, n float64) { t.own.HelloRate.PerSecond = unlimited(n) })},
	{name: "hello-burst", kind: integer, def: strconv.Itoa(frontend.DefaultHelloRate.Burst), perService: true, doc: "ClientHellos that one source may send at once",
		from: 1, to: 1 << 30, set: integerOf(func(t *target) *int { return &t.own.HelloRate.Burst })},
	{name: "backend-hello-rate", kind: number, def: "0", perService: true, doc: "verified ClientHellos per second for one service (0: no limit)",
		set: numberOf(func(t *target, n float64) { t.own.BackendHelloRate = limit.Rate{PerSecond: n} })},
	{name: "engage", kind: text, def: "always", doc: "reset: challenge clients without a proved address always, or under load (above engage-rate)",
		set: parsed(addresses.ParseEngage, func(t *target, e addresses.Engage) { t.Config.Engage = e })},
	{name: "engage-rate", kind: number, def: strconv.Itoa(frontend.DefaultEngageRate), doc: "reset, limit: ClientHellos per second and service from addresses that are not proved, a fifth of that from one /24 or /56",
		set: positiveOf(func(t *target, n float64) { t.Config.EngageRate = n })},
	{name: "address-lifetime", kind: duration, def: frontend.DefaultAddressLifetime.String(), doc: "reset, limit: how long a proved address is known after it was last seen",
		least: time.Second, set: durationOf(func(t *target) *time.Duration { return &t.Config.AddressLifetime })},
	{name: "allow-file", kind: text, arg: "FILE", doc: "prefixes whose addresses count as proved, one per line; read again on change",
		set: textOf(func(t *target) *string { return &t.Config.AllowFile })},
	{name: "deny-file", kind: text, arg: "FILE", doc: "prefixes from which everything is dropped, one per line; read again on change",
		set: textOf(func(t *target) *string { return &t.Config.DenyFile })},
	{name: "trust-tcp", kind: list, arg: "PORT", xdp: true, doc: "TCP port of this host: an address that finishes a TCP handshake there is proved (VPN gateways); repeatable",
		set: func(t *target, v string) error {
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil || n == 0 {
				return fmt.Errorf("%q is not a TCP port", v)
			}
			t.Config.TrustTCP = append(t.Config.TrustTCP, uint16(n))
			return nil
		}},
	{name: "map-log", kind: text, arg: "FILE", doc: "a JSON line for each flow of a proxy that opens or closes; a reload (SIGHUP) reopens the file, for rotation",
		set: textOf(func(t *target) *string { return &t.Config.MapLog })},
	{name: "attack-rate", kind: number, def: "0", perService: true, doc: "unverified datagrams per second above which an attack is reported (0: ten times the usual rate, at least 1000)",
		set: numberOf(func(t *target, n float64) { t.own.AttackRate = n })},
	{name: "attack-quiet", kind: duration, def: attack.DefaultQuiet.String(), doc: "an attack has ended after this long below half of the rate that it began at",
		least: time.Second, set: durationOf(func(t *target) *time.Duration { return &t.Config.AttackQuiet })},
	{name: "receive-buffer", kind: integer, def: strconv.Itoa(frontend.DefaultReceiveBuffer), doc: "bytes of each worker's socket buffer, for either direction",
		from: 1 << 12, to: 1 << 30, set: integerOf(func(t *target) *int { return &t.Config.ReceiveBuffer })},
	{name: "freebind", kind: boolean, def: "false", doc: "serve virtual addresses that this host does not have yet (VRRP, keepalived)",
		set: booleanOf(func(t *target) *bool { return &t.Config.FreeBind })},
	{name: "metrics-listen", kind: text, arg: "ADDRESS", def: frontend.DefaultMetrics, doc: "Prometheus /metrics, /healthz, /readyz (off: none)",
		set: func(t *target, v string) error { t.Metrics = v; return checkListener(v) }},
	{name: "metrics-web-config", kind: text, arg: "FILE", doc: "TLS and users for metrics-listen: a web configuration file as Prometheus' exporters have; read again on change",
		set: func(t *target, v string) error { t.WebConfig = frontend.WebConfig(v); return nil }},
	{name: "control", kind: text, arg: "SOCKET", doc: "unix socket for status, reload and secret (off: none; default: a place of this user's)",
		set: textOf(func(t *target) *string { return &t.Control })},
	{name: "user", kind: text, doc: "user to become after the start; root: stay root (default: " + privileges.DefaultUser + ", if root starts the guard and that user exists)",
		set: textOf(func(t *target) *string { return &t.User })},
	{name: "on-event", kind: text, arg: "COMMAND", doc: "run by /bin/sh for each event, with DTLSGUARD_EVENT, DTLSGUARD_SERVICE and its details; one at a time, 10s each",
		set: textOf(func(t *target) *string { return &t.OnEvent })},
	{name: "log-format", kind: text, def: "text", words: []string{"text", "json", "journal"}, doc: "journal is text with priorities; under systemd text means journal",
		set: textOf(func(t *target) *string { return &t.LogFormat })},
	{name: "log-level", kind: text, def: "info", words: []string{"debug", "info", "warn", "error"}, doc: "lowest level that is logged",
		set: textOf(func(t *target) *string { return &t.LogLevel })},
}
