//go:build !purego

package lanes

import "golang.org/x/sys/cpu"

// sumSHA2x2 writes the cookies of groups times 2 messages of 16 words each.
//
//go:noescape
func sumSHA2x2(dst *byte, words, key *uint32, groups int)

// compressSHA2x2 is 2 plain compressions, for tests.
//
//go:noescape
func compressSHA2x2(states, words *uint32)

func native() []*implementation {
	if !cpu.ARM64.HasSHA2 {
		return nil
	}
	return []*implementation{{name: "sha2-x2", width: 2, lanes: 1, sum: kernel(sumSHA2x2)}}
}

// sumOne computes one cookie without a call that the compiler cannot see through, so that its arguments can
// live on the stack.
func sumOne(dst *[Size]byte, words *block, k *Key) {
	if !cpu.ARM64.HasSHA2 {
		sumOneGeneric(dst, words, k)
		return
	}
	two, cookies := [2]block{*words}, [2][Size]byte{}
	sumSHA2x2(&cookies[0][0], &two[0][0], &k.inner[0], 1)
	*dst = cookies[0]
}
