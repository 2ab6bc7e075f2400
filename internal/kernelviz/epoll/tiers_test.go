package epoll

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kernelviz/internal/kernelviz"
)

func TestTiersSayWhy(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		tiers := v.Tiers()
		var names []string
		chosen := 0
		for i, tier := range tiers {
			names = append(names, tier.Name)
			if tier.Reason == "" || tier.Label == "" {
				t.Errorf("%+v says nothing", tier)
			}
			if tier.Chosen {
				chosen++
				if i != v.tier || tier.Fix != "" {
					t.Errorf("%+v is chosen", tier)
				}
			}
		}
		if want := []string{TierKfunc, TierProbeRead, TierFdinfo}; !slices.Equal(names, want) || chosen != 1 {
			t.Errorf("tiers %v, %d chosen", names, chosen)
		}
		tiers[0].Name = "changed"
		if v.Tiers()[0].Name != TierKfunc {
			t.Error("the caller changed the view")
		}
	})
}

func TestBestTierIsChosen(t *testing.T) {
	needs(t, TierProbeRead)
	v := sharedView(t, "best", Options{NoTransitions: true})
	want := TierProbeRead
	if kernelInfo(t).Has("kfunc_bpf_rdonly_cast") {
		want = TierKfunc
	}
	if got := v.tiers[v.tier].Name; got != want {
		t.Errorf("%s is chosen, want %s: %+v", got, want, v.tiers)
	}
}

func TestUnknownTier(t *testing.T) {
	_, err := New(context.Background(), Options{Kernel: kernelInfo(t), Tier: "crystal-ball"})
	if err == nil || !strings.Contains(err.Error(), TierFdinfo) {
		t.Errorf("%v does not name the tiers there are", err)
	}
}

// describeChild runs the view in a process of its own.
func describeChild(t *testing.T, mode string, attr *syscall.SysProcAttr) description {
	t.Helper()
	c := startChild(t, mode, func(cmd *exec.Cmd) {
		cmd.SysProcAttr = attr
		cmd.Dir = "/"
	})
	var d description
	if err := json.NewDecoder(c.out).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.Err != "" {
		t.Fatal(d.Err)
	}
	return d
}

// checkFdinfoOnly: the last tier works, and each better one says why it does
// not and what would help.
func checkFdinfoOnly(t *testing.T, d description) {
	t.Helper()
	for _, tier := range d.Tiers {
		last := tier.Name == TierFdinfo
		if tier.Chosen != last || tier.Reason == "" || (tier.Fix == "") != last {
			t.Errorf("%+v", tier)
		}
		t.Logf("%s: %s; %s", tier.Name, tier.Reason, tier.Fix)
	}
	if d.Items != 3 {
		t.Errorf("%d items of its own instance, want 3", d.Items)
	}
	if len(d.Targets) == 0 {
		t.Error("no targets, not even its own")
	}
}

func TestNotRoot(t *testing.T) {
	needs(t, TierProbeRead) // to have root to give up
	ep := newInstance(t)
	d := describeChild(t, "describe:"+ep.name(), &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	checkFdinfoOnly(t, d)
	for _, tier := range d.Tiers[:2] {
		if tier.Fix != "sudo make run" {
			t.Errorf("%s: the remedy is %q", tier.Name, tier.Fix)
		}
	}
	if slices.ContainsFunc(d.Targets, func(e kernelviz.Target) bool { return e.PID == ep.pid }) {
		t.Error("it lists our instance")
	}
	if d.Missing || !strings.Contains(d.Foreign, "another user") {
		t.Errorf("opening our instance says %q", d.Foreign)
	}
}

// A kernel without BTF, as a container may see it: nothing is mounted where
// the types are.
func TestNoBTF(t *testing.T) {
	needs(t, TierProbeRead)
	ep := newInstance(t)
	d := describeChild(t, "nobtf:"+ep.name(), &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS})
	checkFdinfoOnly(t, d)
	for _, tier := range d.Tiers[:2] {
		if !strings.Contains(tier.Reason, "/sys/kernel/btf/vmlinux") {
			t.Errorf("%s: the reason is %q", tier.Name, tier.Reason)
		}
	}
	if d.Foreign != "" {
		t.Errorf("root may read fdinfo of every process: %q", d.Foreign)
	}
}
