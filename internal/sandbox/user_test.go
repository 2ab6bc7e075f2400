package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// needsNobody skips where this process cannot become another user.
func needsNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
}

func nobody() *User {
	return &User{UID: 65534, GID: 65534, Groups: []int{65534, 65533}, Name: "nobody", Home: "/nonexistent", Shell: "/bin/sh"}
}

func TestInvoker(t *testing.T) {
	dir := t.TempDir()
	a := accounts{passwd: filepath.Join(dir, "passwd"), group: filepath.Join(dir, "group")}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(a.passwd, "root:x:0:0:root:/root:/bin/bash\nbroken\nada:x:1000:1000:Ada:/home/ada:/bin/zsh\nbob:x:1001:1001::/home/bob:\nodd:x:1002:x::/:\n")
	write(a.group, "root:x:0:\nada:x:1000:\nbroken\ndocker:x:998:bob,ada\nwheel:x:10:bob\nalso:x:1000:ada\n")
	ours, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	ada := User{UID: 1000, GID: 1000, Groups: []int{1000, 998}, Name: "ada", Home: "/home/ada", Shell: "/bin/zsh"}
	adaInDocker := ada
	adaInDocker.GID = 998
	root := User{Groups: ours, Name: "root", Home: "/root", Shell: "/bin/bash"}
	tests := []struct {
		name     string
		uid, gid int
		env      map[string]string
		want     User
		err      string
	}{
		{name: "sudo", env: map[string]string{"SUDO_UID": "1000", "SUDO_GID": "1000"}, want: ada},
		{name: "sudo after newgrp", env: map[string]string{"SUDO_UID": "1000", "SUDO_GID": "998"}, want: adaInDocker},
		{name: "sudo without a group", env: map[string]string{"SUDO_UID": "1000"}, want: ada},
		{name: "sudo, no shell in passwd", env: map[string]string{"SUDO_UID": "1001"}, want: User{UID: 1001, GID: 1001, Groups: []int{1001, 998, 10}, Name: "bob", Home: "/home/bob", Shell: "/bin/sh"}},
		{name: "sudo by root", env: map[string]string{"SUDO_UID": "0", "SUDO_GID": "0"}, want: User{Groups: []int{0}, Name: "root", Home: "/root", Shell: "/bin/bash"}},
		{name: "root", want: root},
		{name: "another user's SUDO_UID says nothing", uid: 1001, gid: 1001, env: map[string]string{"SUDO_UID": "1000"}, want: User{UID: 1001, GID: 1001, Groups: ours, Name: "bob", Home: "/home/bob", Shell: "/bin/sh"}},
		{name: "a number of a container", uid: 4711, gid: 12, env: map[string]string{"HOME": "/app"}, want: User{UID: 4711, GID: 12, Groups: ours, Name: "4711", Home: "/app", Shell: "/bin/sh"}},
		{name: "a number without a home", uid: 4711, gid: 12, want: User{UID: 4711, GID: 12, Groups: ours, Name: "4711", Home: "/", Shell: "/bin/sh"}},
		{name: "unknown user", env: map[string]string{"SUDO_UID": "4711"}, err: "user 4711 is not in " + a.passwd},
		{name: "not a number", env: map[string]string{"SUDO_UID": "ada"}, err: `SUDO_UID="ada" is not a user id`},
		{name: "negative", env: map[string]string{"SUDO_UID": "-1"}, err: `SUDO_UID="-1" is not a user id`},
		{name: "too big", env: map[string]string{"SUDO_UID": "4294967295"}, err: "is not a user id"},
		{name: "bad group in passwd", env: map[string]string{"SUDO_UID": "1002"}, err: "user 1002 is not in"},
		{name: "foreign group", env: map[string]string{"SUDO_UID": "1000", "SUDO_GID": "10"}, err: "SUDO_GID=10 is no group of ada"},
		{name: "group is not a number", env: map[string]string{"SUDO_UID": "1000", "SUDO_GID": "x"}, err: `SUDO_GID="x" is not a group id`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := a.invoker(test.uid, test.gid, func(key string) string { return test.env[key] })
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, %v, want %+v", got, err, test.want)
			}
		})
	}
	if _, err := (accounts{passwd: "/nonexistent"}).invoker(0, 0, func(string) string { return "1" }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no passwd: %v", err)
	}
}

func TestChildRunsAsUser(t *testing.T) {
	needsNobody(t)
	tiers(t, func(t *testing.T, cgroup2 string) {
		s := newSandbox(t, cgroup2)
		const script = `grep -E '^(Uid|Gid|Groups|CapEff):' /proc/self/status | tr -s '\t ' ' '; echo $HOME $USER $LOGNAME $SHELL; cat /proc/1/environ >/dev/null 2>&1 || echo refused`
		got, end := shell(t, s, script, Options{User: nobody()})
		want := "Uid: 65534 65534 65534 65534\nGid: 65534 65534 65534 65534\nGroups: 65533 65534 \nCapEff: 0000000000000000\n/nonexistent nobody nobody /bin/sh\nrefused\n"
		if end.Code != 0 || got != want {
			t.Errorf("child says\n%s%+v, want\n%s", got, end, want)
		}
	})
}

func TestChildOfAnotherUserIsKilled(t *testing.T) {
	needsNobody(t)
	s := newSandbox(t, noCgroups)
	cmd, out := player(t)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "echo $$; exec sleep 600"}
	p, err := s.Start(t.Context(), cmd, Options{Name: "sleeper", User: nobody()})
	if err != nil {
		t.Fatal(err)
	}
	readPID(t, out)
	if err := p.Kill("the test says so"); err != nil {
		t.Fatal(err)
	}
	if running(p.PID()) {
		t.Error("a child of another user survived")
	}
}

func TestUserEnvironment(t *testing.T) {
	ada := &User{Name: "ada", Home: "/home/ada", Shell: "/bin/zsh"}
	tests := []struct {
		name      string
		user      *User
		env       []string
		inherited bool
		want      []string
	}{
		{"nobody given", nil, []string{"HOME=/root"}, true, []string{"HOME=/root"}},
		{"inherited from root", ada, []string{"HOME=/root", "A=b", "USER=root"}, true, []string{"A=b", "HOME=/home/ada", "USER=ada", "LOGNAME=ada", "SHELL=/bin/zsh"}},
		{"chosen", ada, []string{"HOME=/tmp/x", "SHELL="}, false, []string{"HOME=/tmp/x", "SHELL=", "USER=ada", "LOGNAME=ada"}},
		{"unknown home", &User{Name: "ada"}, []string{"HOME=/root"}, true, []string{"USER=ada", "LOGNAME=ada"}},
	}
	for _, test := range tests {
		if got := test.user.env(test.env, test.inherited); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestStrangeUsers(t *testing.T) {
	s := newSandbox(t, "")
	if _, err := s.Start(t.Context(), exec.Command("true"), Options{Name: "x", User: &User{UID: -1}}); err == nil || !strings.Contains(err.Error(), "negative") {
		t.Errorf("negative uid: %v", err)
	}
	if os.Geteuid() == 0 {
		return
	}
	if _, err := s.Start(t.Context(), exec.Command("true"), Options{Name: "x", User: &User{UID: 0}}); err == nil || !strings.Contains(err.Error(), "CAP_SETUID") {
		t.Errorf("another user without root: %v", err)
	}
}
