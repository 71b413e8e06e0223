package xdp

import (
	"errors"
	"net"
	"os/exec"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// A veth whose other end has a program or GRO accepts frames; one with neither does not.
func TestArrives(t *testing.T) {
	l, err := lab.New("arrive")
	if err != nil {
		t.Skip("needs root: ", err)
	}
	defer l.Close()
	probe := func() error {
		return l.Middle.Do(func() error {
			dev, err := net.InterfaceByName(lab.ToClient)
			if err != nil {
				return err
			}
			return Arrives(dev)
		})
	}
	if err := probe(); err != nil {
		t.Errorf("to an end with a program: %v", err)
	}
	if err := l.Bare(); err != nil {
		t.Fatal(err)
	}
	if err := probe(); !errors.Is(err, ErrLost) {
		t.Errorf("to an end with nothing: %v", err)
	}
	gro := exec.Command("ethtool", "-K", lab.ToMiddle, "gro", "on")
	if err := l.Client.Start(gro); err != nil {
		t.Fatal(err)
	}
	if err := gro.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := probe(); err != nil {
		t.Errorf("to an end with GRO: %v", err)
	}
}
