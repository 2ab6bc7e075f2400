package epoll

import (
	"kernelviz/internal/kernelviz"
)

// Broken invariants of an epoll snapshot, as they travel in the truth row. The
// page has a sentence for each.
const (
	BrokenForeign     kernelviz.Broken = iota + 1 // a slot was no epitem of this eventpoll
	BrokenParent                                  // a parent link does not point back
	BrokenOrder                                   // keys (file, fd) are not in order
	BrokenRedRed                                  // a red node has a red child
	BrokenBlackHeight                             // two paths have different numbers of black nodes
	BrokenCount                                   // nodes found differ from refcount - 1
	BrokenRoot                                    // the root is red
	BrokenIncomplete                              // a child could not be followed
	BrokenMoved                                   // root, leftmost or refcount changed during the walk
	BrokenLeftmost                                // rb_leftmost is not the first node
)

// Bits of snapshotNode.ParentColor (NODE_* in snapshot.bpf.c).
const (
	bitBlack    = 1 << 0
	bitLinked   = 1 << 1
	bitOverflow = 1 << 2
	bitMask     = 7
)

// tree is a snapshot of the red-black tree, checked. Slots are in breadth-first
// order: a parent stands before its children, so every pass below walks memory
// forwards or backwards and never jumps.
type tree struct {
	nodes []snapshotNode
	// parent[i] is the slot of i's parent; parent[0] is 0.
	parent []uint32
	// size[i] is the number of nodes in i's subtree, itself included; red[i]
	// and ready[i] count the red and the ready ones among them.
	size, red, ready []uint32
	// rank[i] is i's place in the in-order walk.
	rank  []uint32
	depth []uint8 // 0 at the root
	// height[i] is the number of levels of i's subtree.
	height []uint8

	levels      int
	blackHeight int // CLRS: black nodes from the root down to a leaf, NIL counted, root not
	broken      kernelviz.Broken
}

// none stands for a bound that does not exist.
const none = ^uint32(0)

// buildTree derives shape, ranks and counts from a capture and checks every
// invariant of lib/rbtree.c and fs/eventpoll.c that a snapshot can break. The
// nodes are taken over, not copied.
func buildTree(c *capture) *tree {
	n := len(c.nodes)
	counts := make([]uint32, 5*n)
	t := &tree{
		nodes:  c.nodes,
		parent: counts[0:n:n], size: counts[n : 2*n : 2*n], red: counts[2*n : 3*n : 3*n],
		ready: counts[3*n : 4*n : 4*n], rank: counts[4*n : 5*n : 5*n],
		depth: make([]uint8, n), height: make([]uint8, n),
	}
	a := &c.args
	switch {
	case a.Foreign > 0:
		t.broken = BrokenForeign
	case a.Refcount > 0 && uint32(n) != a.Refcount-1:
		t.broken = BrokenCount
	case a.RootMoved != 0:
		t.broken = BrokenMoved
	}
	if n == 0 {
		return t
	}
	t.descend()
	t.ascend()
	t.number()
	if t.broken == 0 && t.leftmost() != a.Leftmost {
		t.broken = BrokenLeftmost
	}
	return t
}

func (t *tree) fail(b kernelviz.Broken) {
	if t.broken == kernelviz.BrokenNone {
		t.broken = b
	}
}

// descend walks from the root down: parents, depth, colours and order. The
// bounds of a node are the nearest ancestors on either side; comparing with
// them proves the in-order sequence without walking in order.
func (t *tree) descend() {
	nodes := t.nodes
	bounds := make([]uint32, 2*len(nodes))
	bounds[0], bounds[1] = none, none
	if nodes[0].ParentColor&bitBlack == 0 {
		t.fail(BrokenRoot)
	}
	if nodes[0].ParentColor&^bitMask != 0 {
		t.fail(BrokenParent)
	}
	for i := range nodes {
		n := &nodes[i]
		lo, hi := bounds[2*i], bounds[2*i+1]
		if lo != none && !less(&nodes[lo], n) || hi != none && !less(n, &nodes[hi]) {
			t.fail(BrokenOrder)
		}
		if n.Left != 0 && n.LeftIndex == 0 || n.Right != 0 && n.RightIndex == 0 {
			t.fail(BrokenIncomplete)
		}
		if l := n.LeftIndex; l != 0 {
			t.adopt(uint32(i), l)
			bounds[2*l], bounds[2*l+1] = lo, uint32(i)
		}
		if r := n.RightIndex; r != 0 {
			t.adopt(uint32(i), r)
			bounds[2*r], bounds[2*r+1] = uint32(i), hi
		}
	}
	t.levels = int(t.depth[len(nodes)-1]) + 1
}

// adopt records child as a child of parent.
func (t *tree) adopt(parent, child uint32) {
	p, c := &t.nodes[parent], &t.nodes[child]
	t.parent[child] = parent
	if d := t.depth[parent]; d < 254 {
		t.depth[child] = d + 1
	}
	if c.ParentColor&^bitMask != p.Addr {
		t.fail(BrokenParent)
	}
	if (p.ParentColor|c.ParentColor)&bitBlack == 0 {
		t.fail(BrokenRedRed)
	}
}

// less orders by (file pointer, fd), as ep_cmp_ffd does.
func less(a, b *snapshotNode) bool {
	return a.File < b.File || a.File == b.File && a.Fd < b.Fd
}

// ascend walks from the last node up: subtree counts and black heights.
func (t *tree) ascend() {
	nodes := t.nodes
	black := make([]uint8, len(nodes))
	for i := len(nodes) - 1; i >= 0; i-- {
		n := &nodes[i]
		size, red, ready := uint32(1), uint32(0), uint32(0)
		if n.ParentColor&bitBlack == 0 {
			red = 1
		}
		if n.ParentColor&bitLinked != 0 {
			ready = 1
		}
		var left, right, below uint8
		if l := n.LeftIndex; l != 0 {
			size, red, ready, left = size+t.size[l], red+t.red[l], ready+t.ready[l], black[l]
			below = t.height[l]
		}
		if r := n.RightIndex; r != 0 {
			size, red, ready, right = size+t.size[r], red+t.red[r], ready+t.ready[r], black[r]
			below = max(below, t.height[r])
		}
		if left != right {
			t.fail(BrokenBlackHeight)
		}
		black[i] = left + uint8(n.ParentColor&bitBlack)
		t.size[i], t.red[i], t.ready[i], t.height[i] = size, red, ready, below+1
	}
	t.blackHeight = int(black[0])
}

// number walks down again and gives every node its in-order rank. rank[i]
// holds the rank of the subtree's first node until i is visited.
func (t *tree) number() {
	for i := range t.nodes {
		n := &t.nodes[i]
		first := t.rank[i]
		if l := n.LeftIndex; l != 0 {
			t.rank[l] = first
			t.rank[i] = first + t.size[l]
		}
		if r := n.RightIndex; r != 0 {
			t.rank[r] = t.rank[i] + 1
		}
	}
}

// leftmost is the address of the first node in order.
func (t *tree) leftmost() uint64 {
	i := uint32(0)
	for t.nodes[i].LeftIndex != 0 {
		i = t.nodes[i].LeftIndex
	}
	return t.nodes[i].Addr
}

// inOrder lists the slots by rank.
func (t *tree) inOrder() []uint32 {
	out := make([]uint32, len(t.nodes))
	for i, r := range t.rank {
		// A torn tree may number two nodes alike, never past the end.
		out[r] = uint32(i)
	}
	return out
}
