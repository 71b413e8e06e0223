package attacks

import "testing"

// A client that gets the pool entry of an abandoned handshake is served at once: the server has forgotten that handshake.
func TestAbandonedHandshakesAreForgotten(t *testing.T) {
	t.Parallel()
	const pool = 4
	b := &mixedRun{mixture: &mixture{pool: "4", guarded: true, flags: "--handshake-timeout 3s"}, t: t}
	b.open()
	for i := range pool {
		if !b.abandon(source(i)) {
			t.Fatal("a client that proves its address is not answered")
		}
	}
	eventually(t, "all are seen", func() bool { return b.guard.packets("verified")+b.guard.packets("dropped") >= pool })
	eventually(t, "the flows have ended", func() bool {
		return b.guard.metric(`dtlsguard_flows{service="`+b.to.String()+`",state="half-open"}`) == "0"
	})
	for i := range 2 * pool {
		s, err := connectDTLS(source(100+i), b.to, patience)
		if err != nil {
			t.Errorf("client %d: %v", i, err)
			continue
		}
		s.end()
	}
}
