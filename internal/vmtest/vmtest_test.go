package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The archive is read back by cpio(1).
func TestCPIO(t *testing.T) {
	var b bytes.Buffer
	c := newCPIO(&b)
	if err := errors.Join(
		c.text("a/b/odd", "12345"),
		c.file("a/b/run", 0o755, 3, strings.NewReader("abc")),
		c.symlink("bin/sh", "busybox"),
		c.text("empty", ""),
		c.close(),
	); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes: an archive after this one would not be aligned", b.Len())
	}
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-idm", "--quiet")
	cmd.Dir = dir
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for name, want := range map[string]string{"a/b/odd": "12345", "a/b/run": "abc", "empty": ""} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "a/b/run")); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("a/b/run: %v %v", st, err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "bin/sh")); err != nil || target != "busybox" {
		t.Errorf("bin/sh -> %q (%v)", target, err)
	}
}

func TestCPIORefusesAFileThatShrank(t *testing.T) {
	c := newCPIO(&bytes.Buffer{})
	if err := c.file("x", 0o644, 10, strings.NewReader("short")); err == nil {
		t.Error("10 bytes promised, 5 packed, no error")
	}
}

// recorder keeps what read reports, one string each.
type recorder struct{ events []string }

func (r *recorder) begin(pkg string) error { r.events = append(r.events, "begin "+pkg); return nil }
func (r *recorder) line(s string) error    { r.events = append(r.events, "line "+s); return nil }
func (r *recorder) end(pkg string, status int) error {
	r.events = append(r.events, fmt.Sprintf("end %s %d", pkg, status))
	return nil
}

func TestRead(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
		err      error // nil, ErrGuestDied, or errAny
	}{
		{"two packages", "@@VMTEST begin p\nhello\n\n@@VMTEST end p 0\n@@VMTEST begin q\n@@VMTEST end q 2\n@@VMTEST done\n",
			[]string{"begin p", "line hello\n", "line \n", "end p 0", "begin q", "end q 2"}, nil},
		{"died at once", "", nil, ErrGuestDied},
		{"died in a package", "@@VMTEST begin p\nhalf a li", []string{"begin p", "line half a li"}, ErrGuestDied},
		{"died between packages", "@@VMTEST begin p\n@@VMTEST end p 0\n", []string{"begin p", "end p 0"}, ErrGuestDied},
		{"marker inside a line is output", "say @@VMTEST done\n", []string{"line say @@VMTEST done\n"}, ErrGuestDied},
		{"status is no number", "@@VMTEST end p x\n", nil, errAny},
		{"unknown word", "@@VMTEST stop\n", nil, errAny},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r recorder
			err := read(strings.NewReader(tt.in), &r)
			if tt.err == errAny && err == nil || tt.err != errAny && !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if !slices.Equal(r.events, tt.want) {
				t.Errorf("events %q, want %q", r.events, tt.want)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestKernelPackageName(t *testing.T) {
	m := kernelPackage.FindStringSubmatch("linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n")
	if m == nil || m[1] != "6.1.0-56-cloud-amd64" {
		t.Errorf("%q", m)
	}
	if kernelPackage.MatchString("linux-image-cloud-amd64\n") {
		t.Error("the meta package itself passed for a kernel")
	}
}

// A kernel that finds no init panics: the error says so and shows how it ended.
func TestDeadGuestShowsItsConsole(t *testing.T) {
	image, err := FetchKernel(t.Context(), filepath.Join("..", "..", ".cache", "kernel"))
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := Options{Kernel: image, Memory: 512, CPUs: 1, Timeout: 2 * time.Minute, Out: &bytes.Buffer{}, Log: slog.New(slog.DiscardHandler)}
	err = boot(t.Context(), o, initrd, filepath.Join(dir, "console"))
	if !errors.Is(err, ErrGuestDied) || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("got %v, want ErrGuestDied with the panic", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := boot(ctx, o, initrd, filepath.Join(dir, "console")); err == nil {
		t.Error("canceled, but no error")
	}
}
