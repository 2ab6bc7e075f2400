package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Options say what to run and where.
type Options struct {
	Root     string   // the module's directory
	Packages []string // patterns as the go command takes them
	Args     []string // of every test binary, such as -test.run=Tree
	Include  []string // more files and directories of the module that tests read
	Kernel   string   // kernel image
	Memory   int      // MiB
	CPUs     int
	Timeout  time.Duration // of the boot and all tests together
	Out      io.Writer     // receives the events of go test -json
	Log      *slog.Logger
}

// ErrTestsFailed means that the guest ran every package and some failed.
var ErrTestsFailed = errors.New("tests failed in the guest")

// consoleTail is how much of the guest's console is shown when it died, in bytes.
const consoleTail = 4096

// Run builds the packages' tests, boots the kernel with them and writes what
// they report to o.Out. The error wraps ErrTestsFailed or ErrGuestDied.
func Run(ctx context.Context, o Options) error {
	work, err := os.MkdirTemp("", "vmtest-")
	if err != nil {
		return fmt.Errorf("vmtest: %w", err)
	}
	defer os.RemoveAll(work)

	start := time.Now()
	packages, err := build(ctx, o, work)
	if err != nil {
		return fmt.Errorf("vmtest: %w", err)
	}
	initrd := filepath.Join(work, "initrd")
	if err := pack(o, work, packages, initrd); err != nil {
		return fmt.Errorf("vmtest: %w", err)
	}
	o.Log.Info("built", "packages", len(packages), "took", time.Since(start).Round(time.Millisecond))
	start = time.Now()
	err = boot(ctx, o, initrd, filepath.Join(work, "console"))
	o.Log.Info("guest stopped", "kernel", filepath.Base(o.Kernel), "took", time.Since(start).Round(time.Millisecond))
	if err != nil {
		return fmt.Errorf("vmtest: %w", err)
	}
	return nil
}

// testPackage is one package with tests.
type testPackage struct {
	path   string // import path
	dir    string // relative to the module
	binary string // on the host
}

// build compiles the agent and one static test binary for each package that
// has tests. The race detector needs cgo and is left to the host.
func build(ctx context.Context, o Options, work string) ([]testPackage, error) {
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f",
		"{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}\t{{.Dir}}{{end}}"}, o.Packages...)...)
	list.Dir = o.Root
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	var packages []testPackage
	for line := range strings.Lines(string(out)) {
		path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok {
			continue
		}
		rel, err := filepath.Rel(o.Root, dir)
		if err != nil {
			return nil, fmt.Errorf("listing packages: %w", err)
		}
		p := testPackage{path: path, dir: rel, binary: filepath.Join(work, strconv.Itoa(len(packages))+".test")}
		if err := compile(ctx, o.Root, "test", "-c", "-o", p.binary, path); err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("no package in %v has tests", o.Packages)
	}
	return packages, compile(ctx, o.Root, "build", "-o", filepath.Join(work, "agent"), "kernelviz/internal/vmtest/agent")
}

func compile(ctx context.Context, root string, args ...string) error {
	args = append([]string{args[0], "-trimpath", "-ldflags=-s -w"}, args[1:]...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// applets are the commands of busybox that tests may run.
var applets = []string{"sh", "cat", "sleep", "true", "false", "echo", "kill", "ls", "mount", "ps", "ip", "tail", "wc"}

// pack writes the initramfs: agent, busybox, and under /src the module's
// directories with test binaries in the place where go test would run them.
func pack(o Options, work string, packages []testPackage, initrd string) (err error) {
	f, err := os.Create(initrd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	c := newCPIO(f)
	if err := addFile(c, "init", filepath.Join(work, "agent")); err != nil {
		return err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w: sudo apt-get install busybox-static", err)
	}
	if err := addFile(c, "bin/busybox", busybox); err != nil {
		return err
	}
	for _, name := range applets {
		if err := c.symlink("bin/"+name, "busybox"); err != nil {
			return err
		}
	}
	if err := c.text("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"); err != nil {
		return err
	}
	if err := c.text("etc/hosts", "127.0.0.1 localhost\n"); err != nil {
		return err
	}
	var plan strings.Builder
	include := o.Include
	for _, p := range packages {
		binary := filepath.Join("src", p.dir, filepath.Base(p.dir)+".test")
		if err := addFile(c, binary, p.binary); err != nil {
			return err
		}
		fmt.Fprintf(&plan, "%s\t/%s\n", p.path, binary)
		include = append(include, filepath.Join(p.dir, "testdata"))
	}
	if err := c.text("vmtest/plan", plan.String()); err != nil {
		return err
	}
	if err := c.text("vmtest/args", strings.Join(o.Args, "\n")); err != nil {
		return err
	}
	for _, name := range include {
		if err := addTree(c, o.Root, name); err != nil {
			return err
		}
	}
	return c.close()
}

// addTree packs a file or directory of the module. One that does not exist is
// left out, as packages need not have testdata.
func addTree(c *cpioWriter, root, name string) error {
	return filepath.WalkDir(filepath.Join(root, name), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return addFile(c, filepath.Join("src", rel), path)
	})
}

func addFile(c *cpioWriter, name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return c.file(name, uint32(st.Mode().Perm()), st.Size(), f)
}

// boot runs qemu until the guest powers off. The first serial port is the
// console, the second carries the results.
func boot(ctx context.Context, o Options, initrd, console string) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	// One thread for all processors: with a thread each, a guest that attaches
	// and detaches programs stopped for good now and then, in kernel text that
	// was being patched; and tests that use one processor are no slower.
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max",
		"-smp", strconv.Itoa(o.CPUs), "-m", strconv.Itoa(o.Memory), "-nodefaults", "-no-reboot", "-display", "none", "-vga", "none",
		"-kernel", o.Kernel, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable",
		"-serial", "file:"+console, "-serial", "stdio")
	qemu.Stderr = os.Stderr
	out, err := qemu.StdoutPipe()
	if err != nil {
		return err
	}
	if err := qemu.Start(); err != nil {
		return fmt.Errorf("%w: sudo apt-get install qemu-system-x86", err)
	}
	results := &converter{ctx: ctx, out: o.Out}
	readErr := read(out, results)
	if readErr != nil {
		cancel() // nobody reads the guest any more
	}
	waitErr := qemu.Wait()
	abandonErr := results.fail("the guest stopped")
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: not done after %v\n%s", ErrGuestDied, o.Timeout, tail(console))
	case errors.Is(readErr, ErrGuestDied):
		return fmt.Errorf("%w\n%s", ErrGuestDied, tail(console))
	case readErr != nil:
		return readErr
	case waitErr != nil:
		return fmt.Errorf("qemu: %w", waitErr)
	case abandonErr != nil:
		return abandonErr
	case len(results.failed) > 0:
		return fmt.Errorf("%w: %s", ErrTestsFailed, strings.Join(results.failed, ", "))
	}
	return nil
}

// tail is the end of the guest's console.
func tail(console string) string {
	b, err := os.ReadFile(console)
	if err != nil {
		return "its console: " + err.Error()
	}
	if len(b) > consoleTail {
		b = b[len(b)-consoleTail:]
	}
	return "its console ends:\n" + string(bytes.TrimSpace(b))
}

// converter feeds the output of each package to test2json.
type converter struct {
	ctx    context.Context
	out    io.Writer
	cmd    *exec.Cmd // of the package that is running, nil between packages
	in     io.WriteCloser
	failed []string
}

func (c *converter) begin(pkg string) error {
	cmd := exec.CommandContext(c.ctx, "go", "tool", "test2json", "-t", "-p", pkg)
	cmd.Stdout, cmd.Stderr = c.out, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("test2json: %w", err)
	}
	c.cmd, c.in = cmd, in
	return nil
}

func (c *converter) line(text string) error {
	if c.in == nil {
		if strings.TrimSpace(text) == "" {
			return nil
		}
		return fmt.Errorf("the guest wrote %q outside any package", text)
	}
	_, err := io.WriteString(c.in, text)
	return err
}

func (c *converter) end(pkg string, status int) error {
	if status == 0 {
		return c.finish()
	}
	c.failed = append(c.failed, fmt.Sprintf("%s (exit status %d)", pkg, status))
	return c.fail(fmt.Sprintf("exit status %d", status))
}

// fail ends a package as a test binary would that could still speak: with the
// marker byte of -test.v=test2json before the word.
func (c *converter) fail(why string) error {
	if c.in == nil {
		return nil
	}
	_, err := fmt.Fprintf(c.in, "%s\n\x16FAIL\n", why)
	return errors.Join(err, c.finish())
}

func (c *converter) finish() error {
	if c.cmd == nil {
		return nil
	}
	err := errors.Join(c.in.Close(), c.cmd.Wait())
	c.cmd, c.in = nil, nil
	if err != nil {
		return fmt.Errorf("test2json: %w", err)
	}
	return nil
}
