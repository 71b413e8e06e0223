package privileges

import "golang.org/x/sys/unix"

// call is a system call by its name, which is that of the manual and of strace(1).
type call struct {
	name   string
	number uint32
}

// serving are the calls of a guard that serves, by what needs them. TestCalls holds that each call that a guard was seen to
// make is here. What is not here, among others: execve, ptrace, mount, setns, unshare, keyctl, io_uring_setup,
// perf_event_open, userfaultfd, init_module, kexec_load, process_vm_readv.
var serving = []call{
	// Go's scheduler, memory, timers and signals.
	{"futex", unix.SYS_FUTEX}, {"clone", unix.SYS_CLONE}, {"clone3", unix.SYS_CLONE3}, {"exit", unix.SYS_EXIT}, {"exit_group", unix.SYS_EXIT_GROUP},
	{"gettid", unix.SYS_GETTID}, {"getpid", unix.SYS_GETPID}, {"getppid", unix.SYS_GETPPID}, {"tgkill", unix.SYS_TGKILL}, {"tkill", unix.SYS_TKILL},
	{"kill", unix.SYS_KILL}, {"mmap", unix.SYS_MMAP}, {"munmap", unix.SYS_MUNMAP}, {"mremap", unix.SYS_MREMAP}, {"mprotect", unix.SYS_MPROTECT},
	{"madvise", unix.SYS_MADVISE}, {"mincore", unix.SYS_MINCORE}, {"brk", unix.SYS_BRK}, {"rt_sigaction", unix.SYS_RT_SIGACTION},
	{"rt_sigprocmask", unix.SYS_RT_SIGPROCMASK}, {"rt_sigreturn", unix.SYS_RT_SIGRETURN}, {"sigaltstack", unix.SYS_SIGALTSTACK},
	{"nanosleep", unix.SYS_NANOSLEEP}, {"clock_nanosleep", unix.SYS_CLOCK_NANOSLEEP}, {"clock_gettime", unix.SYS_CLOCK_GETTIME},
	{"clock_getres", unix.SYS_CLOCK_GETRES}, {"gettimeofday", unix.SYS_GETTIMEOFDAY}, {"sched_yield", unix.SYS_SCHED_YIELD},
	{"restart_syscall", unix.SYS_RESTART_SYSCALL}, {"getrandom", unix.SYS_GETRANDOM}, {"membarrier", unix.SYS_MEMBARRIER},
	{"timer_create", unix.SYS_TIMER_CREATE}, {"timer_settime", unix.SYS_TIMER_SETTIME}, {"timer_delete", unix.SYS_TIMER_DELETE},
	{"setitimer", unix.SYS_SETITIMER}, {"set_robust_list", unix.SYS_SET_ROBUST_LIST}, {"rseq", unix.SYS_RSEQ}, {"prctl", unix.SYS_PRCTL},
	// Workers' threads: where they run and how soon, also those of services that a reload adds.
	{"sched_getaffinity", unix.SYS_SCHED_GETAFFINITY}, {"sched_setaffinity", unix.SYS_SCHED_SETAFFINITY}, {"getpriority", unix.SYS_GETPRIORITY},
	{"setpriority", unix.SYS_SETPRIORITY}, {"getcpu", unix.SYS_GETCPU}, {"getrusage", unix.SYS_GETRUSAGE}, {"sysinfo", unix.SYS_SYSINFO},
	{"uname", unix.SYS_UNAME}, {"prlimit64", unix.SYS_PRLIMIT64}, {"getsid", unix.SYS_GETSID},
	{"getuid", unix.SYS_GETUID}, {"geteuid", unix.SYS_GETEUID}, {"getgid", unix.SYS_GETGID}, {"getegid", unix.SYS_GETEGID}, {"capget", unix.SYS_CAPGET},
	// Waiting: epoll, and what wakes from it.
	{"epoll_create1", unix.SYS_EPOLL_CREATE1}, {"epoll_ctl", unix.SYS_EPOLL_CTL}, {"epoll_pwait", unix.SYS_EPOLL_PWAIT},
	{"epoll_pwait2", unix.SYS_EPOLL_PWAIT2}, {"ppoll", unix.SYS_PPOLL}, {"eventfd2", unix.SYS_EVENTFD2}, {"pipe2", unix.SYS_PIPE2},
	{"timerfd_create", unix.SYS_TIMERFD_CREATE}, {"timerfd_settime", unix.SYS_TIMERFD_SETTIME}, {"signalfd4", unix.SYS_SIGNALFD4},
	// Sockets: flows', probes', metrics, control, netlink, the service manager's.
	{"socket", unix.SYS_SOCKET}, {"socketpair", unix.SYS_SOCKETPAIR}, {"bind", unix.SYS_BIND}, {"connect", unix.SYS_CONNECT},
	{"listen", unix.SYS_LISTEN}, {"accept4", unix.SYS_ACCEPT4}, {"getsockname", unix.SYS_GETSOCKNAME}, {"getpeername", unix.SYS_GETPEERNAME},
	{"getsockopt", unix.SYS_GETSOCKOPT}, {"setsockopt", unix.SYS_SETSOCKOPT}, {"shutdown", unix.SYS_SHUTDOWN},
	{"sendto", unix.SYS_SENDTO}, {"sendmsg", unix.SYS_SENDMSG}, {"sendmmsg", unix.SYS_SENDMMSG},
	{"recvfrom", unix.SYS_RECVFROM}, {"recvmsg", unix.SYS_RECVMSG}, {"recvmmsg", unix.SYS_RECVMMSG},
	// Files: secrets, configuration, logs, pins, /proc and /sys. Which ones is Landlock's affair.
	{"read", unix.SYS_READ}, {"readv", unix.SYS_READV}, {"pread64", unix.SYS_PREAD64}, {"write", unix.SYS_WRITE}, {"writev", unix.SYS_WRITEV},
	{"pwrite64", unix.SYS_PWRITE64}, {"close", unix.SYS_CLOSE}, {"close_range", unix.SYS_CLOSE_RANGE}, {"openat", unix.SYS_OPENAT}, {"lseek", unix.SYS_LSEEK}, {"fstat", unix.SYS_FSTAT},
	{"statx", unix.SYS_STATX}, {"faccessat", unix.SYS_FACCESSAT}, {"faccessat2", unix.SYS_FACCESSAT2}, {"readlinkat", unix.SYS_READLINKAT},
	{"getdents64", unix.SYS_GETDENTS64}, {"getcwd", unix.SYS_GETCWD}, {"statfs", unix.SYS_STATFS}, {"fstatfs", unix.SYS_FSTATFS},
	{"fcntl", unix.SYS_FCNTL}, {"flock", unix.SYS_FLOCK}, {"ioctl", unix.SYS_IOCTL}, {"dup", unix.SYS_DUP}, {"dup3", unix.SYS_DUP3},
	{"mkdirat", unix.SYS_MKDIRAT}, {"symlinkat", unix.SYS_SYMLINKAT}, {"unlinkat", unix.SYS_UNLINKAT}, {"renameat2", unix.SYS_RENAMEAT2},
	{"ftruncate", unix.SYS_FTRUNCATE}, {"fsync", unix.SYS_FSYNC}, {"fdatasync", unix.SYS_FDATASYNC}, {"fchmod", unix.SYS_FCHMOD},
	{"memfd_create", unix.SYS_MEMFD_CREATE}, // what a guard hands to the one that takes its place
	{"fchmodat", unix.SYS_FCHMODAT}, {"fchown", unix.SYS_FCHOWN}, {"fchownat", unix.SYS_FCHOWNAT}, {"sendfile", unix.SYS_SENDFILE}, {"splice", unix.SYS_SPLICE}, {"copy_file_range", unix.SYS_COPY_FILE_RANGE},
	// Other processes of this user: whether they live.
	{"pidfd_open", unix.SYS_PIDFD_OPEN}, {"pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL},
}

// commands are those of bpf(2) that a guard with XDP makes: maps, pins and links. Loading a program (BPF_PROG_LOAD) is not
// among them, so that the capabilities that attaching takes lend themselves to nothing else.
var commands = []call{
	{"BPF_MAP_CREATE", unix.BPF_MAP_CREATE}, {"BPF_MAP_LOOKUP_ELEM", unix.BPF_MAP_LOOKUP_ELEM}, {"BPF_MAP_UPDATE_ELEM", unix.BPF_MAP_UPDATE_ELEM},
	{"BPF_MAP_DELETE_ELEM", unix.BPF_MAP_DELETE_ELEM}, {"BPF_MAP_GET_NEXT_KEY", unix.BPF_MAP_GET_NEXT_KEY},
	{"BPF_MAP_LOOKUP_AND_DELETE_ELEM", unix.BPF_MAP_LOOKUP_AND_DELETE_ELEM}, {"BPF_MAP_FREEZE", unix.BPF_MAP_FREEZE},
	{"BPF_MAP_LOOKUP_BATCH", unix.BPF_MAP_LOOKUP_BATCH}, {"BPF_MAP_LOOKUP_AND_DELETE_BATCH", unix.BPF_MAP_LOOKUP_AND_DELETE_BATCH},
	{"BPF_MAP_UPDATE_BATCH", unix.BPF_MAP_UPDATE_BATCH}, {"BPF_MAP_DELETE_BATCH", unix.BPF_MAP_DELETE_BATCH},
	{"BPF_OBJ_PIN", unix.BPF_OBJ_PIN}, {"BPF_OBJ_GET", unix.BPF_OBJ_GET}, {"BPF_OBJ_GET_INFO_BY_FD", unix.BPF_OBJ_GET_INFO_BY_FD},
	{"BPF_PROG_QUERY", unix.BPF_PROG_QUERY}, {"BPF_PROG_GET_FD_BY_ID", unix.BPF_PROG_GET_FD_BY_ID}, {"BPF_PROG_GET_NEXT_ID", unix.BPF_PROG_GET_NEXT_ID},
	{"BPF_MAP_GET_FD_BY_ID", unix.BPF_MAP_GET_FD_BY_ID}, {"BPF_MAP_GET_NEXT_ID", unix.BPF_MAP_GET_NEXT_ID},
	{"BPF_LINK_CREATE", unix.BPF_LINK_CREATE}, {"BPF_LINK_UPDATE", unix.BPF_LINK_UPDATE}, {"BPF_LINK_DETACH", unix.BPF_LINK_DETACH},
	{"BPF_LINK_GET_FD_BY_ID", unix.BPF_LINK_GET_FD_BY_ID}, {"BPF_LINK_GET_NEXT_ID", unix.BPF_LINK_GET_NEXT_ID},
	{"BPF_BTF_LOAD", unix.BPF_BTF_LOAD}, // of new maps: what their bytes mean, to bpftool
	{"BPF_BTF_GET_FD_BY_ID", unix.BPF_BTF_GET_FD_BY_ID},
}

// Allowed are the names of the calls that a guard may still make after [Drop], without Exec.
func Allowed() []string {
	names := []string{"bpf"} // by its commands
	for _, list := range [][]call{serving, legacy} {
		for _, c := range list {
			names = append(names, c.name)
		}
	}
	return names
}
