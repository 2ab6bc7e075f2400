package workload

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// pipes are the three standard streams of a child, both ends of each.
type pipes struct {
	in, out, err *os.File   // ours
	child        []*os.File // the child's
}

func connect(cmd *exec.Cmd) (*pipes, error) {
	var p pipes
	inR, inW, err1 := os.Pipe()
	outR, outW, err2 := os.Pipe()
	errR, errW, err3 := os.Pipe()
	p.in, p.out, p.err = inW, outR, errR
	p.child = []*os.File{inR, outW, errW}
	if err := errors.Join(err1, err2, err3); err != nil {
		p.closeChild()
		p.closeParent()
		return nil, err
	}
	// The child gets them blocking: os/exec takes them by File.Fd.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, errW
	return &p, nil
}

func (p *pipes) closeChild() { closeFiles(p.child) }

func (p *pipes) closeParent() { closeFiles([]*os.File{p.in, p.out, p.err}) }

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close() // nil is allowed
	}
}

// tail keeps the end of a stream.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// tailSize is how much of standard error is kept, in bytes.
const tailSize = 2048

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}

func (p *Process) keepTail(r *os.File) {
	defer r.Close()
	_, _ = io.Copy(p.tail, r)
}
