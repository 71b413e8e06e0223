package xdp

import (
	"errors"
	"net"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// A veth whose other end has a program accepts frames; one with neither program nor GRO does not.
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
}
