package privileges

import "golang.org/x/sys/unix"

const arch = unix.AUDIT_ARCH_X86_64

// legacy are older forms of calls that this architecture still has, and Go or a C library makes.
var legacy = []call{
	{"newfstatat", unix.SYS_NEWFSTATAT}, {"renameat", unix.SYS_RENAMEAT}, {"epoll_wait", unix.SYS_EPOLL_WAIT}, {"poll", unix.SYS_POLL}, {"dup2", unix.SYS_DUP2},
	{"open", unix.SYS_OPEN}, {"stat", unix.SYS_STAT}, {"lstat", unix.SYS_LSTAT}, {"access", unix.SYS_ACCESS}, {"readlink", unix.SYS_READLINK},
	{"unlink", unix.SYS_UNLINK}, {"chmod", unix.SYS_CHMOD}, {"getrlimit", unix.SYS_GETRLIMIT}, {"time", unix.SYS_TIME}, {"accept", unix.SYS_ACCEPT},
}
