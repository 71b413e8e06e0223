package privileges

import "golang.org/x/sys/unix"

const arch = unix.AUDIT_ARCH_AARCH64

// legacy are calls that this architecture has under a name of its own.
var legacy = []call{{"newfstatat", unix.SYS_FSTATAT}, {"renameat", unix.SYS_RENAMEAT}}
