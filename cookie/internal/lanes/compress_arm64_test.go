//go:build !purego

package lanes

import "golang.org/x/sys/cpu"

func nativeCompressors() []compressor {
	if !cpu.ARM64.HasSHA2 {
		return nil
	}
	return []compressor{{"sha2-x2", 2, 1, compressSHA2x2}}
}
