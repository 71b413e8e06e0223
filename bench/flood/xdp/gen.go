package xdp

// The objects are committed; the same compiler gives the same bytes.
//
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -type thread -type template -target bpfel,bpfeb flood flood.bpf.c -- -I../../../bpf/headers -O2 -Wall -Wextra -Werror -Wno-sign-compare -mcpu=v3
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -type count -type sample -target bpfel,bpfeb count count.bpf.c -- -I../../../bpf/headers -O2 -Wall -Wextra -Werror -Wno-sign-compare -mcpu=v3
