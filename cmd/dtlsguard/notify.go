package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// notifyFile sends a message with an open file to the service manager (sd_pid_notify_with_fds(3)).
func notifyFile(message string, f *os.File) error {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(socket)
		to := &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}
		err = unix.Sendmsg(socket, []byte(message), unix.UnixRights(int(f.Fd())), to, 0)
	}
	if err != nil {
		return fmt.Errorf("talk to the service manager: %w", err)
	}
	return nil
}

// barrierTime is how long the service manager may take to read its messages.
const barrierTime = 2 * time.Second

// barrier returns when the service manager has read all earlier messages (sd_notify_barrier(3)).
func barrier() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	defer r.Close()
	err = notifyFile("BARRIER=1", w)
	w.Close()
	if err == nil {
		_ = r.SetReadDeadline(time.Now().Add(barrierTime))
		_, _ = r.Read(make([]byte, 1)) // its end, when the manager has closed its copy
	}
}

// newMain makes another process the service's main process. The service manager only listens to the main process, so this one
// must send it, before the other one sends anything.
func newMain(pid int) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return
	}
	(&manager{}).notify(fmt.Sprintf("MAINPID=%d", pid))
	barrier()
}

// keep stores a file with the service manager for the next process of the service. FDPOLL=0: the other end of the socket pair
// is closed, and by default the manager drops such files.
func keep(f *os.File) error {
	if err := notifyFile("FDSTORE=1\nFDPOLL=0\nFDNAME="+frontend.StoredState, f); err != nil {
		return err
	}
	barrier() // so that it is kept when this process ends
	return nil
}

// unkeep removes the stored file after it was read.
func unkeep() { (&manager{}).notify("FDSTOREREMOVE=1\nFDNAME=" + frontend.StoredState) }
