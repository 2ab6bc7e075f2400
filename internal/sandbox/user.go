package sandbox

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// User is whom a child runs as.
type User struct {
	UID, GID int
	Groups   []int // supplementary groups
	Name     string
	Home     string
	Shell    string
}

// Invoker returns who runs this process: under sudo the user who typed it, if
// that user and group are in /etc/passwd and /etc/group, else the current one.
func Invoker() (User, error) {
	return accounts{passwd: "/etc/passwd", group: "/etc/group"}.invoker(os.Geteuid(), os.Getegid(), os.Getenv)
}

// accounts are the files that know users; formats passwd(5) and group(5).
type accounts struct{ passwd, group string }

func (a accounts) invoker(uid, gid int, getenv func(string) string) (User, error) {
	sudo := getenv("SUDO_UID")
	if uid != 0 || sudo == "" {
		return a.current(uid, gid, getenv)
	}
	asked, err := strconv.ParseUint(sudo, 10, 31)
	if err != nil {
		return User{}, fmt.Errorf("SUDO_UID=%q is not a user id: %w", sudo, err)
	}
	u, err := a.lookup(int(asked))
	if err != nil {
		return User{}, fmt.Errorf("finding who typed sudo (SUDO_UID=%s): %w", sudo, err)
	}
	if u.Groups, err = a.groups(u); err != nil {
		return User{}, err
	}
	group := getenv("SUDO_GID")
	if group == "" {
		return u, nil
	}
	g, err := strconv.ParseUint(group, 10, 31)
	if err != nil {
		return User{}, fmt.Errorf("SUDO_GID=%q is not a group id: %w", group, err)
	}
	if int(g) != u.GID && !slices.Contains(u.Groups, int(g)) {
		return User{}, fmt.Errorf("SUDO_GID=%s is no group of %s in %s and %s", group, u.Name, a.passwd, a.group)
	}
	u.GID = int(g)
	return u, nil
}

// current need not be in /etc/passwd: containers run as any number.
func (a accounts) current(uid, gid int, getenv func(string) string) (User, error) {
	groups, err := os.Getgroups()
	if err != nil {
		return User{}, fmt.Errorf("reading this process's groups: %w", err)
	}
	u, err := a.lookup(uid)
	if err != nil {
		u = User{Name: strconv.Itoa(uid), Home: getenv("HOME"), Shell: "/bin/sh"}
		if u.Home == "" {
			u.Home = "/"
		}
	}
	u.UID, u.GID, u.Groups = uid, gid, groups
	return u, nil
}

func (a accounts) lookup(uid int) (User, error) {
	var found *User
	err := eachLine(a.passwd, func(line string) {
		f := strings.Split(line, ":")
		if found != nil || len(f) != 7 || f[2] != strconv.Itoa(uid) {
			return
		}
		gid, err := strconv.ParseUint(f[3], 10, 31)
		if err != nil {
			return
		}
		found = &User{UID: uid, GID: int(gid), Name: f[0], Home: f[5], Shell: f[6]}
		if found.Shell == "" {
			found.Shell = "/bin/sh" // passwd(5)
		}
	})
	if err != nil {
		return User{}, err
	}
	if found == nil {
		return User{}, fmt.Errorf("user %d is not in %s", uid, a.passwd)
	}
	return *found, nil
}

// groups are those of /etc/group that name the user, and its own.
func (a accounts) groups(u User) ([]int, error) {
	groups := []int{u.GID}
	err := eachLine(a.group, func(line string) {
		f := strings.Split(line, ":")
		if len(f) != 4 || !slices.Contains(strings.Split(f[3], ","), u.Name) {
			return
		}
		if gid, err := strconv.ParseUint(f[2], 10, 31); err == nil && !slices.Contains(groups, int(gid)) {
			groups = append(groups, int(gid))
		}
	})
	return groups, err
}

func eachLine(path string, do func(line string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		do(lines.Text())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// credential is nil if this process is that user already.
func (u *User) credential() *syscall.Credential {
	if u == nil || u.UID == os.Geteuid() && u.GID == os.Getegid() {
		return nil
	}
	c := &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
	for _, g := range u.Groups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}

// check refuses what the kernel would take for something else.
func (u *User) check() error {
	if u == nil {
		return nil
	}
	if u.UID < 0 || u.GID < 0 {
		return fmt.Errorf("user %q has uid %d and gid %d: they must not be negative", u.Name, u.UID, u.GID)
	}
	if os.Geteuid() != 0 && u.credential() != nil {
		return fmt.Errorf("running as %s (uid %d): %w: it needs CAP_SETUID; run as root", u.Name, u.UID, fs.ErrPermission)
	}
	return nil
}

// env adds to a child's environment what login(1) sets of the user. What the
// caller of Start chose stays; what was only inherited from this process is
// another user's.
func (u *User) env(env []string, inherited bool) []string {
	if u == nil {
		return env
	}
	for _, v := range [][2]string{{"HOME", u.Home}, {"USER", u.Name}, {"LOGNAME", u.Name}, {"SHELL", u.Shell}} {
		is := func(s string) bool { return strings.HasPrefix(s, v[0]+"=") }
		if inherited {
			env = slices.DeleteFunc(env, is)
		}
		if v[1] != "" && !slices.ContainsFunc(env, is) {
			env = append(env, v[0]+"="+v[1])
		}
	}
	return env
}
