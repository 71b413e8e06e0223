package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/traffic"
)

// The classic format, which every player reads: magic of microseconds, version 2.4, whole packets, Ethernet.
const (
	pcapMagic = 0xa1b2c3d4
	snapLen   = 65535
	ethernet  = 1
)

// Pcap writes n frames of a flood, each a second/rate after the one before. The last may be one more, so that no
// ClientHello lacks a fragment.
func Pcap(w io.Writer, f *traffic.Flow, m traffic.Mix, n int, rate float64) error {
	be := binary.BigEndian
	b := be.AppendUint32(nil, pcapMagic)
	b = be.AppendUint16(be.AppendUint16(b, 2), 4)
	b = be.AppendUint32(be.AppendUint32(append(b, make([]byte, 8)...), snapLen), ethernet)
	for i := 0; i < n; {
		source := f.Source(rand.Uint64())
		item := m.Of(source)
		for j := range item.Templates {
			frame := f.AppendFrame(nil, &item.Templates[j], source)
			at := time.Duration(float64(i) / rate * float64(time.Second))
			b = be.AppendUint32(b, uint32(at/time.Second))
			b = be.AppendUint32(b, uint32(at%time.Second/time.Microsecond))
			b = be.AppendUint32(be.AppendUint32(b, uint32(len(frame))), uint32(len(frame)))
			if _, err := w.Write(append(b, frame...)); err != nil {
				return fmt.Errorf("write pcap: %w", err)
			}
			b = b[:0]
			i++
		}
	}
	return nil
}
