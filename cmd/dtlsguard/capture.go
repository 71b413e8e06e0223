package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func newCapture() *cobra.Command {
	var control, file string
	var o frontend.CaptureOptions
	cmd := &cobra.Command{
		Use: "capture -w FILE", Short: "Write what clients send to a pcapng file, with the outcome of each datagram", Args: noArgs,
		Long: fmt.Sprintf(`capture samples datagrams that come from clients, in the kernel and in workers, and writes them as pcapng for
tcpdump and Wireshark. Each packet has a comment, for example

  verdict=dropped reason=unverified datagram=encrypted service=turn

verdict is passed, answered, steered (to a worker) or dropped by XDP, and answered, verified, relayed or dropped by
workers; what XDP steers is seen by both. Packets are in the file as they came, not as they were answered, at most
%d bytes of each. The interface "workers" has what came by sockets; its IP and UDP headers are made up.

Of established flows' and other encrypted records only the header is written, and of other protocols that pass
nothing, unless --payload is given. Read addresses from the file with care all the same.

It ends with Ctrl-C, after --count packets or after --for. The guard runs one capture at a time.`, bpf.SnapLength),
		Example: `  dtlsguard capture -w flood.pcapng --for 10s
  dtlsguard capture -w drops.pcapng --verdict dropped --reason malformed,unverified --count 100
  dtlsguard capture -w - | tshark -r - -T fields -e ip.src -e frame.comment`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return captureTo(cmd.Context(), control, file, &o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&file, "write", "w", "", "the file; - is standard output")
	fl.StringVar(&o.Service, "service", "", "only packets to a service, by its name or address")
	fl.StringSliceVar(&o.Verdicts, "verdict", nil, "only these: passed, answered, steered, dropped, verified, relayed")
	fl.StringSliceVar(&o.Reasons, "reason", nil, "only those with one of these reasons")
	fl.Float64Var(&o.Rate, "rate", frontend.DefaultCaptureRate, "packets per second, each from the kernel and from workers")
	fl.IntVar(&o.Count, "count", 0, "end after this number of packets (0: no end)")
	fl.DurationVar(&o.For, "for", 0, "end after this time (0: no end)")
	fl.BoolVar(&o.Payload, "payload", false, "write encrypted records and other protocols in full as well")
	fl.StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	return cmd
}

// captureTo captures into a file, or to standard output.
func captureTo(ctx context.Context, control, file string, o *frontend.CaptureOptions, stdout, stderr io.Writer) (err error) {
	if file == "" || o.Count < 0 || o.For < 0 {
		return hint.Usagef("capture needs -w FILE, or -w - for standard output, and neither --count nor --for below 0")
	}
	if f := fileOf(stdout); file == "-" && f != nil && term.IsTerminal(int(f.Fd())) {
		return hint.Usagef("a capture is not text for a terminal: give -w FILE, or a pipe to read it")
	}
	in, err := frontend.AskStream(ctx, control, "GET", "/capture?"+o.Query().Encode())
	if err != nil {
		return err
	}
	defer in.Close()
	out := stdout
	if file != "-" {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // it shows who communicates with whom
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	n, err := copyBlocks(out, in)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("capture: %w", err)
	}
	fmt.Fprintf(stderr, "%d packets captured\n", n)
	return nil
}

// A pcapng block (draft-ietf-opsawg-pcapng section 3.1) begins with its type and length.
const (
	blockHead   = 8
	blockPacket = 6       // an Enhanced Packet Block
	blockMost   = 1 << 20 // bytes; a packet's is below a thousand
)

// copyBlocks copies complete blocks until the input ends, and counts packets: a file that ends within a block cannot
// be read.
func copyBlocks(w io.Writer, r io.Reader) (packets int, err error) {
	block := make([]byte, blockMost)
	for {
		if _, err := io.ReadFull(r, block[:blockHead]); errors.Is(err, io.EOF) {
			return packets, nil
		} else if err != nil {
			return packets, err
		}
		n := binary.LittleEndian.Uint32(block[4:])
		if n < blockHead || n > blockMost {
			return packets, fmt.Errorf("invalid block length %d", n)
		}
		if _, err := io.ReadFull(r, block[blockHead:n]); err != nil {
			return packets, err
		}
		if _, err := w.Write(block[:n]); err != nil {
			return packets, err
		}
		if binary.LittleEndian.Uint32(block) == blockPacket {
			packets++
		}
	}
}
