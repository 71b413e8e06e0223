package bpf

// Verdict is what became of a packet at ingress. The numbers are those of enum verdict in consts.h.
type Verdict uint8

// Verdicts; see consts.h for each.
const (
	PassUnprotected Verdict = iota
	PassFlow
	PassVerified
	PassClass
	PassUnverified
	PassLimited
	PassFragment
	PassDaemonLost
	PassError
	Answered
	Steered
	DropMalformed
	DropUnverified
	DropLimited
	DropSourceRate
	DropServiceRate
	DropNoCredit
	DropAnswerOff
	DropNoCookie
	DropAnswerRate
	DropBadSource
	DropBadIP
	DropFragment
	DropFragmentedHello
	DropExtensions
	DropEncapsulated
	DropUnseen
	DropWorkersPort
	DropDaemonLost
	DropNonlinear
	Aborted

	// VerdictLen is the number of verdicts.
	VerdictLen
)

var verdictNames = [VerdictLen]string{
	"pass-unprotected", "pass-flow", "pass-verified", "pass-class", "pass-unverified", "pass-limited",
	"pass-fragment", "pass-daemon-lost", "pass-error", "answered", "steered",
	"drop-malformed", "drop-unverified", "drop-limited", "drop-source-rate", "drop-service-rate",
	"drop-no-credit", "drop-answer-off", "drop-no-cookie", "drop-answer-rate", "drop-bad-source", "drop-bad-ip", "drop-fragment",
	"drop-fragmented-hello", "drop-extensions", "drop-encapsulated", "drop-unseen", "drop-workers-port", "drop-daemon-lost", "drop-nonlinear", "aborted",
}

// String is the label used in metrics.
func (v Verdict) String() string { return name(verdictNames[:], int(v)) }

// CookieState is what the cookie of a ClientHello was.
type CookieState uint8

// Cookie states; see enum cookie_state in consts.h.
const (
	CookieNone CookieState = iota
	CookieValid
	CookieWrong
	CookieExpired
	CookieForeign

	// CookieLen is the number of cookie states.
	CookieLen
)

var cookieNames = [CookieLen]string{"none", "valid", "wrong", "expired", "foreign"}

// String is the label used in metrics.
func (c CookieState) String() string { return name(cookieNames[:], int(c)) }

// EgressOutcome is what became of a packet that a service sent.
type EgressOutcome uint8

// Egress outcomes; see enum egress in consts.h.
const (
	EgressPlain EgressOutcome = iota
	EgressLearned
	EgressEstablished
	EgressRewritten
	EgressTurned
	EgressError
	EgressFull

	// EgressLen is the number of egress outcomes.
	EgressLen
)

var egressNames = [EgressLen]string{"plain", "learned", "established", "rewritten", "turned", "error", "full"}

// String is the label used in metrics.
func (e EgressOutcome) String() string { return name(egressNames[:], int(e)) }

// SocketChoice is how a datagram found a worker's socket.
type SocketChoice uint8

// Socket choices; see enum socket in consts.h.
const (
	SocketSelected SocketChoice = iota
	SocketDefault

	// SocketLen is the number of socket choices.
	SocketLen
)

var socketNames = [SocketLen]string{"selected", "default"}

// String is the label used in metrics.
func (s SocketChoice) String() string { return name(socketNames[:], int(s)) }

// reasonLen is hello.ReasonLen; this package needs no more of the Go parser.
const reasonLen = 12

func name(names []string, i int) string {
	if i >= len(names) {
		return "invalid"
	}
	return names[i]
}
