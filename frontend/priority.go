package frontend

import (
	"errors"
	"log/slog"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// setNice gives the calling thread its priority among the threads of the session.
func setNice(nice int, log *slog.Logger) {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil {
		log.Debug("worker keeps the usual priority", "worker_nice", nice, "error", err,
			"hint", "start as root, or with LimitNICE= in the systemd unit")
	}
}

// setAutogroupNice gives the session that this process leads the same priority. Where the kernel groups threads by session
// (sched(7), "The autogroup feature": the default of most distributions), those of two sessions share a CPU by the sessions'
// priorities, and a thread of the kernel counts as a session. Leave a session led by
// another program alone: raising it would also favour its other processes, and would outlast us.
func setAutogroupNice(nice int, log *slog.Logger) {
	if nice == 0 {
		return
	}
	const file = "/proc/self/autogroup"
	leader, err := unix.Getsid(0)
	if err == nil && leader != os.Getpid() {
		err = errors.New("it is in a session that it does not lead")
	}
	if err == nil {
		// No O_CREATE: without the feature there is no such file.
		var f *os.File
		if f, err = os.OpenFile(file, os.O_WRONLY, 0); err == nil {
			_, err = f.WriteString(strconv.Itoa(nice))
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Debug("dtlsguard's session keeps the usual priority", "worker_nice", nice, "error", err,
			"hint", "start it from a service manager, or with setsid(1); as root, or with LimitNICE= in the systemd unit")
	}
}
