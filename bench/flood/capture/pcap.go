package capture

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
)

// snapLen declares that packets are not truncated.
const snapLen = 65535

// Pcap writes n frames of a flood in the classic format, which every player reads, at intervals of a second/rate. It may
// write one more, to complete the fragments of a ClientHello.
func Pcap(w io.Writer, f *traffic.Flow, m traffic.Mix, n int, rate float64) error {
	p := pcapgo.NewWriter(w)
	if err := p.WriteFileHeader(snapLen, layers.LinkTypeEthernet); err != nil {
		return fmt.Errorf("write pcap: %w", err)
	}
	for i := 0; i < n; {
		source := f.Source(rand.Uint64())
		item := m.Of(source)
		for j := range item.Templates {
			frame := f.AppendFrame(nil, &item.Templates[j], source)
			at := time.Unix(0, 0).Add(time.Duration(float64(i) / rate * float64(time.Second)))
			info := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}
			if err := p.WritePacket(info, frame); err != nil {
				return fmt.Errorf("write pcap: %w", err)
			}
			i++
		}
	}
	return nil
}
