package kernel

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
)

// childEnv makes the test binary print what Probe finds and exit, so that a
// test can run it as another user.
const childEnv = "KERNEL_TEST_PRINT_PROBE"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	info, err := Probe(context.Background())
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(info.Capabilities)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// probeOnce keeps the one look at this machine that most tests share: parsing
// BTF takes a while in an emulated guest.
var probeOnce = sync.OnceValues(func() (*Info, error) { return Probe(context.Background()) })

func probe(t *testing.T) *Info {
	t.Helper()
	info, err := probeOnce()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// withBTF skips where the kernel has no BTF; CI counts a skip as a failure.
func withBTF(t *testing.T) *Info {
	t.Helper()
	info := probe(t)
	if _, err := info.Types(); err != nil {
		t.Skip(err)
	}
	return info
}

func TestHostIsNamed(t *testing.T) {
	host := probe(t).Host
	want, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if host.Release != strings.TrimSpace(string(want)) {
		t.Errorf("release %q, want %q", host.Release, want)
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		t.Fatal(err)
	}
	if host.Memory != si.Totalram*uint64(si.Unit) {
		t.Errorf("memory %d, sysinfo(2) says %d", host.Memory, si.Totalram*uint64(si.Unit))
	}
	if host.CPUs < 1 || host.Machine == "" || host.Hostname == "" {
		t.Errorf("incomplete: %+v", host)
	}
}

func TestEveryMissingCapabilitySaysWhatGivesIt(t *testing.T) {
	for _, c := range probe(t).Capabilities {
		if c.Reason == "" {
			t.Errorf("%s: no reason", c.Name)
		}
		if c.OK != (c.Fix == "") {
			t.Errorf("%s: ok is %t but the fix is %q (%s)", c.Name, c.OK, c.Fix, c.Reason)
		}
		t.Logf("%-24s %-5t %s; %s", c.Name, c.OK, c.Reason, c.Fix)
	}
}

// What root on a kernel with BTF must find: the views stand on these.
func TestRootFindsWhatTheViewsNeed(t *testing.T) {
	info := withBTF(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	for _, name := range []string{CapBPF, CapPerfmon, CapSysAdmin, CapPtrace, Unprivileged, BTF, BPF, BPFSyscall, BPFLoop, IterTaskFile, TpSysExit, TpSchedWaking, Memlock, NrOpen, CgroupV2} {
		c, ok := info.Capability(name)
		if !ok || !c.OK {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if info.Has("no such capability") {
		t.Error("has a capability that does not exist")
	}
}

func TestNotRootForReal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else: sudo make test")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probing as nobody: %v", err)
	}
	info := &Info{}
	if err := json.Unmarshal(out, &info.Capabilities); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{CapBPF, CapPerfmon, CapSysAdmin, CapPtrace, BPFSyscall, IterTaskFile, Fentry} {
		c, ok := info.Capability(name)
		if !ok || c.OK || c.Fix != fixRoot {
			t.Errorf("%s as nobody: %+v", name, c)
		}
	}
	if !info.Has(NrOpen) {
		t.Error("fs.nr_open can be read by nobody too")
	}
}

// machine writes files of /proc, /sys and /etc below a new root.
func machine(t *testing.T, files map[string]string) Options {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Options{Root: root}
}

func bareMachine() map[string]string {
	return map[string]string{
		"proc/self/status":                          "Name:\tlabserver\nCapEff:\t0000000000000000\n",
		"proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
		"proc/sys/fs/nr_open":                       "1024\n",
		"proc/self/mounts":                          "proc /proc proc rw 0 0\n",
		"proc/meminfo":                              "MemTotal:        2048 kB\nMemFree: 1 kB\n",
		"etc/os-release":                            "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nID=ubuntu\nID_LIKE=debian\n",
	}
}

func TestBareMachine(t *testing.T) {
	info, err := machine(t, bareMachine()).Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Host.Distribution != "Ubuntu 24.04 LTS" || info.Host.Memory != 2<<20 {
		t.Errorf("host %+v", info.Host)
	}
	want := map[string]string{
		CapBPF:       fixRoot,
		Unprivileged: fixRoot,
		BPF:          fixRoot,
		IterTaskFile: fixRoot,
		Fentry:       fixRoot,
		BTF:          "sudo apt-get install linux-image-generic && sudo reboot",
		NrOpen:       "sudo sysctl fs.nr_open=1048576",
		CgroupV2:     "sudo mount -t cgroup2 none /sys/fs/cgroup",
	}
	for name, fix := range want {
		c, ok := info.Capability(name)
		if !ok || c.OK || c.Fix != fix {
			t.Errorf("%s: %+v, want the fix %q", name, c, fix)
		}
	}
	if _, err := info.Struct("epitem"); !errors.Is(err, ErrNoBTF) {
		t.Errorf("struct without BTF: %v", err)
	}
	if _, err := info.Describe("epitem", nil, nil); !errors.Is(err, ErrNoBTF) {
		t.Errorf("describe without BTF: %v", err)
	}
	if info.HasField("epitem", "rbn") || info.Size("epitem") != 0 || info.HasFunc("ep_poll_callback") || info.HasTracepoint("sys_exit") {
		t.Error("knows types without BTF")
	}
}

func TestMachineThatCannotBeRead(t *testing.T) {
	_, err := Options{Root: t.TempDir()}.Probe(t.Context())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that /proc/self/status does not exist", err)
	}
	files := bareMachine()
	files["sys/kernel/btf/vmlinux"] = "this is no BTF"
	info, err := machine(t, files).Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Has(BTF) {
		t.Error("rubbish passed for BTF")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Probe(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestKernelPackage(t *testing.T) {
	tests := []struct {
		ids     []string
		machine string
		want    string
	}{
		{[]string{"debian"}, "x86_64", "sudo apt-get install linux-image-amd64 && sudo reboot"},
		{[]string{"debian"}, "aarch64", "sudo apt-get install linux-image-arm64 && sudo reboot"},
		{[]string{"linuxmint", "ubuntu", "debian"}, "x86_64", "sudo apt-get install linux-image-generic && sudo reboot"},
		{nil, "x86_64", "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y"},
	}
	for _, tt := range tests {
		if got := (distribution{ids: tt.ids}).kernelPackage(tt.machine); got != tt.want {
			t.Errorf("%v on %s: %q, want %q", tt.ids, tt.machine, got, tt.want)
		}
	}
}

// The layout of struct tcp_info is fixed by the user ABI, so what BTF says can
// be held against what x/sys/unix generated from the headers.
func TestLayoutAgreesWithUserABI(t *testing.T) {
	info := withBTF(t)
	var ti unix.TCPInfo
	want := map[string]uintptr{
		"tcpi_state": unsafe.Offsetof(ti.State), "tcpi_options": unsafe.Offsetof(ti.Options),
		"tcpi_rto": unsafe.Offsetof(ti.Rto), "tcpi_rtt": unsafe.Offsetof(ti.Rtt),
		"tcpi_pacing_rate": unsafe.Offsetof(ti.Pacing_rate), "tcpi_bytes_acked": unsafe.Offsetof(ti.Bytes_acked),
	}
	for path, off := range want {
		got, ok := info.Offset("tcp_info", path)
		if !ok || got != int(off) {
			t.Errorf("tcp_info.%s at %d (%t), the ABI says %d", path, got, ok, off)
		}
	}
	s, err := info.Struct("struct epoll_event")
	if err != nil {
		t.Fatal(err)
	}
	var ev unix.EpollEvent
	if s.Size != int(unsafe.Sizeof(ev)) {
		t.Errorf("struct epoll_event has %d bytes, the ABI says %d", s.Size, unsafe.Sizeof(ev))
	}
	if s.Members[0].Type != "__poll_t" || s.Members[1].Type != "__u64" || s.Members[1].Offset != int(unsafe.Offsetof(ev.Fd)) {
		t.Errorf("struct epoll_event: %+v", s.Members)
	}
}

func TestEpollStructs(t *testing.T) {
	info := withBTF(t)
	types := map[string]map[string]string{
		"epitem": {
			"rbn.__rb_parent_color": "long unsigned int", "rbn.rb_left": "struct rb_node *",
			"rcu.func": "void (*)(struct callback_head *)", "ffd.file": "struct file *", "ffd.fd": "int",
			"ep": "struct eventpoll *", "event.events": "__poll_t",
		},
		"eventpoll":        {"rdllist.next": "struct list_head *", "rbr.rb_leftmost": "struct rb_node *"},
		"file":             {"f_op": "const struct file_operations *", "private_data": "void *"},
		"task_struct":      {"comm": "char[16]"},
		"wait_queue_entry": {"func": "wait_queue_func_t"},
	}
	for name, want := range types {
		s, err := info.Struct(name)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, m := range s.Members {
			got[m.Path] = m.Type
			if m.Offset < 0 || m.Offset+m.Size > s.Size {
				t.Errorf("%s.%s [%d, +%d) is outside the struct of %d bytes", name, m.Path, m.Offset, m.Size, s.Size)
			}
		}
		for path, typ := range want {
			if got[path] != typ {
				t.Errorf("%s.%s is %q, want %q", name, path, got[path], typ)
			}
		}
	}
	// Composite members have a place too, and half a name is no member.
	for path, want := range map[string]bool{"rbr": true, "rbr.rb_root": true, "rdllist": true, "rd": false, "rbr.rb_root.nothing": false, "": false} {
		if got := info.HasField("eventpoll", path); got != want {
			t.Errorf("HasField(eventpoll, %q) = %t", path, got)
		}
	}
	if off, _ := info.Offset("epitem", "rbn"); off != 0 {
		t.Errorf("epitem.rbn at %d: the kernel's rb_entry takes it for 0 as well", off)
	}
	if _, err := info.Struct("no_such_struct"); !errors.Is(err, ErrNoType) {
		t.Errorf("unknown struct: %v", err)
	}
	if info.HasFunc("no_such_function") || !info.HasFunc("ep_poll_callback") {
		t.Error("HasFunc")
	}
}

// A real struct from the kernel, read by BTF and by the compiled ABI.
func TestDescribeRealTCPInfo(t *testing.T) {
	info := withBTF(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var ti *unix.TCPInfo
	var infoErr error
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { ti, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || infoErr != nil {
		t.Fatal(err, infoErr)
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(ti)), unsafe.Offsetof(ti.Delivery_rate))
	fields, err := info.Describe("tcp_info", b, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range fields {
		got[f.Path] = f.Value
	}
	wscale := b[6] // tcpi_snd_wscale : 4, tcpi_rcv_wscale : 4
	want := map[string]uint64{
		"tcpi_state": 1, "tcpi_snd_mss": uint64(ti.Snd_mss), "tcpi_rcv_mss": uint64(ti.Rcv_mss),
		"tcpi_snd_wscale": uint64(wscale & 15), "tcpi_rcv_wscale": uint64(wscale >> 4),
	}
	if wscale == 0 {
		t.Error("no window scaling on loopback: the bitfields prove nothing")
	}
	for path, v := range want {
		first, _, _ := strings.Cut(got[path], " ")
		if n, err := strconv.ParseUint(first, 10, 64); err != nil || n != v {
			t.Errorf("%s is %q, want %d", path, got[path], v)
		}
	}
	if got["tcpi_delivery_rate"] != "not read" {
		t.Errorf("a member beyond the bytes is %q", got["tcpi_delivery_rate"])
	}
}

func TestDescribeNamesPointers(t *testing.T) {
	info := withBTF(t)
	const parent, file = 0xffff888100000040, 0xffff888100000800
	raw := make([]byte, info.Size("epitem"))
	put := func(path string, v uint64) {
		off, ok := info.Offset("epitem", path)
		if !ok {
			t.Fatalf("no epitem.%s", path)
		}
		binary.NativeEndian.PutUint64(raw[off:], v)
	}
	put("rbn", parent|1)
	put("rbn.rb_left", 0)
	put("ffd.file", file)
	put("pwqlist", 0xffff888100000900)
	put("event.data", ^uint64(6))
	fields, err := info.Describe("struct epitem", raw, func(a uint64) string {
		return map[uint64]string{parent: "fd 7", file: "file 3"}[a]
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"rbn.__rb_parent_color": "fd 7, black", "rbn.rb_left": "NULL", "ffd.file": "file 3",
		"pwqlist": "a struct eppoll_entry", "ffd.fd": "0", "event.data": "18446744073709551609 (0xfffffffffffffff9)",
	}
	for _, f := range fields {
		if w, ok := want[f.Path]; ok && f.Value != w {
			t.Errorf("%s is %q, want %q", f.Path, f.Value, w)
		}
		if strings.HasPrefix(f.Path, "rcu.") != (f.Note == "union") && !strings.HasPrefix(f.Path, "rbn.") {
			t.Errorf("%s has note %q", f.Path, f.Note)
		}
	}
}

// No struct, filled with kernel addresses, shows one of them or a part.
func TestDescribeShowsNoKernelAddress(t *testing.T) {
	info := withBTF(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"epitem", "eventpoll", "file", "inode", "sock", "tcp_sock", "task_struct", "wait_queue_entry"} {
		raw := make([]byte, info.Size(name)&^7)
		var forbidden []string
		for off := 0; off+8 <= len(raw); off += 8 {
			address := 0xffff800000000000 | rnd.Uint64()&0x7ffffffff000 | 0x200
			binary.NativeEndian.PutUint64(raw[off:], address)
			forbidden = append(forbidden, fmt.Sprintf("%x", address), strconv.FormatUint(address, 10), strconv.FormatInt(int64(address), 10))
			for half := range 2 {
				v := binary.NativeEndian.Uint32(raw[off+4*half:])
				if v > 1<<20 {
					forbidden = append(forbidden, strconv.FormatUint(uint64(v), 10)+" ", strconv.Itoa(int(int32(v))))
				}
			}
		}
		fields, err := info.Describe(name, raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := info.Struct(name)
		if err != nil {
			t.Fatal(err)
		}
		for n, f := range fields {
			// A lone int or array is data by its type: only what overlaps or is
			// a whole word can be an address.
			if !s.Members[n].Union && f.Size != 8 {
				continue
			}
			if s.Members[n].Union && !overlapsWord(s.Members, s.Members[n]) {
				continue
			}
			if i := slices.IndexFunc(forbidden, func(a string) bool { return strings.Contains(f.Value+" ", a) }); i >= 0 {
				t.Errorf("%s.%s shows %q", name, f.Path, f.Value)
			}
		}
	}
}

func overlapsWord(members []Member, m Member) bool {
	return slices.ContainsFunc(members, func(o Member) bool {
		return o.Size == 8 && o.BitSize == 0 && o.Offset < m.Offset+m.Size && m.Offset < o.Offset+8
	})
}

func TestScalars(t *testing.T) {
	signed := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	plain := &btf.Int{Name: "unsigned int", Size: 4}
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	state := &btf.Enum{Name: "state", Size: 4, Signed: true, Values: []btf.EnumValue{{Name: "OFF", Value: 0}, {Name: "BAD", Value: ^uint64(0)}}}
	tests := []struct {
		name string
		typ  btf.Type
		v    uint64
		bits int
		want string
	}{
		{"int", signed, 0xffffffff, 32, "-1"},
		{"unsigned", plain, 0xffffffff, 32, "4294967295 (0xffffffff)"},
		{"small", plain, 37, 32, "37"},
		{"signed bitfield", signed, 7, 3, "-1"},
		{"true", &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}, 1, 8, "true"},
		{"torn bool", &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}, 2, 8, "2, no valid bool"},
		{"enum", state, 0, 32, "OFF (0)"},
		{"negative enum", state, 0xffffffff, 32, "BAD (-1)"},
		{"unknown enum", state, 9, 32, "9"},
	}
	for _, tt := range tests {
		if got := scalar(tt.typ, tt.v, tt.bits); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := array(&btf.Array{Type: char, Nelems: 8}, []byte("nginx\x00xx")); got != `"nginx"` {
		t.Errorf("char array: %s", got)
	}
	if got := array(&btf.Array{Type: signed, Nelems: 2}, []byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}); got != "[1, -1]" {
		t.Errorf("int array: %s", got)
	}
	if got := typeName(&btf.Pointer{Target: &btf.Array{Type: plain, Nelems: 4}}); got != "unsigned int (*)[4]" {
		t.Errorf("pointer to array: %s", got)
	}
	if got := typeName(&btf.Const{Type: &btf.Pointer{Target: &btf.Void{}}}); got != "void *const" {
		t.Errorf("const pointer: %s", got)
	}
}

// Why there may be no ring is told with what gives it.
func TestRing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		ok     bool
		reason string
		fix    string
	}{
		{"a ring", nil, true, "makes a ring", ""},
		{"sysctl", fmt.Errorf("%w: kernel.io_uring_disabled is 2", iouring.ErrDisabled), false, "kernel.io_uring_disabled is 2", "sysctl kernel.io_uring_disabled=0"},
		{"seccomp", fmt.Errorf("%w: a seccomp filter", iouring.ErrBlocked), false, "a seccomp filter", "seccomp profile"},
		{"other", errors.New("no memory"), false, "no memory", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := ring(tt.err)
			if f.ok != tt.ok || !strings.Contains(f.reason, tt.reason) || !strings.Contains(f.fix, tt.fix) || tt.fix == "" && f.fix != "" {
				t.Errorf("got %+v, want ok %v, reason with %q, fix with %q", f, tt.ok, tt.reason, tt.fix)
			}
		})
	}
}
