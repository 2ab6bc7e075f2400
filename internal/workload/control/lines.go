package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrLineTooLong is returned by Lines.Next for a line beyond the bound.
var ErrLineTooLong = errors.New("line too long")

// Lines splits a stream into lines no longer than a bound. It holds no more
// than it has read.
type Lines struct {
	r     io.Reader
	max   int
	buf   []byte // read and not yet returned
	start int    // of the unread part of buf
}

// NewLines reads lines of at most max bytes from r.
func NewLines(r io.Reader, max int) *Lines {
	return &Lines{r: r, max: max}
}

// Next returns the next line without its newline. The slice is valid until the
// following call. A last line without newline is returned before io.EOF.
func (l *Lines) Next() ([]byte, error) {
	searched := l.start
	for {
		if i := bytes.IndexByte(l.buf[searched:], '\n'); i >= 0 {
			line := l.buf[l.start : searched+i]
			l.start = searched + i + 1
			if len(line) > l.max {
				return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrLineTooLong, len(line), l.max)
			}
			return line, nil
		}
		searched = len(l.buf)
		if searched-l.start > l.max {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrLineTooLong, l.max)
		}
		searched -= l.shift()
		n, err := l.fill()
		if n > 0 || err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) || l.start == len(l.buf) {
			return nil, err
		}
		line := l.buf[l.start:]
		l.start = len(l.buf)
		return line, nil
	}
}

// shift moves the unread part to the front of the buffer and returns by how
// much.
func (l *Lines) shift() int {
	by := l.start
	l.buf = l.buf[:copy(l.buf, l.buf[by:])]
	l.start = 0
	return by
}

func (l *Lines) fill() (int, error) {
	const step = 32 << 10
	if cap(l.buf)-len(l.buf) < step {
		grown := make([]byte, len(l.buf), 2*cap(l.buf)+step)
		copy(grown, l.buf)
		l.buf = grown
	}
	n, err := l.r.Read(l.buf[len(l.buf):cap(l.buf)])
	l.buf = l.buf[:len(l.buf)+n]
	return n, err
}
