//go:build !amd64 && !arm64

package privileges

// Without a list for its architecture nothing is filtered, which the log says.
const arch = 0

var legacy []call
