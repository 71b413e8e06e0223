package bpf

// The programs are compiled for both byte orders. The objects are committed, so that only a change of the C code needs a
// compiler; the same compiler gives the same bytes.
//
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -type service -type pool_entry -type port_use -type service_key -type flow_key -type flow -type half_open_flow -type keyring -type control -type credit -type counters -type sender_table -type address_bucket -type prefix_key -type capture_filter -type packet_sample -type service_state -target bpfel,bpfeb guard guard.bpf.c -- -O2 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-implicit-fallthrough -mcpu=v3
//go:generate go run ./enums
