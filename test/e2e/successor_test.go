package e2e

import (
	"os"
	"strconv"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handover"
)

// successorEnv makes the test program play a successor that fails.
const successorEnv = "DTLSGUARD_TEST_SUCCESSOR"

// successor is a script that does so.
func successor(self, how string) string {
	return "#!/bin/sh\n" + successorEnv + "=" + how + " exec " + self + "\n"
}

// playSuccessor takes over up to the step that how names.
func playSuccessor(how string) {
	fd, err := strconv.Atoi(os.Getenv(frontend.HandoverVariable))
	if err != nil {
		os.Exit(1)
	}
	c, err := handover.FromFD(fd)
	if err != nil {
		os.Exit(1)
	}
	version := handover.Version
	if how == "version" {
		version = 99
	}
	_ = c.Tell(handover.Message{Say: "hello", Version: version, PID: os.Getpid()})
	_, _, _ = c.Hear(time.Minute)
	if how == "version" {
		time.Sleep(time.Hour) // to be ended
	}
	_ = c.Tell(handover.Message{Say: "prepared"})
	if how == "prepared" {
		os.Exit(1)
	}
	_, _, _ = c.Receive(time.Minute)
	_ = c.Tell(handover.Message{Say: "adopted"})
	_, _, _ = c.Hear(time.Minute)
	if how == "stalls" {
		time.Sleep(time.Hour)
	}
	os.Exit(1)
}
