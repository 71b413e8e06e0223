package capture

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
)

// Read reads the datagrams of a ClientHello from a file. The file may be
//
//   - a pcap or pcapng: the first ClientHello without a cookie counts, with all of its fragments,
//   - datagrams in hex, one per line, where a second line is a second fragment,
//   - one raw datagram.
func Read(file string) ([][]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	const handshake = 22 // first byte of a raw datagram, and not a hex digit
	switch {
	case len(text) == 0:
		return nil, fmt.Errorf("%s is empty: want a ClientHello, in a pcap, in hex, or as it is", file)
	case text[0] == handshake:
		return [][]byte{text}, nil
	}
	packets, err := open(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if packets != nil {
		all, err := firstHello(packets)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return all, nil
	}
	return fromHex(file, text)
}

func fromHex(file string, text []byte) (all [][]byte, err error) {
	for i, line := range bytes.Fields(text) {
		d := make([]byte, hex.DecodedLen(len(line)))
		if _, err := hex.Decode(d, line); err != nil {
			return nil, fmt.Errorf("%s is neither pcap nor pcapng, and line %d is not a datagram in hex: %w", file, i+1, err)
		}
		all = append(all, d)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s is blank: want a ClientHello, in a pcap, in hex, or as it is", file)
	}
	return all, nil
}
