package wire

import "encoding/binary"

// Sections of an epoll frame (kernelviz.KindEpoll). A key frame carries all
// that apply; a delta frame carries the changed nodes and files, the nodes that
// went, and the lists whenever they differ from the base.
const (
	SectionTruth      SectionType = 1 // one TruthRow, always; shared by all kinds
	SectionInstance   SectionType = 2 // one InstanceRow, always
	SectionNode       SectionType = 3 // NodeRow, upserts by ID
	SectionGone       SectionType = 4 // GoneRow
	SectionReady      SectionType = 5 // ListRow, rdllist in order, whole list or its first MaxList
	SectionOverflow   SectionType = 6 // ListRow, ovflist in order
	SectionWaiter     SectionType = 7 // WaiterRow, wq in order
	SectionFile       SectionType = 8 // FileRow, upserts by ID
	SectionTransition SectionType = 9 // TransitionRow, since the base or the last second
	SectionGlyph      SectionType = 10
)

// MaxList bounds the rows of a list section; InstanceRow has the true counts.
const MaxList = 512

// TruthRow, 88 bytes. Times are ns.
type TruthRow struct {
	At       uint64 // 0: CLOCK_MONOTONIC when the read ended
	Read     uint64 // 8: time in the kernel for this sample, retries included
	Check    uint64 // 16: time checking it
	Age      uint64 // 24: from At until the frame was made
	Samples  uint64 // 32
	Torn     uint64 // 40
	Marked   uint64 // 48
	Lost     uint64 // 56
	Skipped  uint64 // 64: frames dropped; 0 here, the page counts its own gaps
	CostPPM  uint32 // 72: share of one CPU in millionths
	Tier     uint8  // 76: index into the view's tiers
	Whole    uint8  // 77: 1 all invariants hold
	Broken   uint8  // 78: which one did not
	Instant  uint8  // 79: 1 proved to be one instant
	Attached uint8  // 80: 1 event programs attached; 81..87 zero
}

// TruthRowSize is the size in bytes of a TruthRow.
const TruthRowSize = 88

// Append appends the row.
func (r TruthRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint64{r.At, r.Read, r.Check, r.Age, r.Samples, r.Torn, r.Marked, r.Lost, r.Skipped} {
		dst = le.AppendUint64(dst, v)
	}
	dst = le.AppendUint32(dst, r.CostPPM)
	return append(dst, r.Tier, r.Whole, r.Broken, r.Instant, r.Attached, 0, 0, 0, 0, 0, 0, 0)
}

// InstanceRow, 64 bytes: struct eventpoll as a whole.
type InstanceRow struct {
	ID          uint32 // 0: small id of the eventpoll
	Items       uint32 // 4: nodes in the tree
	Refcount    uint32 // 8: ep->refcount; 0 if this kernel has none
	Root        uint32 // 12: node id, 0 if empty or not drawn singly
	Leftmost    uint32 // 16: node id, rb_leftmost
	Depth       uint16 // 20: levels
	BlackHeight uint16 // 22: black nodes on every path, leaf included
	Ready       uint32 // 24: length of rdllist
	Overflow    uint32 // 28: length of ovflist
	Waiters     uint32 // 32: entries in wq
	PollWaiters uint32 // 36: entries in poll_wait: who polls this instance (nested epoll, select)
	Scanning    uint8  // 40: 1 while a scan holds the ready list (ovflist is active)
	Membership  uint8  // 41: 1 shape unknown (fdinfo tier): nodes have no links
	Locked      uint8  // 42: 1 ep->mtx was held
	Tearing     uint8  // 43: 1 lists could not be read whole
	Red         uint32 // 44: red nodes
	Delivering  uint32 // 48: nodes linked but not in rdllist while scanning; 52..63 zero
}

// InstanceRowSize is the size in bytes of an InstanceRow.
const InstanceRowSize = 64

// Append appends the row.
func (r InstanceRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, r.ID)
	dst = le.AppendUint32(dst, r.Items)
	dst = le.AppendUint32(dst, r.Refcount)
	dst = le.AppendUint32(dst, r.Root)
	dst = le.AppendUint32(dst, r.Leftmost)
	dst = le.AppendUint16(dst, r.Depth)
	dst = le.AppendUint16(dst, r.BlackHeight)
	dst = le.AppendUint32(dst, r.Ready)
	dst = le.AppendUint32(dst, r.Overflow)
	dst = le.AppendUint32(dst, r.Waiters)
	dst = le.AppendUint32(dst, r.PollWaiters)
	dst = append(dst, r.Scanning, r.Membership, r.Locked, r.Tearing)
	dst = le.AppendUint32(dst, r.Red)
	dst = le.AppendUint32(dst, r.Delivering)
	return append(dst, make([]byte, 12)...)
}

// Flags of a node or glyph.
const (
	NodeBlack      uint32 = 1 << iota // else red
	NodeReady                         // linked into rdllist
	NodeOverflow                      // linked into ovflist
	NodeDelivering                    // linked while a scan has the list
	NodeOrphan                        // no watched process has this fd open on this file any more
)

// NodeRow, 48 bytes: one struct epitem. Ids are small, stable while the item
// lives, start at 1 and are never reused within a watch; 0 is none.
type NodeRow struct {
	ID     uint32 // 0
	Parent uint32 // 4: node id; 0 for the root
	Left   uint32 // 8
	Right  uint32 // 12
	File   uint32 // 16: file id: the first half of the key
	FD     int32  // 20: the second half
	Events uint32 // 24: event.events, EPOLLET and the other private bits included
	Flags  uint32 // 28: Node*
	Data   uint64 // 32: event.data, the user's
	Owner  uint32 // 40: pid of a process that has the fd open on the file; 0 unknown or none
	Nested uint32 // 44: instance id if the file is an epoll instance
}

// NodeRowSize is the size in bytes of a NodeRow.
const NodeRowSize = 48

// Append appends the row.
func (r NodeRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, r.ID)
	dst = le.AppendUint32(dst, r.Parent)
	dst = le.AppendUint32(dst, r.Left)
	dst = le.AppendUint32(dst, r.Right)
	dst = le.AppendUint32(dst, r.File)
	dst = le.AppendUint32(dst, uint32(r.FD))
	dst = le.AppendUint32(dst, r.Events)
	dst = le.AppendUint32(dst, r.Flags)
	dst = le.AppendUint64(dst, r.Data)
	dst = le.AppendUint32(dst, r.Owner)
	return le.AppendUint32(dst, r.Nested)
}

// GoneRowSize is the size of a row of SectionGone: node id u32, zero u32.
const GoneRowSize = 8

// AppendGone appends a row of SectionGone.
func AppendGone(dst []byte, id uint32) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, id), 0, 0, 0, 0)
}

// ListRow, 8 bytes: one place in rdllist or ovflist.
type ListRow struct {
	Node uint32 // 0: node id
	FD   int32  // 4
}

// ListRowSize is the size in bytes of a ListRow.
const ListRowSize = 8

// Append appends the row.
func (r ListRow) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, r.Node)
	return binary.LittleEndian.AppendUint32(dst, uint32(r.FD))
}

// Flags of a waiter.
const WaiterExclusive uint32 = 1

// WaiterRow, 40 bytes: one wait_queue_entry of ep->wq.
type WaiterRow struct {
	TID   uint32   // 0
	PID   uint32   // 4: thread group
	Flags uint32   // 8: Waiter*; 12 zero
	Since uint64   // 16: CLOCK_MONOTONIC when first seen waiting
	Comm  [16]byte // 24: NUL-padded
}

// WaiterRowSize is the size in bytes of a WaiterRow.
const WaiterRowSize = 40

// Append appends the row.
func (r WaiterRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, r.TID)
	dst = le.AppendUint32(dst, r.PID)
	dst = le.AppendUint32(dst, r.Flags)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, r.Since)
	return append(dst, r.Comm[:]...)
}

// FileType says what a watched file is.
type FileType uint8

// The file types.
const (
	FileUnknown FileType = iota
	FileSocket
	FilePipe
	FileEventfd
	FileTimerfd
	FileSignalfd
	FileEpoll
	FileInotify
	FilePidfd
	FileIOUring
	FileTTY
	FileOther
)

// FileRow, 88 bytes: one struct file. Addresses of IPv4 sockets stand in the
// first four bytes; ports are in host order.
type FileRow struct {
	ID     uint32   // 0
	Type   FileType // 4
	Family uint8    // 5: AF_UNIX 1, AF_INET 2, AF_INET6 10, AF_NETLINK 16
	Sock   uint8    // 6: SOCK_STREAM 1, SOCK_DGRAM 2, ...
	State  uint8    // 7: TCP_ESTABLISHED 1 ... TCP_LISTEN 10
	LPort  uint16   // 8
	RPort  uint16   // 10
	Refs   uint32   // 12: references to the file; 0 unknown
	LAddr  [16]byte // 16
	RAddr  [16]byte // 32
	Inode  uint64   // 48
	Nested uint32   // 56: instance id if it is an epoll instance
	Proto  uint8    // 60: IPPROTO_*; 61..63 zero
	Name   [24]byte // 64: path of a unix socket, or dentry name; NUL-padded
}

// FileRowSize is the size in bytes of a FileRow.
const FileRowSize = 88

// Append appends the row.
func (r FileRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, r.ID)
	dst = append(dst, byte(r.Type), r.Family, r.Sock, r.State)
	dst = le.AppendUint16(dst, r.LPort)
	dst = le.AppendUint16(dst, r.RPort)
	dst = le.AppendUint32(dst, r.Refs)
	dst = append(dst, r.LAddr[:]...)
	dst = append(dst, r.RAddr[:]...)
	dst = le.AppendUint64(dst, r.Inode)
	dst = le.AppendUint32(dst, r.Nested)
	dst = append(dst, r.Proto, 0, 0, 0)
	return append(dst, r.Name[:]...)
}

// What a transition shows, as bits.
const (
	TransitionReady    uint16 = 1 << iota // the list got a new tail: FD, Node
	TransitionEmptied                     // the list became empty
	TransitionScan                        // a scan began
	TransitionScanEnd                     // a scan ended
	TransitionSleep                       // a thread went to sleep in wq
	TransitionWakeup                      // wq became empty
	TransitionOverflow                    // an item went to ovflist
)

// Causes of a transition: where the kernel was when it was seen.
const (
	CauseSysExit     uint8 = 0
	CauseSchedWaking uint8 = 1
	CauseCallback    uint8 = 2 // in ep_poll_callback itself (fentry tier)
)

// TransitionRow, 32 bytes: a change of lists or wait queue between snapshots.
type TransitionRow struct {
	Time  uint64 // 0: CLOCK_MONOTONIC
	Node  uint32 // 8: node id of the new tail; 0 if none or not known
	FD    int32  // 12: its fd; -1 if none
	TID   uint32 // 16: the thread that was running
	What  uint16 // 20: Transition*
	Cause uint8  // 22: Cause*; 23 zero
	Seq   uint64 // 24: counted in the kernel; a gap is a loss
}

// TransitionRowSize is the size in bytes of a TransitionRow.
const TransitionRowSize = 32

// Append appends the row.
func (r TransitionRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, r.Time)
	dst = le.AppendUint32(dst, r.Node)
	dst = le.AppendUint32(dst, uint32(r.FD))
	dst = le.AppendUint32(dst, r.TID)
	dst = le.AppendUint16(dst, r.What)
	dst = append(dst, r.Cause, 0)
	return le.AppendUint64(dst, r.Seq)
}

// GlyphRow, 56 bytes: one node, or one subtree too narrow to show its nodes.
// x is the in-order rank, y the depth.
type GlyphRow struct {
	ID         uint32 // 0: node id; of the subtree's root if Count > 1
	Parent     uint32 // 4: node id of the parent glyph; 0 at the root or outside the viewport
	Rank       uint32 // 8: in-order rank of the node (Count 1) or of the subtree's leftmost node
	Count      uint32 // 12: 1, or the exact number of nodes in the subtree
	Red        uint32 // 16: red nodes among them
	Ready      uint32 // 20: ready nodes among them
	Depth      uint16 // 24: 0 at the root
	Height     uint16 // 26: levels of the subtree; 1 for a single node
	FD         int32  // 28: of the node, or of the subtree's root
	Events     uint32 // 32
	Flags      uint32 // 36: Node*
	ParentRank uint32 // 40: in-order rank of the parent; meaningless at the root
	File       uint32 // 44: file id; 0 in an aggregate
	RootRank   uint32 // 48: in-order rank of the subtree's root; equals Rank if Count is 1
	Nested     uint32 // 52: instance id if the file is an epoll instance
}

// GlyphRowSize is the size in bytes of a GlyphRow.
const GlyphRowSize = 56

// Append appends the row.
func (r GlyphRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint32{r.ID, r.Parent, r.Rank, r.Count, r.Red, r.Ready} {
		dst = le.AppendUint32(dst, v)
	}
	dst = le.AppendUint16(dst, r.Depth)
	dst = le.AppendUint16(dst, r.Height)
	for _, v := range [...]uint32{uint32(r.FD), r.Events, r.Flags, r.ParentRank, r.File, r.RootRank, r.Nested} {
		dst = le.AppendUint32(dst, v)
	}
	return dst
}
