package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// OpenTaskFileIter attaches an iterator over open files (iter/task_file) to one
// process if the kernel can (BPF_ITER with task parameters, since 6.1), else to
// all, as for pid 0. The caller closes it.
func OpenTaskFileIter(prog *ebpf.Program, pid int) (io.ReadCloser, error) {
	if pid != 0 {
		if f, err := openFilteredIter(prog, pid); err == nil {
			return f, nil
		} else if errors.Is(err, unix.ESRCH) {
			return io.NopCloser(emptyReader{}), nil
		}
	}
	iter, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		return nil, err
	}
	defer iter.Close()
	return iter.Open()
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, io.EOF }

// openFilteredIter makes a BPF_LINK_CREATE call with bpf_iter_link_info.task,
// which cilium/ebpf has no option for, and opens it (include/uapi/linux/bpf.h).
func openFilteredIter(prog *ebpf.Program, pid int) (io.ReadCloser, error) {
	const (
		bpfLinkCreate   = 28
		bpfIterCreate   = 33
		attachTraceIter = 28
	)
	info := struct{ tid, pid, pidFD, pad uint32 }{pid: uint32(pid)}
	create := struct {
		progFD, targetFD, attachType, flags uint32
		info                                uint64
		infoLen                             uint32
		pad                                 [9]uint32
	}{
		progFD:     uint32(prog.FD()),
		attachType: attachTraceIter,
		info:       uint64(uintptr(unsafe.Pointer(&info))),
		infoLen:    uint32(unsafe.Sizeof(info)),
	}
	linkFD, _, errno := unix.Syscall(unix.SYS_BPF, bpfLinkCreate, uintptr(unsafe.Pointer(&create)), unsafe.Sizeof(create))
	if errno != 0 {
		return nil, errno
	}
	defer unix.Close(int(linkFD))
	open := struct {
		linkFD, flags uint32
		pad           [14]uint32
	}{linkFD: uint32(linkFD)}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, bpfIterCreate, uintptr(unsafe.Pointer(&open)), unsafe.Sizeof(open))
	if errno != 0 {
		return nil, errno
	}
	return rawFile(fd), nil
}

// rawFile reads an fd without the runtime poller: an os.File would add it to
// the epoll instance of our own process, which is among those we show.
type rawFile int

func (f rawFile) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(f), b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (f rawFile) Close() error { return unix.Close(int(f)) }

// maxAgain bounds how often in a row the iterator is asked to go on.
const maxAgain = 100

// ReadRecords calls each with every record of an iterator. A read that passed a
// million files and found no record gives EAGAIN, and the next goes on from
// there (MAX_ITER_OBJECTS in kernel/bpf/bpf_iter.c).
func ReadRecords(ctx context.Context, iter io.Reader, size int, each func(raw []byte) error) error {
	buf := make([]byte, 64*size)
	have, again := 0, 0
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := iter.Read(buf[have:])
		have += n
		used := 0
		for ; have-used >= size; used += size {
			if err := each(buf[used : used+size]); err != nil {
				return err
			}
		}
		have = copy(buf, buf[used:have])
		switch {
		case err == nil:
			again = 0
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, unix.EAGAIN) && again < maxAgain:
			again++
		default:
			return fmt.Errorf("reading open files: %w", err)
		}
	}
}
