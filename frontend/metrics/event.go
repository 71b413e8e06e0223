// Package metrics counts what happens to datagrams and shows it to Prometheus.
//
// A datagram can be counted in every stage, but within a stage exactly once: for the client stage, the sum of
// all outcomes is the number of datagrams received. A worker counts into its own [Counters] without atomic
// operations and publishes once per batch; readers see the published values.
package metrics

import (
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// Event is one outcome of one stage.
type Event uint8

// The stages and their outcomes.
const (
	// Client stage: a datagram came from a client.
	Answered         Event = iota // a ClientHello without a cookie, to be answered with a HelloVerifyRequest
	WrongCookie                   // a ClientHello with another client's, an expired or a made-up cookie: answered, too
	Verified                      // a ClientHello with a good cookie that opens a flow
	Relayed                       // belongs to a flow
	NoCookie                      // a ClientHello that no cookie is known for at the moment (harvest)
	SourceRate                    // a verified ClientHello over its source's rate
	ServiceRate                   // a verified ClientHello over the service's rate
	PortTaken                     // a verified ClientHello whose upstream socket another client took since
	NoUpstream                    // a verified ClientHello for which no upstream socket could be opened
	TooShort                      // a ClientHello shorter than its answer
	Retried                       // a ClientHello of DTLS 1.3 without a cookie, to be answered with a HelloRetryRequest
	WasReset                      // a good cookie proved the address: an alert has the client begin again (reset)
	ResetBefore                   // ... that had its alert already
	AdmittedKnown                 // a ClientHello without a cookie, from an address that is known
	AdmittedUnproved              // ... from one that is not, within the rate
	Denied                        // from an address on the deny list
	HelloLimit                    // a ClientHello that nothing proves, over the rate (limit)
	NoRetry                       // a ClientHello of DTLS 1.3 that cannot be answered
	BadRetry                      // a ClientHello of DTLS 1.3 with a wrong cookie
	droppedBase                   // dropped for a reason of package hello: droppedBase + reason
)

// Events of the answer, forward, server, return and flow stages.
const (
	// refusedBase: a verified ClientHello that gets no flow, refusedBase + reason of package relay.
	refusedBase = droppedBase + Event(hello.ReasonLen)

	// AnswerSent is of the answer stage: a HelloVerifyRequest goes out.
	AnswerSent Event = iota + refusedBase + Event(relay.ReasonLen) - 1
	// AnswerFailed is of an answer that the kernel did not take.
	AnswerFailed

	// ForwardSent is of the forward stage: a client's datagram goes to the server.
	ForwardSent
	// ForwardFailed is of such a datagram that the kernel did not take.
	ForwardFailed

	// Returned is of the server stage: a datagram came from the server, or news of it.
	Returned      // to be sent to the client
	ReturnedLarge // the same, and larger than what an Ethernet carries in one piece
	ServerVerify  // a HelloVerifyRequest to a client that has returned its cookie: swallowed
	ServerRefused // an ICMP message says that nothing listens there

	// ReturnSent is of the return stage: a server's datagram goes to the client.
	ReturnSent
	// ReturnFailed is of such a datagram that the kernel did not take.
	ReturnFailed

	// Started is of the handshake stage: a verified client's handshake with the server begins, and later ends in one way. It
	// counts flows, not datagrams.
	Started
	Finished // the server has accepted the client
	Failed   // refused, replaced by the client's next one, or ended for a newcomer
	TimedOut

	// Replaced is of the flow stage: a flow ends. It counts flows, not datagrams.
	Replaced  // by the client's next handshake
	Refused   // by a HelloVerifyRequest: the server does not take the cookie
	Killed    // by the operator
	Stopped   // with its service, or the guard
	endedBase // when its time is over: endedBase + expiry of package relay
)

const (
	evictedBase = endedBase + Event(relay.ExpiryLen) // for a newcomer: evictedBase + reason of package relay

	// EventLen is the number of events.
	EventLen = evictedBase + Event(relay.ReasonLen)
)

// NoFlow is the client-stage event of a verified ClientHello that is refused a flow for reason r.
func NoFlow(r relay.Reason) Event { return refusedBase + Event(r) }

// Ended is the flow-stage event of a flow whose time is over.
func Ended(e relay.Expiry) Event { return endedBase + Event(e) }

// Evicted is the flow-stage event of a flow that ends for a newcomer that would else be refused for reason r.
func Evicted(r relay.Reason) Event { return evictedBase + Event(r) }

// Dropped is the client-stage event of a datagram dropped for reason r, which is not hello.OK.
func Dropped(r hello.Reason) Event { return droppedBase + Event(r) }

// Label is an event's place in dtlsguard_packets_total.
type Label struct{ Stage, Outcome, Reason string }

// Stages of events that count flows: dtlsguard_handshakes_total and dtlsguard_flows_ended_total.
const (
	HandshakeStage = "handshake"
	FlowStage      = "flow"
)

// Labels are the labels of all events; those without a stage never happen.
var Labels = func() (l [EventLen]Label) {
	l[Answered] = Label{"client", "answered", ""}
	l[WrongCookie] = Label{"client", "answered", "wrong-cookie"}
	l[Retried] = Label{"client", "answered", "hello-retry-request"}
	l[WasReset] = Label{"client", "answered", "reset"}
	l[AdmittedKnown] = Label{"address", "known", ""}
	l[AdmittedUnproved] = Label{"address", "unproved", ""}
	l[Verified] = Label{"client", "verified", ""}
	l[Relayed] = Label{"client", "relayed", ""}
	for e, reason := range map[Event]string{
		NoCookie: "no-cookie-known", SourceRate: "source-rate", ServiceRate: "service-rate",
		PortTaken: "port-taken", NoUpstream: "no-upstream", TooShort: "too-short",
		Denied: "denied", HelloLimit: "hello-limit", NoRetry: "no-retry", BadRetry: "wrong-cookie", ResetBefore: "reset-before",
	} {
		l[e] = Label{"client", "dropped", reason}
	}
	for r := hello.OK + 1; r < hello.ReasonLen; r++ {
		l[Dropped(r)] = Label{"client", "dropped", r.String()}
	}
	for r := relay.Accepted + 1; r < relay.ReasonLen; r++ {
		l[NoFlow(r)] = Label{"client", "dropped", r.String()}
		if r.Full() {
			l[Evicted(r)] = Label{FlowStage, "evicted", r.String()}
		}
	}
	for e := range relay.ExpiryLen {
		l[Ended(e)] = Label{FlowStage, "expired", e.String()}
	}
	l[Started] = Label{HandshakeStage, "started", ""}
	l[Finished] = Label{HandshakeStage, "established", ""}
	l[Failed] = Label{HandshakeStage, "failed", ""}
	l[TimedOut] = Label{HandshakeStage, "timed-out", ""}
	l[Replaced] = Label{FlowStage, "replaced", ""}
	l[Refused] = Label{FlowStage, "refused", ""}
	l[Killed] = Label{FlowStage, "killed", ""}
	l[Stopped] = Label{FlowStage, "stopped", ""}
	l[AnswerSent] = Label{"answer", "sent", ""}
	l[AnswerFailed] = Label{"answer", "failed", ""}
	l[ForwardSent] = Label{"forward", "sent", ""}
	l[ForwardFailed] = Label{"forward", "failed", ""}
	l[Returned] = Label{"server", "returned", ""}
	l[ReturnedLarge] = Label{"server", "returned", "fragmented"}
	l[ServerVerify] = Label{"server", "dropped", "hello-verify-request"}
	l[ServerRefused] = Label{"server", "refused", ""}
	l[ReturnSent] = Label{"return", "sent", ""}
	l[ReturnFailed] = Label{"return", "failed", ""}
	return l
}()
