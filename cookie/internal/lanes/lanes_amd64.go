//go:build !purego

package lanes

import "golang.org/x/sys/cpu"

// hasSHANI asks the processor itself: golang.org/x/sys/cpu reads the same leaf and leaves this bit out.
var hasSHANI = cpu.X86.HasSSSE3 && cpu.X86.HasSSE41 && extendedFeatures()&(1<<29) != 0

var hasAVX512 = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL

func native() []*implementation {
	var l []*implementation
	add := func(has bool, im implementation) {
		if has {
			l = append(l, &im)
		}
	}
	add(hasSHANI, implementation{name: "shani", width: 1, lanes: 1, sum: kernel(sumSHANI)})
	add(hasSHANI, implementation{name: "shani-x2", width: 2, lanes: 1, sum: kernel(sumSHANIx2)})
	add(cpu.X86.HasAVX2, implementation{name: "avx2", width: 8, lanes: 8, sum: kernel(sumAVX2)})
	add(hasAVX512, implementation{name: "avx512-x8", width: 8, lanes: 8, sum: kernel(sumAVX512x8)})
	add(hasAVX512, implementation{name: "avx512", width: 16, lanes: 16, sum: kernel(sumAVX512)})
	return l
}

// sumOne computes one cookie without a call that the compiler cannot see through, so that its arguments can
// live on the stack.
func sumOne(dst *[Size]byte, words *block, k *Key) {
	if hasSHANI {
		sumSHANI(&dst[0], &words[0], &k.inner[0], 1)
		return
	}
	sumOneGeneric(dst, words, k)
}
