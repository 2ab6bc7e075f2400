package vmtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Marker begins the lines that the agent in the guest writes between the
// output of the tests:
//
//	@@VMTEST begin PACKAGE
//	@@VMTEST end PACKAGE EXITSTATUS
//	@@VMTEST done
const Marker = "@@VMTEST "

// ErrGuestDied means that the guest stopped before it had run every package:
// a kernel panic, or the time limit.
var ErrGuestDied = errors.New("the guest stopped before the tests were done")

// sink takes what the guest reports, in order.
type sink interface {
	begin(pkg string) error
	line(text string) error
	end(pkg string, status int) error
}

// read reads the result port to its end.
func read(r io.Reader, s sink) error {
	in := bufio.NewReader(r)
	done := false
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			fin, lineErr := dispatch(line, s)
			if lineErr != nil {
				return lineErr
			}
			done = done || fin
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the guest's output: %w", err)
		}
	}
	if !done {
		return ErrGuestDied
	}
	return nil
}

func dispatch(line string, s sink) (done bool, err error) {
	rest, ok := strings.CutPrefix(line, Marker)
	if !ok {
		return false, s.line(line)
	}
	f := strings.Fields(rest)
	switch {
	case len(f) == 1 && f[0] == "done":
		return true, nil
	case len(f) == 2 && f[0] == "begin":
		return false, s.begin(f[1])
	case len(f) == 3 && f[0] == "end":
		status, err := strconv.Atoi(f[2])
		if err != nil {
			return false, fmt.Errorf("the guest wrote %q: %w", line, err)
		}
		return false, s.end(f[1], status)
	}
	return false, fmt.Errorf("the guest wrote %q: want begin, end or done", line)
}
