package main

import (
	"fmt"
	"os"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/scenario"
)

func main() {
	if err := scenario.Try(2 * time.Second); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
