package uring

import (
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -type peek_args -type peek_bytes peek bpf/peek.bpf.c -- -Wall -Werror -mcpu=v3

// maxStruct bounds the bytes read of one struct (MAX_STRUCT in peek.bpf.c).
const maxStruct = len(peekPeekBytes{}.Bytes)

// reader copies kernel memory for Inspect. Its program is loaded when first
// needed. Its methods may be called concurrently.
type reader struct {
	load ebpf.CollectionOptions

	mu   sync.Mutex
	coll *ebpf.Collection // nil: not loaded
}

// peek copies size bytes of kernel memory.
func (r *reader) peek(addr uint64, size int) ([]byte, error) {
	if size <= 0 || size > maxStruct {
		return nil, fmt.Errorf("a struct of %d bytes is not one of the up to %d that can be read", size, maxStruct)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.coll == nil {
		spec, err := loadPeek()
		if err != nil {
			return nil, err
		}
		if r.coll, err = ebpf.NewCollectionWithOptions(spec, r.load); err != nil {
			return nil, fmt.Errorf("loading the program that reads structs: %w", err)
		}
	}
	args := peekPeekArgs{Addr: addr, Size: uint32(size)}
	ret, err := r.coll.Programs[peekProgPeek].Run(&ebpf.RunOptions{Context: &args, ContextOut: &args})
	if err == nil && ret != 0 {
		err = fmt.Errorf("program returned %d", ret)
	}
	if err != nil {
		return nil, fmt.Errorf("reading kernel memory: %w", err)
	}
	if args.Err != 0 {
		return nil, fmt.Errorf("reading kernel memory: %w", unix.Errno(-args.Err))
	}
	out := make([]byte, maxStruct)
	if err := r.coll.Maps[peekMapPeeked].Lookup(uint32(0), &out); err != nil {
		return nil, fmt.Errorf("reading kernel memory: %w", err)
	}
	return out[:size], nil
}

func (r *reader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.coll != nil {
		r.coll.Close()
		r.coll = nil
	}
}
