package bpf

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/cilium/ebpf"
)

// Cost is what a program costs the kernel.
type Cost struct {
	Program  string
	Bytes    int    // of BPF instructions, after loading
	Machine  int    // of machine code; 0 without a JIT
	Verified uint32 // instructions that the verifier processed; the kernel's limit is 1 000 000
	Stack    string // bytes of each function; the deepest chain of calls has 512
}

// MostVerified is how many instructions a verifier may process, by the tests: a fifth of the 1 000 000 at which it gives up
// (BPF_COMPLEXITY_LIMIT_INSNS), so that kernels that are not tried have room.
const MostVerified = 200_000

// What the verifier's statistics say of the stack: of all functions at once, and since Linux 7 of each by itself.
var (
	stackDepth    = regexp.MustCompile(`stack depth ([0-9+]+)`)
	functionStack = regexp.MustCompile(`insns_total \d+ stack (\d+)`)
)

// stackOf is the stack of each function, by the statistics of the verifier.
func stackOf(statistics string) string {
	if m := stackDepth.FindStringSubmatch(statistics); m != nil {
		return m[1]
	}
	var sizes []string
	for _, m := range functionStack.FindAllStringSubmatch(statistics, -1) {
		sizes = append(sizes, m[1])
	}
	return strings.Join(sizes, "+")
}

// Costs loads the programs once more and returns the cost of each.
func Costs() ([]Cost, error) {
	spec, err := (&Programs{options: Options{MaxServices: 1, MaxFlows: 1024}}).sized(true)
	if err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	if err != nil {
		return nil, fmt.Errorf("load BPF programs: %w", hint(err))
	}
	defer coll.Close()
	var costs []Cost
	for name, p := range coll.Programs {
		info, err := p.Info()
		if err != nil {
			return nil, fmt.Errorf("ask for program %s: %w", name, err)
		}
		c := Cost{Program: name, Stack: stackOf(p.VerifierLog)}
		if n, err := info.TranslatedSize(); err == nil {
			c.Bytes = n
		}
		if n, err := info.JitedSize(); err == nil {
			c.Machine = int(n)
		}
		c.Verified, _ = info.VerifiedInstructions()
		costs = append(costs, c)
	}
	sort.Slice(costs, func(i, j int) bool { return costs[i].Program < costs[j].Program })
	return costs, nil
}
