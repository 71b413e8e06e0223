//go:build race

package handoff

// atOnce is how many tests run at once: the race detector makes each several times slower.
const atOnce = "8"
