package frontend

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// Flow is one flow as an operator sees it. Inline, the kernel knows only the client, the state and the idle time; the other
// fields are omitted.
type Flow struct {
	Service  string         `json:"service"`
	Client   netip.AddrPort `json:"client"`
	Upstream netip.AddrPort `json:"upstream,omitzero"` // the guard's address and port that the server sees; not inline: there it sees the client's
	Server   netip.AddrPort `json:"server"`
	State    string         `json:"state"`
	Age      *float64       `json:"age_seconds,omitempty"`
	Idle     float64        `json:"idle_seconds"` // since the last datagram; while half-open, the last of the handshake
	ToServer *FlowTraffic   `json:"to_server,omitempty"`
	ToClient *FlowTraffic   `json:"to_client,omitempty"`
}

// FlowTraffic is what a flow has carried in one direction.
type FlowTraffic struct {
	Packets uint64 `json:"packets"` // datagrams
	Bytes   uint64 `json:"bytes"`   // of their payload
}

// FlowFilter selects flows.
type FlowFilter struct {
	Service string       // name or address; "": all
	Clients netip.Prefix // the zero value: all
	Port    uint16       // of the client; 0: all
}

// ParseClients sets the clients: ADDRESS, ADDRESS:PORT or ADDRESS/LENGTH.
func (f *FlowFilter) ParseClients(s string) (err error) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		f.Clients, f.Port = netip.PrefixFrom(a.Addr().Unmap(), a.Addr().Unmap().BitLen()), a.Port()
		return nil
	}
	f.Clients, err = addresses.ParsePrefix(s)
	return err
}

// client reports whether the filter selects a client.
func (f *FlowFilter) client(a netip.AddrPort) bool {
	return (!f.Clients.IsValid() || f.Clients.Contains(a.Addr())) && (f.Port == 0 || f.Port == a.Port())
}

// flowPage is how many flows a worker handles per request: copying them takes tens of microseconds; ending them a millisecond,
// because each has a socket to close.
const flowPage = 128

// EachFlow calls yield for each flow that f selects, until it returns an error, which EachFlow returns. Flows that open or
// close meanwhile may be missed; none is yielded twice. Workers are asked for a page at a time, so that clients do not wait.
func (s *Server) EachFlow(ctx context.Context, f FlowFilter, yield func(*Flow) error) error {
	services, err := s.named(f.Service)
	if err != nil {
		return err
	}
	for _, v := range services {
		for _, w := range v.workers {
			if err := w.eachFlow(ctx, &f, yield); err != nil && !errors.Is(err, errEnded) {
				return err
			}
		}
	}
	return s.eachKernelFlow(services, &f, yield)
}

// called reports whether a service goes by what somebody asked for: its name, its address, or :PORT of every address, as the
// configuration may have it.
func called(name string, listen netip.AddrPort, asked string) bool {
	return asked == name || asked == listen.String() || listen.Addr().IsUnspecified() && asked == fmt.Sprintf(":%d", listen.Port())
}

// named returns the services of a name or an address; all for "".
func (s *Server) named(name string) ([]*service, error) {
	all := s.list()
	if name == "" {
		return all, nil
	}
	var found []*service
	names := make([]string, 0, len(all))
	for _, v := range all {
		if called(v.name, v.listen, name) {
			found = append(found, v)
		}
		names = append(names, v.name)
	}
	if len(found) == 0 {
		return nil, hint.Usage(hint.Errorf("there are: "+strings.Join(names, ", "), "there is no service %q", name))
	}
	return found, nil
}

// eachFlow calls yield for the flows of one worker.
func (w *worker) eachFlow(ctx context.Context, f *FlowFilter, yield func(*Flow) error) error {
	for from, done := 0, false; !done; {
		page := make([]Flow, 0, flowPage) // a new one: a worker that answers too late still writes to it
		var next int
		var last bool
		err := w.ask(ctx, func() {
			next, last = w.flows.Page(from, flowPage, func(r *relay.Flow) {
				if f.client(r.Client.AddrPort()) {
					page = append(page, w.describe(r))
				}
			})
		})
		if err != nil {
			return err
		}
		for i := range page {
			if err := yield(&page[i]); err != nil {
				return err
			}
		}
		from, done = next, last
	}
	return nil
}

// describe describes a flow of the worker.
func (w *worker) describe(f *relay.Flow) Flow {
	age := time.Duration(w.now - f.Born).Seconds()
	return Flow{
		Service: w.service.name, Client: f.Client.AddrPort(), Upstream: f.Upstream.Local(), Server: w.backends[f.Server].backend.Server(),
		State: f.State.String(), Age: &age, Idle: time.Duration(w.now - f.Used()).Seconds(),
		ToServer: &FlowTraffic{f.ToServer.Packets, f.ToServer.Bytes}, ToClient: &FlowTraffic{f.ToClient.Packets, f.ToClient.Bytes},
	}
}

// eachKernelFlow calls yield for the flows of the inline ones among services.
func (s *Server) eachKernelFlow(services []*service, f *FlowFilter, yield func(*Flow) error) error {
	inline := make(map[bpf.ServiceKey]*service)
	for _, v := range services {
		if v.inline {
			inline[v.key()] = v
		}
	}
	if len(inline) == 0 {
		return nil
	}
	var stopped error
	err := s.kernel.guard.Flows(func(k bpf.Flow) bool {
		v := inline[k.Service]
		if v == nil || !f.client(k.Peer) {
			return true
		}
		state := relay.HalfOpen
		if k.Established {
			state = relay.Established
		}
		stopped = yield(&Flow{Service: v.name, Client: k.Peer, Server: v.listen, State: state.String(), Idle: k.Idle.Seconds()})
		return stopped == nil
	})
	return errors.Join(err, stopped)
}

// EndFlows ends the flows that f selects and returns their number. Neither side is notified: the client's datagrams are dropped
// until it starts a new handshake.
func (s *Server) EndFlows(ctx context.Context, f FlowFilter) (ended int, err error) {
	services, err := s.named(f.Service)
	if err != nil {
		return 0, err
	}
	for _, v := range services {
		for _, w := range v.workers {
			n, err := w.endFlows(ctx, &f)
			ended += n
			if err != nil && !errors.Is(err, errEnded) {
				return ended, err
			}
		}
	}
	n, err := s.endKernelFlows(services, &f)
	return ended + n, err
}

func (w *worker) endFlows(ctx context.Context, f *FlowFilter) (ended int, err error) {
	for from, done := 0, false; !done; {
		var n, next int // anew: see eachFlow
		var last bool
		err := w.ask(ctx, func() {
			next, last = w.flows.Page(from, flowPage, func(r *relay.Flow) {
				if f.client(r.Client.AddrPort()) {
					w.end(r, metrics.Killed)
					n++
				}
			})
			w.counts.Publish()
		})
		if err != nil {
			return ended, err
		}
		ended += n
		from, done = next, last
	}
	return ended, nil
}

func (s *Server) endKernelFlows(services []*service, f *FlowFilter) (ended int, err error) {
	byName := make(map[string]*service)
	for _, v := range services {
		byName[v.name] = v
	}
	var gone []Flow // listed first: deleting from a hash map restarts the walk over it
	if err := s.eachKernelFlow(services, f, func(k *Flow) error { gone = append(gone, *k); return nil }); err != nil {
		return 0, err
	}
	for _, k := range gone {
		if err := s.kernel.guard.DeleteFlow(byName[k.Service].key(), k.Client); err != nil {
			return ended, fmt.Errorf("end a flow: %w", err)
		}
		ended++
	}
	return ended, nil
}
