package uring

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type target -type ring -type ring_lists rings bpf/rings.bpf.c -- -Wall -Werror -mcpu=v3
