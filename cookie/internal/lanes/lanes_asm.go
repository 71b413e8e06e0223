//go:build !purego && (amd64 || arm64)

package lanes

// kernel makes an implementation's sum of a function in assembly. What it is given is on the heap already, so
// the call that the compiler cannot see through costs nothing.
func kernel(f func(dst *byte, words, key *uint32, groups int)) func([][Size]byte, []uint32, *Key, int) {
	return func(dst [][Size]byte, words []uint32, k *Key, groups int) {
		f(&dst[0][0], &words[0], &k.inner[0], groups)
	}
}
