package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// The words that XDP's flags take.
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

// word looks a flag's value up.
func word[V any](flag, value string, words map[string]V) (V, error) {
	v, ok := words[value]
	if !ok {
		return v, hint.Usagef("--%s %q: want %s", flag, value, strings.Join(slices.Sorted(maps.Keys(words)), ", "))
	}
	return v, nil
}

// xdpFlags do nothing without XDP. Who gives one believes that something is enforced, or that nothing is.
var xdpFlags = []string{"xdp-mode", "xdp-chain", "answer", "unverified", "unverified-rate", "pass", "answer-rate", "on-daemon-loss", "keep-attached", "keep-neighbours", "pin", "monitor"}

// refuseWithoutXDP refuses a flag that would do nothing.
func refuseWithoutXDP(flags *pflag.FlagSet) error {
	if flags.Changed("interface") {
		return nil
	}
	for _, name := range xdpFlags {
		if flags.Changed(name) {
			return hint.Usagef("--%s is done by XDP: give --interface, the one that clients come in by", name)
		}
	}
	return nil
}

// completeXDP turns the texts of XDP's flags into values.
func (f *runFlags) completeXDP() (err error) {
	x, o := &f.config.XDP, &f.config.Settings
	if f.unverified == "" {
		f.unverified = "drop"
		if len(f.protect) > 0 {
			f.unverified = "limit" // a server that was there before has clients that no guard has verified
		}
	}
	if x.Pin == "off" {
		x.Pin = ""
	}
	if x.KeepAttached && x.Pin == "" {
		return hint.Usagef("--keep-attached needs a --pin directory")
	}
	if x.Chain != "" && (x.KeepAttached || f.xdpMode != "auto") {
		return hint.Usagef("--xdp-chain leaves the way of attaching to the root program, and nothing of it is kept: leave --xdp-mode and --keep-attached out")
	}
	if x.Mode, err = word("xdp-mode", f.xdpMode, xdpModes); err != nil {
		return err
	}
	if o.Answer, err = word("answer", f.answer, answers); err != nil {
		return err
	}
	if o.Unverified, err = word("unverified", f.unverified, policies); err != nil {
		return err
	}
	if x.PassWhenLost, err = word("on-daemon-loss", f.onLoss, losses); err != nil {
		return err
	}
	for _, p := range f.pass {
		class, err := word("pass", p, classes)
		if err != nil {
			return err
		}
		o.Pass |= class
	}
	if o.Unverified == bpf.UnverifiedLimit && f.unverifiedRate <= 0 {
		return hint.Usagef("--unverified-rate %v: want a rate above 0, or --unverified drop", f.unverifiedRate)
	}
	// A tenth of a second's worth at once: packets come in bursts of a round trip.
	o.UnverifiedRate = bpf.Rate{PerSecond: f.unverifiedRate, Burst: uint32(max(1, f.unverifiedRate/10))}
	x.AnswerRate = bpf.Rate{PerSecond: f.answerRate, Burst: uint32(max(1, f.answerRate/10))}
	return nil
}
