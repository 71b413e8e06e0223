package handoff

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs many tests at once: they mostly wait for timeouts, so the number of CPUs must not bound them.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
