package kernel

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// iterator gives what it is told to, one part at a time.
type iterator []any

func (it *iterator) Read(b []byte) (int, error) {
	if len(*it) == 0 {
		return 0, io.EOF
	}
	next := (*it)[0]
	*it = (*it)[1:]
	if err, ok := next.(error); ok {
		return 0, err
	}
	return copy(b, next.(string)), nil
}

// The iterator gives up for a moment where it passed very many files.
func TestIteratorAsksToReadAgain(t *testing.T) {
	again := &os.PathError{Op: "read", Path: "bpf_iter", Err: unix.EAGAIN}
	read := func(it iterator) (out []string, err error) {
		err = ReadRecords(context.Background(), &it, 4, func(raw []byte) error {
			out = append(out, string(raw))
			return nil
		})
		return out, err
	}
	got, err := read(iterator{again, "abcdef", again, again, "gh", "ijkl"})
	if err != nil || !slices.Equal(got, []string{"abcd", "efgh", "ijkl"}) {
		t.Errorf("%q, %v", got, err)
	}
	endless := iterator{}
	for range maxAgain + 1 {
		endless = append(endless, again)
	}
	if _, err := read(endless); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%v", err)
	}
	if _, err := read(iterator{"abcd", unix.EIO}); !errors.Is(err, unix.EIO) {
		t.Errorf("%v", err)
	}
}
