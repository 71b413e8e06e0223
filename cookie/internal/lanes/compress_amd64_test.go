//go:build !purego

package lanes

import "golang.org/x/sys/cpu"

func nativeCompressors() []compressor {
	var l []compressor
	if hasSHANI {
		l = append(l, compressor{"shani", 1, 1, compressSHANI}, compressor{"shani-x2", 2, 1, compressSHANIx2})
	}
	if cpu.X86.HasAVX2 {
		l = append(l, compressor{"avx2", 8, 8, compressAVX2})
	}
	if hasAVX512 {
		l = append(l, compressor{"avx512-x8", 8, 8, compressAVX512x8}, compressor{"avx512", 16, 16, compressAVX512})
	}
	return l
}
