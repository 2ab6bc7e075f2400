package epoll

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type node -type entry -type waiter -type list_rows -type snapshot_args snapshot bpf/snapshot.bpf.c -- -Wall -Werror -mcpu=v3
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type target -type learn_args -type described -type described_rows -type describe_args -type peek_args discover bpf/discover.bpf.c -- -Wall -Werror -mcpu=v3
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type transition -type cost transitions bpf/transitions.bpf.c -- -Wall -Werror -mcpu=v3
