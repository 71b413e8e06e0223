//go:build purego || !(amd64 || arm64)

package cookie

func nativeCompressors() []compressor { return nil }
