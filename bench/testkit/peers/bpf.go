package peers

// The objects are committed; the same compiler gives the same bytes.
//
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -target bpfel,bpfeb reflect reflect.bpf.c -- -I../../../bpf/headers -O2 -Wall -Wextra -Werror -Wno-unused-parameter -mcpu=v3
