package trial

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// PageSize is how much of a file one small read takes, in bytes.
	PageSize = 4096
	// pagesName is the file that syscalls and odirect read, in Spec.Dir.
	pagesName = "pages"
	// chunk is how much is written, or read ahead, at a time.
	chunk = 1 << 20
	// syncEach is how much is written to the disk at once.
	syncEach = 64 << 20
)

// WritePages makes the file that syscalls and odirect read: size bytes, a
// multiple of 1 MiB. Every page begins and ends with a stamp that tells which
// one it is; the rest is noise, so that nothing below compresses it. It is on
// the disk when this returns, and still in the page cache.
func WritePages(ctx context.Context, dir string, size int64) (err error) {
	if size <= 0 || size%chunk != 0 {
		return fmt.Errorf("a file of %d bytes: its size is no multiple of 1 MiB", size)
	}
	path := filepath.Join(dir, pagesName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("making the file to read: %w", err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("making the file to read: %w", closeErr)
		}
	}()
	block := make([]byte, chunk)
	for i := range len(block) / 8 {
		binary.LittleEndian.PutUint64(block[i*8:], mix(uint64(i)))
	}
	for off := int64(0); off < size; off += chunk {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("making the file to read: %w", context.Cause(ctx))
		}
		for p := int64(0); p < chunk; p += PageSize {
			setStamp(block[p:p+PageSize], uint64(off+p)/PageSize)
		}
		if _, err := f.Write(block); err != nil {
			return fmt.Errorf("making the file to read, %d of %d MiB written: %w", off>>20, size>>20, err)
		}
		// Bit by bit, for one who cancels it should not wait for gigabytes.
		if off%syncEach == syncEach-chunk {
			if err := f.Sync(); err != nil {
				return fmt.Errorf("writing the file to read to the disk: %w", err)
			}
		}
	}
	// What is dirty would be written while others are measured.
	if err := f.Sync(); err != nil {
		return fmt.Errorf("writing the file to read to the disk: %w", err)
	}
	return nil
}

// mix makes numbers that look random of numbers that do not; different ones of
// different ones.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func setStamp(page []byte, number uint64) {
	binary.LittleEndian.PutUint64(page, mix(number))
	binary.LittleEndian.PutUint64(page[PageSize-8:], bits.Reverse64(mix(number)))
}

// stamped tells whether this is the page of that number.
func stamped(page []byte, number uint64) bool {
	return binary.LittleEndian.Uint64(page) == mix(number) &&
		binary.LittleEndian.Uint64(page[PageSize-8:PageSize]) == bits.Reverse64(mix(number))
}

// wrongPage is the error of a read that gave something else.
func wrongPage(page []byte, number uint64) error {
	return fmt.Errorf("reading page %d of the file gave something else: it begins with %#x, not %#x, and ends with %#x, not %#x",
		number, binary.LittleEndian.Uint64(page), mix(number),
		binary.LittleEndian.Uint64(page[PageSize-8:PageSize]), bits.Reverse64(mix(number)))
}

// openPages opens the file of WritePages, which must have that size.
func openPages(dir string, size int64, flags int) (int, error) {
	path := filepath.Join(dir, pagesName)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("looking at %s: %w", path, err)
	}
	if st.Size != size {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("%s has %d bytes, want %d", path, st.Size, size)
	}
	return fd, nil
}

// warm brings all of the file into the page cache and makes sure that it is
// there: a read that goes to the disk would be another experiment.
func warm(fd int, size int64) error {
	// Twice: what is read first may push out what is read last, once.
	var have int64
	for range 2 {
		var err error
		if have, err = resident(fd, size); err != nil {
			return err
		}
		if have == size/PageSize {
			return nil
		}
		if err := readAll(fd, size); err != nil {
			return err
		}
	}
	have, err := resident(fd, size)
	if err != nil {
		return err
	}
	if have != size/PageSize {
		return fmt.Errorf("of the %d MiB to read, %d MiB stay in the page cache: "+
			"too little memory is free; end what uses it, or run it with --quick", size>>20, have*PageSize>>20)
	}
	return nil
}

// resident is how many pages of a file are in the page cache.
func resident(fd int, size int64) (int64, error) {
	m, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("mmap of the file to read: %w", err)
	}
	defer func() { _ = unix.Munmap(m) }()
	unit := os.Getpagesize()
	in := make([]byte, (len(m)+unit-1)/unit)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&in[0]))); errno != 0 {
		return 0, fmt.Errorf("mincore on the file to read: %w", errno)
	}
	n := int64(0)
	for _, b := range in {
		n += int64(b & 1)
	}
	return n * int64(unit) / PageSize, nil
}

func readAll(fd int, size int64) error {
	b := make([]byte, chunk)
	for off := int64(0); off < size; {
		n, err := unix.Pread(fd, b, off)
		if err != nil {
			return fmt.Errorf("reading the file into the page cache: %w", err)
		}
		if n == 0 {
			return fmt.Errorf("the file to read ends after %d of %d bytes", off, size)
		}
		off += int64(n)
	}
	return nil
}
