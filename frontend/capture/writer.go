package capture

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Origin is where a datagram was sampled, and an interface of the file.
type Origin uint8

// The origins.
const (
	Workers Origin = iota // headers are built from the socket's addresses
	XDP                   // frames as received
	originLen
)

// Packet is a sampled datagram.
type Packet struct {
	At       time.Time
	Origin   Origin
	Length   int    // of the packet
	Data     []byte // the first bytes of it, from the Ethernet header on, or from IP on (Options.Ethernet)
	Service  string
	Verdict  string // passed, answered, steered, dropped; of workers also verified, relayed
	Reason   string // "": none
	Datagram string // what the datagram is, if not a ClientHello; "": not known
}

// Comment is p's comment in the file.
func (p *Packet) Comment() string {
	var b strings.Builder
	fmt.Fprintf(&b, "verdict=%s", p.Verdict)
	for _, f := range [][2]string{{"reason", p.Reason}, {"datagram", p.Datagram}, {"service", p.Service}} {
		if f[1] != "" {
			fmt.Fprintf(&b, " %s=%s", f[0], f[1])
		}
	}
	return b.String()
}

// Writer writes a file.
type Writer struct {
	w       *pcapgo.NgWriter
	written [originLen]uint64
	began   time.Time
}

// Options describe a file.
type Options struct {
	Program   string // that writes it, with its version
	Interface string // that XDP is attached to; "": none
	Ethernet  bool   // packets begin with an Ethernet header
	Snap      int    // most bytes of a packet
}

// NewWriter begins a file.
func NewWriter(w io.Writer, o Options) (*Writer, error) {
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{OS: "Linux", Application: o.Program}}
	link := layers.LinkTypeRaw // one for both: tcpdump refuses a file with several
	if o.Ethernet {
		link = layers.LinkTypeEthernet
	}
	workers := pcapgo.NgInterface{Name: "workers", Description: "datagrams that workers received, with headers built from their addresses",
		LinkType: link, SnapLength: uint32(o.Snap), OS: "Linux"}
	ng, err := pcapgo.NewNgWriterInterface(w, workers, options)
	if err == nil && o.Interface != "" {
		_, err = ng.AddInterface(pcapgo.NgInterface{Name: o.Interface, Description: "packets as received by XDP", LinkType: link, SnapLength: uint32(o.Snap), OS: "Linux"})
	}
	if err != nil {
		return nil, fmt.Errorf("begin a capture file: %w", err)
	}
	return &Writer{w: ng, began: time.Now()}, nil
}

// Write adds a packet.
func (w *Writer) Write(p *Packet) error {
	w.written[p.Origin]++
	info := gopacket.CaptureInfo{Timestamp: p.At, CaptureLength: len(p.Data), Length: max(p.Length, len(p.Data)), InterfaceIndex: int(p.Origin)}
	return w.w.WritePacketWithOptions(info, p.Data, pcapgo.NgPacketOptions{Comments: []string{p.Comment()}})
}

// Flush writes out the buffered blocks, which are complete.
func (w *Writer) Flush() error { return w.w.Flush() }

// Finish adds the numbers of an origin's packets, and of those lost because the writer was too slow.
func (w *Writer) Finish(o Origin, lost uint64) error {
	return w.w.WriteInterfaceStats(int(o), pcapgo.NgInterfaceStatistics{LastUpdate: time.Now(), StartTime: w.began, EndTime: time.Now(),
		PacketsReceived: w.written[o] + lost, PacketsDropped: lost})
}
