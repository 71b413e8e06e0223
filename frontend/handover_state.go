package frontend

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/attack"
	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/handover"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// guardState is what a guard hands to its successor, in the format handover.Version. It is written as the length of the JSON,
// the JSON, the flows as relay.Record of fixed size in network byte order, and the entries of the pools. It holds secrets, so
// it must stay in memory.
type guardState struct {
	Totals        map[string]metrics.State `json:"totals"` // by service
	Upgrades      UpgradeCounts            `json:"upgrades"`
	Reloads       [2]uint64                `json:"reloads"` // done, failed
	Secrets       []secretState            `json:"secrets"`
	Services      []serviceState           `json:"services"`
	Rules         []addresses.Rule         `json:"rules,omitempty"` // including those of files, which the successor reads itself
	PreHandshakes []json.RawMessage        `json:"prehandshakes,omitempty"`
	Events        *events.State            `json:"events,omitempty"`

	Flows   int            `json:"flows"`
	Entries []int          `json:"entries,omitempty"` // bytes, of each pool in turn
	records []relay.Record // flows, in the order of relay.Table.Each for each worker
}

type secretState struct {
	File      string        `json:"file,omitempty"`
	Every     time.Duration `json:"every,omitempty"`
	Ring      []byte        `json:"ring"`
	Next      uint32        `json:"next"`    // key ID of the next of the guard's own
	Changed   int64         `json:"changed"` // Unix nanoseconds
	Rotations uint64        `json:"rotations"`
	Failures  uint64        `json:"failures"`
}

type serviceState struct {
	Listen   string       `json:"listen"` // as configured
	Inline   bool         `json:"inline"`
	Name     string       `json:"name"`
	Sockets  []int        `json:"sockets"` // files, worker 0's first
	Fit      *handoff.Fit `json:"fit,omitempty"`
	Backends []backState  `json:"backends,omitempty"`
	Asked    askedState   `json:"asked"`

	Heard  int64         `json:"heard,omitempty"` // inline: Unix nanoseconds of the server's last answer, if it is up
	Attack *attack.State `json:"attack,omitempty"`
}

// askedState has the settings that decide how back ends are handed clients. If they differ, back ends must be probed again.
type askedState struct {
	Handoff    string `json:"handoff"`
	Pool       int    `json:"pool"`
	SecretFile string `json:"secret_file,omitempty"`
	Alone      bool   `json:"alone"`
}

// backState is a back end that serves new clients, or still has flows.
type backState struct {
	Address string         `json:"address"` // as configured; "": it gets no new clients
	Weight  int            `json:"weight,omitempty"`
	Server  string         `json:"server"`
	State   *handoff.State `json:"state"`
}

func asked(s *Settings, alone bool) askedState {
	return askedState{s.Handoff.String(), s.HarvestPool, s.SecretFile, alone}
}

// pools returns the states of all pools, in the order of Entries.
func (g *guardState) pools() (all []*handoff.PoolState) {
	for _, v := range g.Services {
		for _, b := range v.Backends {
			if b.State != nil && b.State.Pool != nil {
				all = append(all, b.State.Pool)
			}
		}
	}
	return all
}

func (g *guardState) encode() ([]byte, error) {
	g.Flows, g.Entries = len(g.records), nil
	for _, p := range g.pools() {
		g.Entries = append(g.Entries, len(p.Entries))
	}
	head, err := json.Marshal(g)
	if err != nil {
		return nil, err
	}
	size := 8 + len(head) + len(g.records)*binary.Size(relay.Record{})
	for _, n := range g.Entries {
		size += n
	}
	b := append(binary.BigEndian.AppendUint64(make([]byte, 0, size), uint64(len(head))), head...) // one allocation, because clients wait
	if b, err = binary.Append(b, binary.BigEndian, g.records); err != nil {
		return nil, err
	}
	for _, p := range g.pools() {
		b = append(b, p.Entries...)
	}
	return b, nil
}

var errGuardState = errors.New("the state that was handed over is invalid")

func decodeState(b []byte) (*guardState, error) {
	if len(b) < 8 || binary.BigEndian.Uint64(b) > uint64(len(b)-8) {
		return nil, errGuardState
	}
	head, rest := b[8:8+binary.BigEndian.Uint64(b)], b[8+binary.BigEndian.Uint64(b):]
	g := &guardState{}
	if err := json.Unmarshal(head, g); err != nil {
		return nil, fmt.Errorf("%w: %w", errGuardState, err)
	}
	size := binary.Size(relay.Record{})
	if g.Flows < 0 || g.Flows > len(rest)/size {
		return nil, errGuardState
	}
	g.records = make([]relay.Record, g.Flows)
	if err := binary.Read(bytes.NewReader(rest), binary.BigEndian, g.records); err != nil {
		return nil, fmt.Errorf("%w: %w", errGuardState, err)
	}
	rest = rest[g.Flows*size:]
	pools := g.pools()
	if len(pools) != len(g.Entries) {
		return nil, errGuardState
	}
	for i, n := range g.Entries {
		if n < 0 || n > len(rest) {
			return nil, errGuardState
		}
		pools[i].Entries, rest = rest[:n], rest[n:]
	}
	return g, nil
}

// export returns the state of a frozen guard, and its files, the indispensable ones first.
func (s *Server) export() ([]byte, *handover.Files, error) {
	files := &handover.Files{}
	g := &guardState{Totals: make(map[string]metrics.State), Upgrades: s.upgrades.load(), Reloads: [2]uint64{s.reloads.Load(), s.reloadsFailed.Load()}}
	for name, t := range s.totalsByService() {
		g.Totals[name] = t.State()
	}
	g.Events = s.events.State()
	for key, x := range s.secrets {
		g.Secrets = append(g.Secrets, x.export(key))
	}
	g.Rules = s.lists.Rules()
	numbers := make(map[*liveBackend]int32)
	for _, v := range s.services {
		st := serviceState{Listen: v.configured.Listen.String(), Inline: v.inline, Name: v.name, Fit: v.exportFit(),
			Asked: asked(v.now.Load().settings, len(v.configured.Backends) == 1), Attack: v.attack.state()}
		if h := v.inlineHealth(); h.up {
			st.Heard = h.heard.UnixNano()
		}
		for _, w := range v.workers {
			st.Sockets = append(st.Sockets, files.Add(w.socket.FD()))
		}
		v.exportBackends(&st, files, numbers)
		g.Services = append(g.Services, st)
	}
	worker := int32(0)
	for _, v := range s.services {
		for _, w := range v.workers {
			if err := w.export(g, worker, files, numbers); err != nil {
				return nil, nil, err
			}
			worker++
		}
	}
	b, err := g.encode()
	return b, files, err
}

// exportFit returns how an inline server accepts clients; nil if it must be probed again.
func (v *service) exportFit() *handoff.Fit {
	fit := v.now.Load().fit
	if fit == nil || fit.PSK != nil {
		return nil
	}
	return fit
}

// exportBackends adds all back ends, removed ones that still have flows included.
func (v *service) exportBackends(st *serviceState, files *handover.Files, numbers map[*liveBackend]int32) {
	add := func(e *liveBackend, b backState) {
		if _, ok := numbers[e]; ok || e == nil {
			return
		}
		numbers[e] = int32(len(st.Backends))
		b.Server, b.State = e.Server().String(), e.Export(files)
		st.Backends = append(st.Backends, b)
	}
	for _, t := range v.targets {
		if !t.leaving {
			add(t.backend.Load(), backState{Address: t.config.Address, Weight: t.config.Weight})
		}
	}
	for _, w := range v.workers {
		for _, h := range w.backends {
			if h != nil && h.flows > 0 {
				add(h.backend, backState{})
			}
		}
	}
}

// export adds the flows of a parked worker.
func (w *worker) export(g *guardState, number int32, files *handover.Files, numbers map[*liveBackend]int32) (err error) {
	records := make(map[*relay.Flow]int32)
	w.flows.Each(func(f *relay.Flow) {
		r := f.Record()
		e := w.backends[f.Server].backend
		r.Worker, r.Back, r.File = number, numbers[e], -1
		entry, kept := e.EntryOf(f.Upstream)
		if r.Entry = int32(entry); !kept {
			r.File = int32(files.Add(f.Upstream.FD()))
		}
		if older := f.Older(); older != nil {
			r.Older = records[older]
		}
		if p, failed := handoff.ExportPreHandshake(f.PreHandshake); failed != nil {
			err = failed
		} else if p != nil {
			r.PreHandshake = int32(len(g.PreHandshakes))
			g.PreHandshakes = append(g.PreHandshakes, p)
		}
		records[f] = int32(len(g.records))
		g.records = append(g.records, r)
	})
	return err
}

// totalsByService returns all counters, those of removed services included.
func (s *Server) totalsByService() map[string]*metrics.Totals {
	all := make(map[string]*metrics.Totals)
	of := func(name string) *metrics.Totals {
		if all[name] == nil {
			all[name] = new(metrics.Totals)
		}
		return all[name]
	}
	for name, t := range s.gone {
		of(name).Add(t)
	}
	for _, v := range s.services {
		for _, w := range v.workers {
			w.counts.AddTo(of(v.name))
		}
	}
	return all
}
