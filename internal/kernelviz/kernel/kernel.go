// Package kernel knows the running kernel: what it is, which of the things the
// views need it has, and how its structs are laid out (BTF).
//
// Nothing here looks at a version number. A capability is present when the
// file, the BTF type or the attempt to use it says so.
package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// ErrNoBTF is wrapped by every question about types when the kernel has no BTF.
var ErrNoBTF = errors.New("this kernel has no BTF (/sys/kernel/btf/vmlinux)")

// ErrNoType is wrapped when the kernel has BTF but not the type asked for.
var ErrNoType = errors.New("no such type in this kernel's BTF")

// Host names the machine. It travels in the hello message.
type Host struct {
	Release      string `json:"release"` // "6.1.0-56-cloud-amd64"
	Machine      string `json:"machine"` // "x86_64"
	Hostname     string `json:"hostname"`
	Distribution string `json:"distribution"` // PRETTY_NAME of os-release, "" if unknown
	CPUs         int    `json:"cpus"`         // this process may run on
	Memory       uint64 `json:"memory"`       // bytes
}

// Info is the running kernel as it was when Probe looked. It is immutable and
// safe for concurrent use.
type Info struct {
	Host         Host
	Capabilities []Capability

	types *btf.Spec // nil if there is no BTF
	cache *btf.Cache
}

// Options say where to look. The zero value is the machine itself.
type Options struct {
	// Root stands before /proc, /sys and /etc. With a Root, BTF is read from
	// ROOT/sys/kernel/btf/vmlinux and from nowhere else.
	Root string
}

// Probe looks at the machine. It fails only where the machine cannot even be
// named; everything missing is a Capability that is not OK.
func Probe(ctx context.Context) (*Info, error) { return Options{}.Probe(ctx) }

// Probe looks at the machine under o.Root.
func (o Options) Probe(ctx context.Context) (*Info, error) {
	host, distribution, err := o.host()
	if err != nil {
		return nil, fmt.Errorf("probing the kernel: %w", err)
	}
	info := &Info{Host: host, cache: btf.NewCache()}
	btfErr := o.loadTypes(info)
	info.Capabilities, err = o.capabilities(ctx, info, distribution, btfErr)
	if err != nil {
		return nil, fmt.Errorf("probing the kernel: %w", err)
	}
	return info, nil
}

// Cache is the kernel's BTF as ebpf.CollectionOptions wants it, so that it is
// parsed once per process.
func (i *Info) Cache() *btf.Cache { return i.cache }

// Types is the kernel's BTF. The error wraps ErrNoBTF if there is none.
func (i *Info) Types() (*btf.Spec, error) {
	if i.types == nil {
		return nil, ErrNoBTF
	}
	return i.types, nil
}

func (o Options) loadTypes(info *Info) (err error) {
	if o.Root == "" {
		info.types, err = info.cache.Kernel()
		return err
	}
	info.types, err = btf.LoadSpec(o.path("sys/kernel/btf/vmlinux"))
	return err
}

func (o Options) path(name string) string { return filepath.Join("/", o.Root, name) }

func (o Options) read(name string) (string, error) {
	b, err := os.ReadFile(o.path(name))
	return strings.TrimSpace(string(b)), err
}

func (o Options) host() (Host, distribution, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Host{}, distribution{}, fmt.Errorf("uname: %w", err)
	}
	d := o.distribution()
	return Host{
		Release:      cString(uts.Release[:]),
		Machine:      cString(uts.Machine[:]),
		Hostname:     cString(uts.Nodename[:]),
		Distribution: d.pretty,
		CPUs:         runtime.NumCPU(),
		Memory:       o.memory(),
	}, d, nil
}

// memory is MemTotal of /proc/meminfo in bytes, 0 if it cannot be read.
func (o Options) memory() uint64 {
	text, err := o.read("proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "MemTotal:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0
		}
		return kib << 10
	}
	return 0
}

// distribution is what os-release(5) says.
type distribution struct {
	pretty string
	ids    []string // ID, then ID_LIKE
}

func (o Options) distribution() distribution {
	text, err := o.read("etc/os-release")
	if err != nil {
		return distribution{}
	}
	var d distribution
	var id, like string
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "PRETTY_NAME":
			d.pretty = value
		case "ID":
			id = value
		case "ID_LIKE":
			like = value
		}
	}
	d.ids = strings.Fields(id + " " + like)
	return d
}

// kernelPackage is the command that installs a kernel with BTF.
func (d distribution) kernelPackage(machine string) string {
	for _, id := range d.ids {
		switch id {
		case "debian":
			if machine == "aarch64" {
				return "sudo apt-get install linux-image-arm64 && sudo reboot"
			}
			return "sudo apt-get install linux-image-amd64 && sudo reboot"
		case "ubuntu":
			return "sudo apt-get install linux-image-generic && sudo reboot"
		case "fedora", "rhel":
			return "sudo dnf install kernel && sudo reboot"
		}
	}
	return "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y"
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
