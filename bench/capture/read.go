package capture

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
)

// Read reads the datagrams of a ClientHello: in hex, one a line, where a second line is a second fragment; or one
// datagram as it is.
func Read(file string) ([][]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	const handshake = 22 // first byte of a datagram as it is, and no hex digit
	if len(text) > 0 && text[0] == handshake {
		return [][]byte{text}, nil
	}
	var all [][]byte
	for i, line := range bytes.Fields(text) {
		d := make([]byte, hex.DecodedLen(len(line)))
		if _, err := hex.Decode(d, line); err != nil {
			return nil, fmt.Errorf("%s: line %d is no datagram in hex: %w", file, i+1, err)
		}
		all = append(all, d)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s is empty: want a ClientHello, in hex or as it is", file)
	}
	return all, nil
}
