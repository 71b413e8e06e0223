package cookie

import (
	"crypto/hmac"
	"hash"
)

// HMAC makes an HMAC under k's secret with any hash, for cookies that are not of this package's format: those of
// servers that share the secret. It is for one goroutine; reset it for each message.
func (k *Key) HMAC(h func() hash.Hash) hash.Hash { return hmac.New(h, k.secret[:]) }
