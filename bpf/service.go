package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Rate is a token bucket. The zero Rate means no limit.
type Rate struct {
	PerSecond float64
	Burst     uint32 // what a full bucket lets through at once; 0 stands for 1
}

// gcra gives a token's cost and a full bucket's worth in ns.
func (r Rate) gcra() (cost, burst uint64) {
	if r.PerSecond <= 0 {
		return 0, 0
	}
	cost = max(1, uint64(float64(time.Second)/r.PerSecond))
	return cost, cost * uint64(max(1, r.Burst))
}

// ServiceKey names a service.
type ServiceKey struct {
	// Address of the server. 0.0.0.0 and :: stand for all of their family, the zero Addr for all of both. A
	// packet belongs to the service with its very address, if there is one, else to the wildcard.
	Address netip.Addr
	Port    uint16
}

// String is as in a listening address.
func (k ServiceKey) String() string {
	if !k.Address.IsValid() {
		return fmt.Sprintf("*:%d", k.Port)
	}
	return netip.AddrPortFrom(k.Address, k.Port).String()
}

// Service is a protected address and port and how it is protected.
type Service struct {
	ServiceKey
	// Proxy: verified packets go to the sockets of the workers, which own the port. Else the service is
	// inline: they go to the server, and what workers answer is sent to WorkersPort.
	Proxy       bool
	WorkersPort uint16 // inline, with AnswerWorkers or AnswerAuto; no other service's
	// Assign: ClientHellos reach the workers with the service's port, where Programs.Assigns. Workers must undo AssignedType.
	Assign     bool
	Answer     Answer
	Unverified Unverified
	Format     Format
	Pool       PoolMemory // FormatHarvest
	// FlowHellos: ClientHellos with a cookie pass as soon as there is a flow, because it may be one that the programs do
	// not know: the server's own after the guard's, or one of a format that is for workers. With FormatHarvest it is
	// always so: the flow has taken its cookie's port, and a worker knows whether the client just repeats itself.
	FlowHellos bool
	Admission  Admission
	Pass       Class // let through whatever Unverified says
	Monitor    bool  // count, enforce nothing
	// Interfaces that it is guarded on, at most MaxServiceInterfaces; elsewhere its packets pass. None: all that the
	// programs are attached to.
	Interfaces []string

	SourceRate     Rate // verified ClientHellos per source prefix, /32 or /64
	ServiceRate    Rate // verified ClientHellos, all
	UnverifiedRate Rate // for UnverifiedLimit
}

// Reasons to refuse a service that callers may want to tell apart.
var (
	ErrNoService    = errors.New("no such service")
	ErrServicesFull = errors.New("services map is full")
	ErrPortTaken    = errors.New("port is taken")
)

func (s *Service) check() error {
	switch {
	case s.Port == 0:
		return errors.New("port must not be 0")
	case len(s.Interfaces) > MaxServiceInterfaces:
		return fmt.Errorf("%d interfaces, want at most %d, or none for all", len(s.Interfaces), MaxServiceInterfaces)
	case s.Answer >= AnswerLen || s.Unverified >= UnverifiedLen || s.Format >= FormatLen:
		return errors.New("unknown mode")
	case s.Address.Is4In6() || s.Address.Zone() != "":
		return errors.New("address must be plain IPv4 or IPv6, without a zone")
	case s.Format == FormatWorkers && s.Answer != AnswerWorkers:
		return errors.New("only workers know this cookie format, so they must answer")
	case s.Format == FormatHarvest && (!s.Proxy || s.Pool.number == 0):
		return errors.New("harvested cookies need a proxy and its pool")
	case s.Unverified == UnverifiedLimit && s.UnverifiedRate.PerSecond <= 0:
		return errors.New("limit for unverified packets needs a rate above 0")
	case s.Proxy && s.WorkersPort != 0:
		return errors.New("workers of a proxy listen on the service's own port")
	case !s.Proxy && s.WorkersPort == 0 && (s.Answer == AnswerWorkers || s.Answer == AnswerAuto):
		return errors.New("workers need a port to listen on")
	case s.WorkersPort == s.Port:
		return errors.New("workers need a port of their own")
	}
	return s.Admission.check(s.Format)
}

// encode is s as the programs read it.
func (s *Service) encode(id uint32) guardService {
	e := guardService{Id: id, Port: s.Port, WorkersPort: s.WorkersPort, Answer: uint8(s.Answer),
		Unverified: uint8(s.Unverified), Format: uint8(s.Format), Pass: uint32(s.Pass)}
	e.Admission = s.Admission.flags()
	e.EngageCost, e.EngageBurst = s.Admission.Rate.gcra()
	e.ShareCost, e.ShareBurst = s.Admission.Share.gcra()
	e.FirstEntry, e.Entries = s.Pool.first, s.Pool.number
	if s.Monitor {
		e.Flags |= flagMonitor
	}
	if s.Proxy {
		e.Flags |= flagProxy
	}
	if s.Assign {
		e.Flags |= flagAssign
	}
	if s.FlowHellos || s.Format == FormatHarvest {
		e.Flags |= flagHellos
	}
	if len(s.Interfaces) > 0 {
		e.Flags |= flagInterfaces
		e.Interfaces = indexes(s.Interfaces)
	}
	switch {
	case !s.Address.IsValid():
		e.Any = anyIPv4 | anyIPv6
	case s.Address == netip.IPv4Unspecified():
		e.Any = anyIPv4
	case s.Address == netip.IPv6Unspecified():
		e.Any = anyIPv6
	default:
		e.Addr = words(s.Address)
	}
	e.SourceCost, e.SourceBurst = s.SourceRate.gcra()
	e.ServiceCost, e.ServiceBurst = s.ServiceRate.gcra()
	e.UnverifiedCost, e.UnverifiedBurst = s.UnverifiedRate.gcra()
	return e
}
