package capture

import (
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
)

// Trafgen writes a trafgen(8) configuration with n packets, which trafgen sends in turn. Each source is a packet of its
// own, because trafgen cannot draw sources from a prefix.
func Trafgen(w io.Writer, f *traffic.Flow, m traffic.Mix, n int) error {
	if _, err := fmt.Fprintf(w, "# trafgen --in FILE --out INTERFACE: ClientHellos and others to %v, from %v\n", f.Destination, f.Sources); err != nil {
		return fmt.Errorf("write trafgen configuration: %w", err)
	}
	for i := 0; i < n; {
		source := f.Source(rand.Uint64())
		item := m.Of(source)
		for j := range item.Templates {
			text := "{"
			for k, c := range f.AppendFrame(nil, &item.Templates[j], source) {
				if k%16 == 0 {
					text += "\n\t"
				}
				text += fmt.Sprintf("0x%02x, ", c)
			}
			if _, err := fmt.Fprintf(w, "%s\n}\n", text); err != nil {
				return fmt.Errorf("write trafgen configuration: %w", err)
			}
			i++
		}
	}
	return nil
}
