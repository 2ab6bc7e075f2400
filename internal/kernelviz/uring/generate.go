package uring

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type target -type ring -type ring_lists rings bpf/rings.bpf.c -- -Wall -Werror -mcpu=v3
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type life -type request -type ring_state -type cost -type skip_args lives bpf/lives.bpf.c -- -Wall -Werror -mcpu=v3
