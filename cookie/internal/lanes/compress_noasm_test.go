//go:build purego || !(amd64 || arm64)

package lanes

func nativeCompressors() []compressor { return nil }
