package epoll

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// Shown is a snapshot for people and scripts: `labserver show epoll`.
type Shown struct {
	Instance    uint32        `json:"instance"`
	Items       int           `json:"items"`
	Depth       int           `json:"depth"`
	BlackHeight int           `json:"black_height"`
	Scanning    bool          `json:"scanning"`
	Nodes       []ShownNode   `json:"nodes"` // in tree order; for a huge tree all of them
	Ready       []int32       `json:"ready"` // fds, in the order of rdllist
	Overflow    []int32       `json:"overflow"`
	Waiters     []ShownWaiter `json:"waiters"`
	Truth       ShownTruth    `json:"truth"`
}

// ShownNode is one epitem.
type ShownNode struct {
	FD     int32  `json:"fd"`
	Colour string `json:"colour"` // "red" or "black"; empty where the tier has no shape
	Depth  int    `json:"depth"`
	Parent int32  `json:"parent"` // fd of the parent; -1 at the root
	Left   int32  `json:"left"`   // -1 none
	Right  int32  `json:"right"`
	Events string `json:"events"`
	Mask   uint32 `json:"mask"` // event.events as it stands
	Data   uint64 `json:"data"`
	Ready  bool   `json:"ready"`
	File   string `json:"file,omitempty"`
	Owner  int    `json:"owner,omitempty"` // pid that has the fd open; absent if none has
}

// ShownWaiter is one thread asleep in epoll_wait.
type ShownWaiter struct {
	TID       int    `json:"tid"`
	PID       int    `json:"pid"`
	Comm      string `json:"comm"`
	Exclusive bool   `json:"exclusive"`
}

// ShownTruth says how far the snapshot can be trusted.
type ShownTruth struct {
	Tier    string `json:"tier"`
	Whole   bool   `json:"whole"`
	Broken  string `json:"broken,omitempty"`
	Instant bool   `json:"instant"`
	Torn    uint64 `json:"torn"`
	ReadNS  int64  `json:"read_ns"`
	CheckNS int64  `json:"check_ns"`
}

// brokenText is indexed by kernelviz.Broken.
var brokenText = [...]string{
	"", "a node was no epitem of this eventpoll", "a parent link did not point back", "the keys were not in order",
	"a red node had a red child", "black heights differed", "the count differed from the refcount", "the root was red",
	"a child could not be followed", "the root changed during the walk", "rb_leftmost was not the first node",
}

// Show puts the snapshot into words. In a tree of more than kernelviz.MaxWhole
// items what the files are is left out.
func (s *Snapshot) Show(tiers []kernelviz.Tier) Shown {
	out := Shown{
		Instance: s.instance.ID, Items: s.Items(),
		Depth: int(s.instance.Depth), BlackHeight: int(s.instance.BlackHeight),
		Scanning: s.instance.Scanning == 1,
		Nodes:    []ShownNode{}, Ready: []int32{}, Overflow: []int32{}, Waiters: []ShownWaiter{},
		Truth: ShownTruth{
			Tier: tiers[s.truth.Tier].Name, Whole: s.truth.Whole, Instant: s.truth.Instant, Torn: s.truth.Torn,
			ReadNS: int64(s.truth.Read), CheckNS: int64(s.truth.Check),
		},
	}
	if int(s.truth.Broken) < len(brokenText) {
		out.Truth.Broken = brokenText[s.truth.Broken]
	}
	for _, r := range s.ready {
		out.Ready = append(out.Ready, r.FD)
	}
	for _, r := range s.overflow {
		out.Overflow = append(out.Overflow, r.FD)
	}
	for _, w := range s.waiters {
		out.Waiters = append(out.Waiters, ShownWaiter{
			TID: int(w.TID), PID: int(w.PID), Comm: text(w.Comm[:]), Exclusive: w.Flags&wire.WaiterExclusive != 0,
		})
	}
	if s.tree == nil {
		for i := range s.nodes {
			out.Nodes = append(out.Nodes, s.member(&s.nodes[i]))
		}
		return out
	}
	for _, i := range s.tree.inOrder() {
		out.Nodes = append(out.Nodes, s.node(i))
	}
	return out
}

func (s *Snapshot) node(i uint32) ShownNode {
	t := s.tree
	n := &t.nodes[i]
	out := ShownNode{
		FD: n.Fd, Colour: "red", Depth: int(t.depth[i]), Parent: -1, Left: -1, Right: -1,
		Events: EventNames(n.Events), Mask: n.Events, Data: n.Data, Ready: n.ParentColor&bitLinked != 0,
	}
	if n.ParentColor&bitBlack != 0 {
		out.Colour = "black"
	}
	if i != 0 {
		out.Parent = t.nodes[t.parent[i]].Fd
	}
	if n.LeftIndex != 0 {
		out.Left = t.nodes[n.LeftIndex].Fd
	}
	if n.RightIndex != 0 {
		out.Right = t.nodes[n.RightIndex].Fd
	}
	if len(s.nodes) > 0 {
		m := s.member(&s.nodes[i])
		out.File, out.Owner, out.Ready = m.File, m.Owner, m.Ready
	}
	return out
}

// member is what a row tells without its place in the tree.
func (s *Snapshot) member(r *wire.NodeRow) ShownNode {
	out := ShownNode{
		FD: r.FD, Parent: -1, Left: -1, Right: -1, Events: EventNames(r.Events), Mask: r.Events, Data: r.Data,
		Ready: r.Flags&wire.NodeReady != 0, Owner: int(r.Owner),
	}
	if k, ok := s.fileIndex[r.File]; ok {
		out.File = FileText(&s.files[k])
	}
	return out
}

// eventNames are the bits of event.events, include/uapi/linux/eventpoll.h.
var eventNames = []struct {
	bit  uint32
	name string
}{
	{unix.EPOLLIN, "EPOLLIN"}, {unix.EPOLLPRI, "EPOLLPRI"}, {unix.EPOLLOUT, "EPOLLOUT"}, {unix.EPOLLERR, "EPOLLERR"},
	{unix.EPOLLHUP, "EPOLLHUP"}, {0x20, "EPOLLNVAL"}, {unix.EPOLLRDNORM, "EPOLLRDNORM"}, {unix.EPOLLRDBAND, "EPOLLRDBAND"},
	{unix.EPOLLWRNORM, "EPOLLWRNORM"}, {unix.EPOLLWRBAND, "EPOLLWRBAND"}, {unix.EPOLLMSG, "EPOLLMSG"},
	{unix.EPOLLRDHUP, "EPOLLRDHUP"}, {unix.EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"}, {unix.EPOLLWAKEUP, "EPOLLWAKEUP"},
	{unix.EPOLLONESHOT, "EPOLLONESHOT"}, {unix.EPOLLET, "EPOLLET"},
}

// EventNames spells a mask: "EPOLLIN|EPOLLET".
func EventNames(mask uint32) string {
	var parts []string
	for _, e := range eventNames {
		if mask&e.bit != 0 {
			parts = append(parts, e.name)
			mask &^= e.bit
		}
	}
	if mask != 0 || len(parts) == 0 {
		parts = append(parts, fmt.Sprintf("%#x", mask))
	}
	return strings.Join(parts, "|")
}

// fileWords is indexed by wire.FileType.
var fileWords = [...]string{"", "socket", "pipe", "eventfd", "timerfd", "signalfd", "epoll", "inotify", "pidfd", "io_uring", "tty", "file"}

// tcpStates are those of include/net/tcp_states.h, as ss prints them.
var tcpStates = [...]string{"", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING", "NEW-SYN-RECV"}

// FileText says what a file is: "tcp 127.0.0.1:80 127.0.0.1:51515 ESTAB".
func FileText(f *wire.FileRow) string {
	name := text(f.Name[:])
	switch f.Type {
	case wire.FileSocket:
		return strings.TrimSpace(socketText(f, name))
	case wire.FileEpoll:
		return fmt.Sprintf("epoll #%d", f.Nested)
	case wire.FilePipe:
		return fmt.Sprintf("pipe:[%d]", f.Inode)
	case wire.FileOther:
		if name != "" {
			return name
		}
	}
	if int(f.Type) < len(fileWords) {
		return fileWords[f.Type]
	}
	return ""
}

func socketText(f *wire.FileRow, name string) string {
	switch f.Family {
	case unix.AF_INET, unix.AF_INET6:
	case unix.AF_UNIX:
		return fmt.Sprintf("unix:[%d] %s", f.Inode, name)
	default:
		return fmt.Sprintf("socket:[%d]", f.Inode)
	}
	proto := "socket"
	switch f.Proto {
	case unix.IPPROTO_TCP:
		proto = "tcp"
	case unix.IPPROTO_UDP:
		proto = "udp"
	}
	local, remote := address(f, f.LAddr, f.LPort), address(f, f.RAddr, f.RPort)
	state := ""
	if int(f.State) < len(tcpStates) {
		state = tcpStates[f.State]
	}
	return fmt.Sprintf("%s %s %s %s", proto, local, remote, state)
}

func address(f *wire.FileRow, addr [16]byte, port uint16) string {
	ip := netip.AddrFrom16(addr).Unmap()
	if f.Family == unix.AF_INET {
		ip = netip.AddrFrom4([4]byte(addr[:4]))
	}
	return netip.AddrPortFrom(ip, port).String()
}
