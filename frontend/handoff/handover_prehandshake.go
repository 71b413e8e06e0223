package handoff

import (
	"encoding/json"
	"fmt"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// preHandshakeState is a flow's pre-handshake as another process can take it over.
type preHandshakeState struct {
	Replaying *replayingState `json:"replaying,omitempty"`
	Doubling  *doublingState  `json:"doubling,omitempty"`
	Passing   bool            `json:"passing,omitempty"`
}

type replayingState struct {
	Asked          int
	Begun, Passed  bool
	Held           [][]byte
	Client, Server uint64
}

type doublingState struct {
	Sequence hello.Sequence
	Guards   []byte
	Answered bool
}

// ExportPreHandshake is the state of a pre-handshake; nil if there is none.
func ExportPreHandshake(p relay.PreHandshake) (json.RawMessage, error) {
	var s preHandshakeState
	switch p := p.(type) {
	case nil:
		return nil, nil
	case *replaying:
		s.Replaying = &replayingState{p.asked, p.begun, p.passed, p.held, p.client, p.server}
	case *doubling:
		s.Doubling = &doublingState{p.sequence, p.guards, p.answered}
	case passing:
		s.Passing = true
	default:
		return nil, fmt.Errorf("a pre-handshake of type %T cannot be handed over", p)
	}
	return json.Marshal(s)
}

// AdoptPreHandshake is the pre-handshake of a state.
func AdoptPreHandshake(b json.RawMessage) (relay.PreHandshake, error) {
	var s preHandshakeState
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	switch {
	case s.Replaying != nil:
		r := &replaying{asked: s.Replaying.Asked, begun: s.Replaying.Begun, passed: s.Replaying.Passed, client: s.Replaying.Client, server: s.Replaying.Server}
		for _, d := range s.Replaying.Held {
			r.hold(d)
		}
		return r, nil
	case s.Doubling != nil:
		return &doubling{s.Doubling.Sequence, s.Doubling.Guards, s.Doubling.Answered}, nil
	case s.Passing:
		return passing{}, nil
	}
	return nil, errState
}
