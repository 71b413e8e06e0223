//go:build !race

package handoff

// atOnce is how many tests run at once.
const atOnce = "32"
