package uring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
)

// description is what describeSelf says.
type description struct {
	Err     string
	Tiers   []kernelviz.Tier
	Own     string // what sampling a ring of its own says; "" it works
	Items   int
	Foreign string // what opening a ring of another user's process says
	Denied  bool   // it says that this is not permitted
}

// describeSelf opens the view as this process may, looks at a ring of its own
// and tries the one named by arg. "blocked" forbids io_uring_setup first.
func describeSelf(arg string) error {
	fmt.Println("ready 0")
	out := json.NewEncoder(os.Stdout)
	if arg == "blocked" {
		if err := forbidRings(); err != nil {
			return err
		}
	}
	d := description{}
	v, err := New(context.Background(), Options{NoLives: true})
	if err != nil {
		return out.Encode(description{Err: err.Error()})
	}
	defer v.Close()
	d.Tiers = v.Tiers()
	if arg == "blocked" {
		return out.Encode(d)
	}
	d.Items, d.Own = sampleOwn(v)
	if w, err := v.Open(context.Background(), arg); err != nil {
		d.Foreign, d.Denied = err.Error(), errors.Is(err, fs.ErrPermission)
	} else {
		w.Close()
	}
	return out.Encode(d)
}

// sampleOwn samples a ring of this process with three SQEs.
func sampleOwn(v *View) (items int, failed string) {
	r, err := iouring.Setup(8, &iouring.Params{})
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = r.Close() }()
	for range 3 {
		queue(r, iouring.SQE{Op: iouring.OpNOP})
	}
	w, err := v.Open(context.Background(), nameOf(r))
	if err != nil {
		return 0, err.Error()
	}
	defer w.Close()
	s, err := w.Sample(context.Background())
	if err != nil {
		return 0, err.Error()
	}
	return s.Items(), ""
}

// forbidRings makes io_uring_setup fail in this process as Docker's filter does.
func forbidRings() error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_SETUP, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}

func describeAs(t *testing.T, arg string, prepare func(*exec.Cmd)) description {
	t.Helper()
	p := startChild(t, "describe:"+arg, prepare)
	var d description
	if err := json.Unmarshal([]byte(p.line()), &d); err != nil {
		t.Fatal(err)
	}
	if d.Err != "" {
		t.Fatal(d.Err)
	}
	return d
}

// Where io_uring is blocked for us others may have rings: BPF sees them, and
// the view says why it maps none.
func TestBlocked(t *testing.T) {
	needs(t, TierShm)
	d := describeAs(t, "blocked", nil)
	if g := d.Tiers[tierShm]; g.Chosen || g.Code != codeNoUring || !strings.Contains(g.Reason, "seccomp") {
		t.Errorf("%+v", g)
	}
	if g := d.Tiers[tierBPFIter]; !g.Chosen || g.Code != codeLoads {
		t.Errorf("%+v", g)
	}
}

// Without privileges there is fdinfo, of one's own processes.
func TestNotRoot(t *testing.T) {
	needs(t, TierShm)
	other := startChild(t, "hold:0", nil)
	d := describeAs(t, other.name(), func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	})
	for i, want := range []string{codeNotPermitted, codeNotPermitted, codeMembership} {
		g := d.Tiers[i]
		if g.Chosen != (i == tierFdinfo) || g.Reason == "" {
			t.Errorf("%+v", g)
		}
		// bpf(2) may be refused to all that are not root: that is what the
		// kernel is said to lack then.
		if g.Code != want && g.Code != codeNoBPF {
			t.Errorf("%s: %q, want %q", g.Name, g.Code, want)
		}
	}
	if d.Own != "" || d.Items != 3 {
		t.Errorf("a ring of its own: %s, %d items", d.Own, d.Items)
	}
	if !d.Denied || !strings.Contains(d.Foreign, "root") {
		t.Errorf("another user's ring: %s", d.Foreign)
	}
}
