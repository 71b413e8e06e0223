//go:build race

package handoff

// atOnce is how many tests run at once: the race detector makes each several times slower.
const atOnce = "8"

// share of the repetitions that find rare cases: they are of one goroutine, which has no races.
const share = 16
