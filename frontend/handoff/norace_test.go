//go:build !race

package handoff

// atOnce is how many tests run at once.
const atOnce = "32"

// share of the repetitions that find rare cases: all.
const share = 1
