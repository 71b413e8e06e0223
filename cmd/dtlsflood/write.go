package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dtlsguard/dtlsguard/bench/flood/capture"
)

const (
	defaultFrames = 10000
	// defaultPace is the default pace of a file; players have a flag to change it.
	defaultPace = 10000
	// trafgenPackets is enough for many sources; trafgen compiles each packet.
	trafgenPackets = 1000
)

// write is engine pcap: FILE for tcpreplay and TRex, FILE.trafgen for trafgen.
func (o *options) write(stdout io.Writer) error {
	f, err := o.flow()
	if err != nil {
		return err
	}
	n, rate := int(o.pace.count), o.pace.rate
	if n == 0 {
		n = defaultFrames
	}
	if rate == 0 {
		rate = defaultPace
	}
	err = errors.Join(
		create(o.report.file, func(w io.Writer) error { return capture.Pcap(w, f, o.traffic.mix, n, rate) }),
		create(o.report.file+".trafgen", func(w io.Writer) error { return capture.Trafgen(w, f, o.traffic.mix, min(n, trafgenPackets)) }))
	if err == nil {
		fmt.Fprintf(stdout, "wrote %s and %s.trafgen, to %v at %v\n", o.report.file, o.report.file, f.Destination, f.Peer)
	}
	return err
}

func create(file string, write func(io.Writer) error) error {
	w, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(write(w), w.Close())
}
