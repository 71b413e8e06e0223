package bpf

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Limits that the programs set.
const (
	MaxServices = 1024
	MaxWorkers  = 256
	maxCPUs     = 1024
)

// Options size the maps and say where they live.
type Options struct {
	MaxServices int // at most MaxServices, which 0 stands for
	MaxFlows    int // established flows kept; half-open ones have a quarter of that besides. 0: 65536
	PoolEntries int // harvested cookies of all services together; see Programs.NewPoolMemory
	// Interfaces are those that Attach will attach the programs to: what an earlier process pinned for them is taken over.
	Interfaces []string
	Pin        string // directory on a bpffs, with a subdirectory of links and maps for each interface, made by Attach; "": the process keeps them
	// Locks are those of a process that holds Pin and is about to end (Programs.Locks), by interface.
	Locks map[string]*os.File
	Owner int // user that the process will become, whose pins are taken over, too; 0: none
}

// Programs is one set of programs and maps, attached to any number of interfaces.
//
// Of its locks, listing comes before mu, and beating after it. Whoever sets control has all three, and whoever reads it one.
type Programs struct {
	listing sync.Mutex // of the prefixes, which take seconds to write
	beating sync.Mutex // of the heartbeat, which must not be late: it is held for no system call
	mu      sync.Mutex // of everything else

	maps  guardMaps
	progs guardPrograms
	// The ingress program again, for drivers that give a packet in several buffers.
	frags     *ebpf.Program
	fragsCPUs *ebpf.Map
	named     map[string]*ebpf.Map // the maps again, by name

	pin     string                 // Options.Pin
	owner   int                    // Options.Owner
	root    *os.File               // the directory pin, since GivePins
	held    map[string]*os.File    // the pin directories, by interface
	adopted bool                   // the maps were pinned in one of them
	refused error                  // why the maps pinned there were not taken over; nil: they were, or there were none
	layout  string                 // of the maps, see layout
	at      []*attachment          // in the order of Attach
	others  map[bool]*linkPrograms // for the other kind of frames, loaded once an interface has them

	control *guardControl
	credits []guardCredit
	senders *guardSenderTable
	mapped  [][]byte

	halfOpen          []uint64     // token buckets of half-open flows
	halfOpenPerSource int          // Policy.HalfOpenPerSource
	emptied           map[int]bool // buckets that refuse has emptied

	poolMemory    []byte      // entries that NewPoolMemory hands out
	pools         []poolRange // those in use, in order
	addressMemory []byte
	trust         link.Link // of TrustTCP; nil: none

	listed map[guardPrefixKey]uint32 // the kernel's prefixes; nil: not known

	lifetime time.Duration // Policy.SecretLifetime; of the heartbeat
	grace    time.Duration // Policy.HarvestGrace

	linkHeader bool  // of the frames that progs are for
	unassigned error // CanAssign, asked before privileges are gone
	options    Options
	hashKey    [2]uint64 // of this start, for buckets

	services []service // by element of the services map
	nextID   uint32
}

// Load makes the programs ready. It needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.
func Load(o Options) (*Programs, error) {
	if o.MaxServices == 0 {
		o.MaxServices = MaxServices
	}
	if o.MaxFlows == 0 {
		o.MaxFlows = 65536
	}
	if o.MaxServices < 1 || o.MaxServices > MaxServices {
		return nil, fmt.Errorf("load BPF programs: %d services, want 1 to %d", o.MaxServices, MaxServices)
	}
	if o.MaxFlows < 1 {
		return nil, fmt.Errorf("load BPF programs: %d flows, want at least 1", o.MaxFlows)
	}
	header := true
	if len(o.Interfaces) > 0 {
		var err error
		if header, err = linkHeader(o.Interfaces[0]); err != nil && !errors.Is(err, unix.ENODEV) { // which Attach says better
			return nil, fmt.Errorf("attach to %s: %w", o.Interfaces[0], err)
		}
	}
	var key [16]byte
	rand.Read(key[:]) // crashes rather than fail
	g := &Programs{
		linkHeader: header, unassigned: CanAssign(), hashKey: [2]uint64{native.Uint64(key[:]), native.Uint64(key[8:])},
		pin: o.Pin, owner: o.Owner, services: make([]service, o.MaxServices), nextID: 1, options: o,
		held: make(map[string]*os.File), others: make(map[bool]*linkPrograms),
	}
	spec, err := g.sized(header)
	if err != nil {
		return nil, err
	}
	for _, iface := range o.Interfaces {
		if f := o.Locks[iface]; f != nil {
			g.held[iface] = f
		} else if err == nil {
			err = g.hold(iface)
		}
	}
	if err == nil {
		if err = g.load(spec); err != nil {
			err = lacking(cmp.Or(tooOld(), err))
		}
	}
	if err != nil {
		g.Close()
		return nil, fmt.Errorf("load BPF programs: %w", err)
	}
	return g, nil
}

// sized is the embedded object with this machine's sizes.
func (g *Programs) sized(header bool) (*ebpf.CollectionSpec, error) {
	o := &g.options
	spec, err := loadGuard()
	if err != nil {
		return nil, fmt.Errorf("read embedded BPF object: %w", err)
	}
	possible, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	services, m := uint32(o.MaxServices), spec.Maps
	m[guardMapServices].MaxEntries = services
	m[guardMapServiceIndex].MaxEntries = 4 * services // two wildcards and their port-less markers each
	m[guardMapServiceStates].MaxEntries = services
	m[guardMapCounts].MaxEntries = services + 1
	m[guardMapSockets].MaxEntries = services * MaxWorkers
	m[guardMapFlows].MaxEntries = uint32(o.MaxFlows + o.MaxFlows/flowSlack + 1)
	m[guardMapHalfOpen].MaxEntries = uint32(o.halfOpen() + possible*lruKept)
	m[guardMapHarvested].MaxEntries = uint32(max(1, o.PoolEntries)) // there is no empty map
	m[guardMapCpus].MaxEntries = uint32(min(possible, maxCPUs))
	linkHeader := uint32(0)
	if header {
		linkHeader = 1
	}
	if err := errors.Join(spec.Variables[guardVarNoServiceIndex].Set(services),
		spec.Variables[guardVarTrustedNetns].Set(netnsCookie()),
		spec.Variables[guardVarHashKey].Set(g.hashKey),
		spec.Variables[guardVarLinkHeader].Set(linkHeader)); err != nil {
		return nil, fmt.Errorf("set BPF constants: %w", err)
	}
	direct(spec)
	addFrags(spec)
	return spec, nil
}

// values are variables of the C code that stand for the only element of a map, by their section.
var values = map[string]string{".data.control": guardMapControls, ".data.senders": guardMapSenders}

// direct points references to these variables at their maps.
func direct(spec *ebpf.CollectionSpec) {
	for _, p := range spec.Programs {
		refer(p, values)
	}
	for section := range values {
		delete(spec.Maps, section)
	}
	maps.DeleteFunc(spec.Variables, func(_ string, v *ebpf.VariableSpec) bool { return values[v.SectionName] != "" })
}

// refer replaces the names of maps that a program refers to.
func refer(p *ebpf.ProgramSpec, names map[string]string) {
	for i := range p.Instructions {
		if name := names[p.Instructions[i].Reference()]; name != "" {
			p.Instructions[i] = p.Instructions[i].WithReference(name)
		}
	}
}

const (
	// flowSlack is the share of MaxFlows, one in so many, that the map has room for besides: newcomers need it until the
	// daemon has taken idle flows away, which it does once per second.
	flowSlack = 4
	// leastHalfOpen: handshakes of a second leave room for so many new clients per second.
	leastHalfOpen = 1024
	// lruKept is how many elements a CPU takes from an LRU map at a time for itself (LOCAL_FREE_TARGET of the kernel's
	// bpf_lru_list.c), and as many again for those that it is about to free.
	lruKept = 2 * 128
)

const (
	fragsProgram = "dtlsguard_frags"
	fragsCPUs    = "cpus_frags"
	buffers      = ".rodata.buffers" // section of several_buffers
	fragsBuffers = ".rodata.frags"
)

// addFrags makes the ingress program again with BPF_F_XDP_HAS_FRAGS, in which several_buffers is 1. It gets a CPU map of its
// own: the kernel lets no two programs that differ in that flag share one.
func addFrags(spec *ebpf.CollectionSpec) {
	p := spec.Programs[guardProgDtlsguard].Copy()
	p.Flags |= unix.BPF_F_XDP_HAS_FRAGS
	refer(p, map[string]string{guardMapCpus: fragsCPUs, buffers: fragsBuffers})
	spec.Programs[fragsProgram] = p
	m := spec.Maps[guardMapCpus].Copy()
	m.Name = fragsCPUs
	spec.Maps[fragsCPUs] = m
	m = spec.Maps[buffers].Copy()
	m.Name = fragsBuffers
	m.Contents = []ebpf.MapKV{{Key: uint32(0), Value: native.AppendUint32(nil, 1)}}
	spec.Maps[fragsBuffers] = m
}

// linkPrograms are those that differ with the kind of frames.
type linkPrograms struct{ guard, frags, egress, ingress *ebpf.Program }

// programsFor are the programs for frames with or without an Ethernet header. Those of the kind that nothing was loaded for
// yet share all maps but the constants.
func (g *Programs) programsFor(header bool) (*linkPrograms, error) {
	if header == g.linkHeader {
		return &linkPrograms{g.progs.Dtlsguard, g.frags, g.progs.Egress, g.progs.Ingress}, nil
	}
	if p := g.others[header]; p != nil {
		return p, nil
	}
	spec, err := g.sized(header)
	if err != nil {
		return nil, err
	}
	for name := range spec.Programs {
		if !slices.Contains([]string{guardProgDtlsguard, fragsProgram, guardProgEgress, guardProgIngress}, name) {
			delete(spec.Programs, name)
		}
	}
	shared := make(map[string]*ebpf.Map)
	for name, m := range g.named {
		if _, used := spec.Maps[name]; used && name[0] != '.' {
			shared[name] = m
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return nil, fmt.Errorf("load the programs for another kind of frames: %w", hint(err))
	}
	defer coll.Close()
	p := &linkPrograms{coll.DetachProgram(guardProgDtlsguard), coll.DetachProgram(fragsProgram), coll.DetachProgram(guardProgEgress), coll.DetachProgram(guardProgIngress)}
	g.others[header] = p
	return p, nil
}

func (g *Programs) load(spec *ebpf.CollectionSpec) error {
	pinned, refused, err := g.findPinned(spec)
	if err != nil {
		return err
	}
	g.refused = refused
	if g.layout, err = layout(spec); err != nil {
		return err
	}
	g.adopted = pinned != nil
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: pinned})
	for _, m := range pinned {
		m.Close() // the collection has its own handles
	}
	if err != nil {
		return err
	}
	defer coll.Close()
	g.frags = coll.DetachProgram(fragsProgram)
	g.named = maps.Clone(coll.Maps)
	g.fragsCPUs = coll.DetachMap(fragsCPUs)
	if err := coll.Assign(&g.maps); err != nil {
		return err
	}
	if err := coll.Assign(&g.progs); err != nil {
		return err
	}
	if err := g.mapMemory(); err != nil {
		return err
	}
	if g.adopted {
		if len(g.options.Locks) == 0 { // whoever had them is dead, and so is a capture of it
			atomic.StoreUint32(&g.control.Capturing, 0)
		}
		return g.readServices()
	}
	return nil
}

// PinsRefused says why the maps that an earlier process pinned were not taken over: their flows are lost, and Attach
// replaces them. It is nil if they were taken over, or if there were none.
func (g *Programs) PinsRefused() error { return g.refused }

// Close closes all handles. Pinned programs and maps stay in force, everything else ends.
func (g *Programs) Close() error {
	g.listing.Lock()
	defer g.listing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	errs := g.unmapMemory()
	if g.trust != nil {
		errs = append(errs, g.trust.Close())
		g.trust = nil
	}
	errs = append(errs, g.closeLinks())
	for _, p := range g.others {
		errs = append(errs, p.guard.Close(), p.frags.Close(), p.egress.Close(), p.ingress.Close())
	}
	g.others = nil
	for iface := range g.held {
		g.release(iface)
	}
	if g.root != nil {
		g.root.Close()
		g.root = nil
	}
	errs = append(errs, g.frags.Close(), g.fragsCPUs.Close(), g.progs.Close(), g.maps.Close())
	return errors.Join(errs...)
}
