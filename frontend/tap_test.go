package frontend

import (
	"slices"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bpf"
)

// What a worker does with a datagram is told with it as it came, and application data is not.
func TestTapSamples(t *testing.T) {
	w, client := bareWorker(t, 64, modes["trust"])
	w.service.name, w.service.listen = "test", client.Local()
	flowOf(t, w, client)
	r := &recording{options: CaptureOptions{Rate: 1e5}, queue: make(chan sample, 8)}
	w.tap.Store(newTap(r))
	question := hellotest.New().Bytes()
	for _, c := range []struct {
		datagram     []byte
		want         outcome
		what         string
		shown, whole int
	}{
		{question, outcome{answered, ""}, "", len(question), len(question)},
		{record(23, 1), outcome{relayed, ""}, "encrypted", 13, 25},
		{[]byte("junk"), outcome{relayed, ""}, "not-dtls", 0, 4},
		{[]byte{22, 0xfe, 0xfd}, outcome{dropped, "truncated"}, "truncated", 3, 3},
	} {
		load(t, w, client, c.datagram, 1)
		w.classify()
		w.dispatch()
		w.send()
		select {
		case x := <-r.queue:
			const head = 28
			if x.outcome != c.want || x.datagram != c.what || x.service != "test" || x.n != head+c.shown || x.length != head+c.whole {
				t.Errorf("%x: %+v, %q, %d of %d bytes; want %+v, %q, %d of %d", c.datagram, x.outcome, x.datagram, x.n-head, x.length-head, c.want, c.what, c.shown, c.whole)
			}
			if !slices.Equal(x.bytes[head:x.n], c.datagram[:c.shown]) {
				t.Errorf("%x: the sample is %x", c.datagram, x.bytes[head:x.n])
			}
		default:
			t.Errorf("%x: no sample", c.datagram)
		}
	}
}

// Sampling is bounded by its rate, and neither it nor what is not sampled allocates.
func TestTapIsBounded(t *testing.T) {
	w, client := bareWorker(t, 64, modes["trust"])
	w.service.listen = client.Local()
	r := &recording{options: CaptureOptions{Rate: 10, CaptureFilter: CaptureFilter{Verdicts: []string{answered}}}, queue: make(chan sample, 64)}
	w.tap.Store(newTap(r))
	load(t, w, client, hellotest.New().Bytes(), 32)
	w.classify()
	w.dispatch()
	w.send()
	if n := len(r.queue); n != 1 { // a tenth of a second's worth
		t.Errorf("%d samples of 32, want 1", n)
	}
	r.bucket.Store(0)
	if n := testing.AllocsPerRun(20, func() { w.classify(); w.dispatch(); w.answers.Reset() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCaptureOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]CaptureOptions{
		`no verdict "lost"`: {Rate: 1, CaptureFilter: CaptureFilter{Verdicts: []string{"lost"}}},
		`no reason "bad"`:   {Rate: 1, CaptureFilter: CaptureFilter{Reasons: []string{"bad"}}},
		"rate 0":            {},
		"rate 1e+06":        {Rate: 1e6},
		"":                  {Rate: 1, CaptureFilter: CaptureFilter{Verdicts: captureVerdicts, Reasons: []string{"unverified", "truncated", "wrong-cookie"}}},
	} {
		if err := o.check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
		if got, err := captureOptions(o.Query()); err != nil || got.Rate != o.Rate || !slices.Equal(got.Reasons, o.Reasons) {
			t.Errorf("%+v comes over as %+v, %v", o, got, err)
		}
	}
}

// Other protocols' data is hidden in a capture if it reached the server: passed, or whatever the verdict in monitor mode.
func TestCaptureHidesWhatMonitorModePasses(t *testing.T) {
	const head = 42
	frame := append(make([]byte, head), "secret"...)
	for _, c := range []struct {
		verdict          string
		monitor, payload bool
		want             int
	}{
		{passed, false, false, head}, {dropped, true, false, head}, {dropped, false, false, len(frame)}, {dropped, true, true, len(frame)},
	} {
		r := recording{options: CaptureOptions{Payload: c.payload}}
		k := bpf.Sample{Frame: frame, UDP: head - 8, Monitor: c.monitor}
		if got := r.shown(&k, outcome{verdict: c.verdict}); len(got) != c.want {
			t.Errorf("%+v: %d bytes are shown", c, len(got))
		}
	}
}
