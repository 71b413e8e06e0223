package frontend

import (
	"errors"
	"testing"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// TestWhoAnswers: each row is a situation and who answers in it.
func TestWhoAnswers(t *testing.T) {
	type m = []handoff.Mode
	native, generic := bpf.AttachNative, bpf.AttachGeneric
	auto, workers, xdp := bpf.AnswerAuto, bpf.AnswerWorkers, bpf.AnswerXDP
	for name, c := range map[string]struct {
		situation
		want   division
		refuse bool
	}{
		"nobody has answered yet":           {situation{asked: auto, attached: native, workers: true}, division{bpf.FormatWorkers, workers, false, false}, false},
		"nobody has answered yet, inline":   {situation{inline: true, asked: auto, workers: true}, division{bpf.FormatWorkers, workers, true, false}, false},
		"nobody, and there are no workers":  {situation{inline: true, asked: xdp}, division{bpf.FormatV1, bpf.AnswerDrop, false, false}, false},
		"trust, native":                     {situation{modes: m{handoff.Trust}, asked: auto, attached: native, workers: true}, division{bpf.FormatV1, xdp, false, false}, false},
		"trust, answers are lost":           {situation{modes: m{handoff.Trust}, asked: auto, attached: native, lost: true, workers: true}, division{bpf.FormatV1, workers, false, false}, false},
		"trust, generic":                    {situation{modes: m{handoff.Trust}, asked: auto, attached: generic, workers: true}, division{bpf.FormatV1, auto, false, false}, false},
		"trust, workers asked for":          {situation{modes: m{handoff.Trust}, asked: workers, attached: native, workers: true}, division{bpf.FormatV1, workers, false, false}, false},
		"trust, the kernel asked for":       {situation{modes: m{handoff.Trust}, asked: xdp, attached: generic}, division{bpf.FormatV1, xdp, false, false}, false},
		"trust, another secret":             {situation{modes: m{handoff.Trust}, foreign: true, asked: auto, attached: native, workers: true}, division{bpf.FormatWorkers, workers, false, false}, false},
		"another secret, the kernel":        {situation{modes: m{handoff.Trust}, foreign: true, asked: xdp, workers: true}, division{bpf.FormatWorkers, workers, false, false}, true},
		"replay":                            {situation{modes: m{handoff.Replay}, asked: auto, attached: native}, division{bpf.FormatV1, xdp, false, false}, false},
		"reset":                             {situation{modes: m{handoff.Reset}, asked: auto, attached: native}, division{bpf.FormatV1, xdp, true, true}, false},
		"reset, SipHash":                    {situation{modes: m{handoff.Reset}, mac: cookie.SipHash, asked: auto, attached: native}, division{bpf.FormatV2, xdp, true, true}, false},
		"limit, SipHash":                    {situation{modes: m{handoff.Limit}, mac: cookie.SipHash, asked: auto, attached: native}, division{bpf.FormatV1, xdp, true, true}, false},
		"reset, another secret":             {situation{modes: m{handoff.Reset}, foreign: true, asked: auto, attached: native}, division{bpf.FormatWorkers, workers, false, false}, false},
		"reset, two servers":                {situation{modes: m{handoff.Reset, handoff.Trust}, asked: auto, attached: native}, division{bpf.FormatWorkers, workers, false, false}, false},
		"double-hvr":                        {situation{modes: m{handoff.DoubleHVR}, asked: auto, attached: native}, division{bpf.FormatV1, xdp, true, false}, false},
		"native-hmac, inline":               {situation{inline: true, modes: m{handoff.NativeHMAC}, asked: auto, attached: native}, division{bpf.FormatV1, xdp, false, false}, false},
		"native-hmac, proxy":                {situation{modes: m{handoff.NativeHMAC}, asked: auto, attached: native}, division{bpf.FormatWorkers, workers, false, false}, false},
		"native-qt, inline":                 {situation{inline: true, modes: m{handoff.NativeQt}, asked: auto, attached: native}, division{bpf.FormatQt, xdp, false, false}, false},
		"native-qt, inline, mapped":         {situation{inline: true, mapped: true, modes: m{handoff.NativeQt}, asked: auto}, division{bpf.FormatWorkers, workers, true, false}, false},
		"native-qt, inline, mapped, kernel": {situation{inline: true, mapped: true, modes: m{handoff.NativeQt}, asked: xdp}, division{bpf.FormatV1, bpf.AnswerDrop, false, false}, true},
		"harvest":                           {situation{modes: m{handoff.Harvest}, sharedPool: true, cookieLength: 32, asked: auto, attached: native}, division{bpf.FormatHarvest, xdp, false, false}, false},
		"harvest, long cookies":             {situation{modes: m{handoff.Harvest}, sharedPool: true, cookieLength: 40, asked: auto, attached: native}, division{bpf.FormatWorkers, workers, false, false}, false},
		"harvest, pool not shared":          {situation{modes: m{handoff.Harvest}, cookieLength: 20, asked: auto, attached: native}, division{bpf.FormatWorkers, workers, false, false}, false},
		"two servers, own cookies":          {situation{modes: m{handoff.Trust, handoff.Replay}, asked: auto, attached: native}, division{bpf.FormatV1, xdp, false, false}, false},
		"two servers, one harvested":        {situation{modes: m{handoff.Trust, handoff.Harvest}, asked: auto, attached: native}, division{bpf.FormatWorkers, workers, false, false}, false},
	} {
		got, err := divide(c.situation)
		if c.refuse {
			if !errors.Is(err, hint.ErrUsage) || got != c.want {
				t.Errorf("%s: %+v, %v, want a refusal and %+v", name, got, err, c.want)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}
