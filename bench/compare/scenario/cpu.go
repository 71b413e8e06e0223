package scenario

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The CPUs: one generates and counts packets, the other runs everything under test and nothing else.
const (
	generatorCPU = 0
	subjectCPU   = 1
)

// tick is the unit of /proc/stat: 1/USER_HZ s, and USER_HZ is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// cpuTime is the use of a CPU since boot.
type cpuTime struct{ busy, idle, steal time.Duration }

func (c cpuTime) minus(o cpuTime) cpuTime {
	return cpuTime{c.busy - o.busy, c.idle - o.idle, c.steal - o.steal}
}

func (c cpuTime) plus(o cpuTime) cpuTime {
	return cpuTime{c.busy + o.busy, c.idle + o.idle, c.steal + o.steal}
}

// readCPU reads the time of one CPU from /proc/stat (proc_stat(5)).
func readCPU(cpu int) (cpuTime, error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return cpuTime{}, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 9 || fields[0] != fmt.Sprintf("cpu%d", cpu) {
			continue
		}
		var t [8]time.Duration // user nice system idle iowait irq softirq steal
		for i := range t {
			n, err := strconv.ParseUint(fields[1+i], 10, 64)
			if err != nil {
				return cpuTime{}, fmt.Errorf("/proc/stat: %w", err)
			}
			t[i] = time.Duration(n) * tick
		}
		return cpuTime{busy: t[0] + t[1] + t[2] + t[5] + t[6], idle: t[3] + t[4], steal: t[7]}, nil
	}
	return cpuTime{}, fmt.Errorf("/proc/stat has no CPU %d", cpu)
}

// runtimes adds the CPU time of processes or kernel threads, including threads that have ended.
func runtimes(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		const scheduled = 2 // kind of clock: ns of CPU time (CPUCLOCK_SCHED, clock_getcpuclockid(3))
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
			return 0, fmt.Errorf("process %d under test has ended: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// pin confines all threads of processes, and their children, to some CPUs.
func pin(cpus []int, pids ...int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	for _, pid := range pids {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return fmt.Errorf("confine process %d: %w", pid, err)
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("confine thread %d to CPU %v: %w", tid, cpus, err)
			}
		}
	}
	return nil
}

// urgent gives threads precedence over all others of their CPU.
func urgent(pids ...int) error {
	for _, pid := range pids {
		a := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
		if err := unix.SchedSetAttr(pid, &a, 0); err != nil {
			return fmt.Errorf("make thread %d urgent: %w", pid, err)
		}
	}
	return nil
}

// PinSelf confines this process and its children to the generator's CPU.
func PinSelf() error { return pin([]int{generatorCPU}, os.Getpid()) }
