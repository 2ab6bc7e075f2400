package syscalls

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type calls count bpf/count.bpf.c -- -Wall -Werror -mcpu=v3
//go:generate go run names_gen.go
