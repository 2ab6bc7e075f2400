// Package vmtest runs Go tests on another kernel: it boots a Linux kernel in
// qemu from an initramfs that holds the test binaries, and reads what they print
// from a serial port. No module, disk or network is needed, and no KVM.
package vmtest

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// cpioWriter writes an archive in the format that the kernel unpacks as an
// initramfs: "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpioWriter struct {
	w    io.Writer
	ino  uint32
	n    int64           // bytes written
	dirs map[string]bool // directories written; a file needs its own before it
}

func newCPIO(w io.Writer) *cpioWriter { return &cpioWriter{w: w, dirs: map[string]bool{".": true}} }

const (
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
)

// file writes size bytes of r as a regular file, after its directories.
func (c *cpioWriter) file(name string, perm uint32, size int64, r io.Reader) error {
	if err := c.mkdir(path.Dir(name)); err != nil {
		return err
	}
	return c.entry(name, modeFile|perm, size, r)
}

func (c *cpioWriter) text(name, content string) error {
	return c.file(name, 0o644, int64(len(content)), strings.NewReader(content))
}

func (c *cpioWriter) symlink(name, target string) error {
	if err := c.mkdir(path.Dir(name)); err != nil {
		return err
	}
	return c.entry(name, modeLink|0o777, int64(len(target)), strings.NewReader(target))
}

func (c *cpioWriter) mkdir(name string) error {
	if c.dirs[name] {
		return nil
	}
	if err := c.mkdir(path.Dir(name)); err != nil {
		return err
	}
	c.dirs[name] = true
	return c.entry(name, modeDir|0o755, 0, strings.NewReader(""))
}

// close writes the trailer. The kernel wants nothing more.
func (c *cpioWriter) close() error {
	return c.entry("TRAILER!!!", 0, 0, strings.NewReader(""))
}

func (c *cpioWriter) entry(name string, mode uint32, size int64, r io.Reader) error {
	if size > 1<<32-1 {
		return fmt.Errorf("packing %s: %d bytes do not fit this format", name, size)
	}
	c.ino++
	// ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	_, err := c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name))
	if err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	if err := c.pad(); err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	n, err := io.Copy(writerFunc(c.write), io.LimitReader(r, size))
	if err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	if n != size {
		return fmt.Errorf("packing %s: has %d bytes, expected %d: it changed while it was read", name, n, size)
	}
	return c.pad()
}

// pad fills up to a multiple of four bytes.
func (c *cpioWriter) pad() error {
	_, err := c.write(make([]byte, -c.n&3))
	return err
}

func (c *cpioWriter) write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
