package epoll

import "math/rand/v2"

// refNode is a node of a red-black tree in pointers, built by the algorithms of
// Cormen et al., chapter 13: the reference that model.go is held against. Its
// fields stand for those of struct epitem, so that a test can corrupt one.
type refNode struct {
	addr                uint64
	file                uint64
	fd                  int32
	events              uint32
	data                uint64
	left, right, parent *refNode
	red                 bool
	linked, overflow    bool
	foreign             bool // epi->ep is another eventpoll's
}

// refTree is the reference tree with the words of struct eventpoll.
type refTree struct {
	root *refNode
	size int
}

func (n *refNode) before(m *refNode) bool {
	return n.file < m.file || n.file == m.file && n.fd < m.fd
}

func (t *refTree) insert(z *refNode) {
	var y *refNode
	for x := t.root; x != nil; {
		y = x
		if z.before(x) {
			x = x.left
		} else {
			x = x.right
		}
	}
	z.parent, z.red = y, true
	switch {
	case y == nil:
		t.root = z
	case z.before(y):
		y.left = z
	default:
		y.right = z
	}
	t.size++
	t.fixup(z)
}

func (t *refTree) fixup(z *refNode) {
	for z.parent != nil && z.parent.red {
		g := z.parent.parent
		uncle, onLeft := g.left, false
		if z.parent == g.left {
			uncle, onLeft = g.right, true
		}
		if uncle != nil && uncle.red {
			z.parent.red, uncle.red, g.red = false, false, true
			z = g
			continue
		}
		if onLeft && z == z.parent.right {
			z = z.parent
			t.rotate(z, true)
		}
		if !onLeft && z == z.parent.left {
			z = z.parent
			t.rotate(z, false)
		}
		z.parent.red, g.red = false, true
		t.rotate(g, !onLeft)
	}
	t.root.red = false
}

// rotate rotates x to the left or to the right.
func (t *refTree) rotate(x *refNode, left bool) {
	var y, middle *refNode
	if left {
		y = x.right
		middle, y.left = y.left, x
		x.right = middle
	} else {
		y = x.left
		middle, y.right = y.right, x
		x.left = middle
	}
	if middle != nil {
		middle.parent = x
	}
	y.parent = x.parent
	switch {
	case x.parent == nil:
		t.root = y
	case x.parent.left == x:
		x.parent.left = y
	default:
		x.parent.right = y
	}
	x.parent = y
}

// newRefTree inserts n items in random order. A file has up to three fds, as
// after dup, and addresses say nothing about the order of keys.
func newRefTree(rng *rand.Rand, n int) *refTree {
	t := &refTree{}
	addrs := rng.Perm(n)
	for i, k := range rng.Perm(n) {
		t.insert(refItem(k, addrs[i]))
	}
	return t
}

// refItem is the item of rank k at the given place in memory. No kernel maps
// these addresses: they lie in a hole of the layout (Documentation/arch/x86/x86_64/mm.rst).
func refItem(k, place int) *refNode {
	return &refNode{
		addr: 0xffffed0000000000 + uint64(place)*128, file: 0xffffee0000000000 + uint64(k/3)*256, fd: int32(5 + k%3),
		events: 0x19, data: uint64(k), linked: k%7 == 0,
	}
}

// inOrder walks as a textbook does.
func (t *refTree) inOrder() []*refNode {
	var out []*refNode
	var visit func(*refNode)
	visit = func(n *refNode) {
		if n == nil {
			return
		}
		visit(n.left)
		out = append(out, n)
		visit(n.right)
	}
	visit(t.root)
	return out
}

// depths gives the distance from the root of every node.
func (t *refTree) depths() map[*refNode]int {
	out := make(map[*refNode]int, t.size)
	var visit func(*refNode, int)
	visit = func(n *refNode, d int) {
		if n == nil {
			return
		}
		out[n] = d
		visit(n.left, d+1)
		visit(n.right, d+1)
	}
	visit(t.root, 0)
	return out
}

func refSize(n *refNode) int {
	if n == nil {
		return 0
	}
	return 1 + refSize(n.left) + refSize(n.right)
}

// valid tells recursively that the tree is what lib/rbtree.c maintains: it is
// written as the definition reads, not as model.go walks. Loops are cut at
// limit nodes.
func (t *refTree) valid(limit int) bool {
	if t.root == nil {
		return true
	}
	if t.root.red || t.root.parent != nil {
		return false
	}
	left := limit
	var last *refNode
	ordered := true
	// check returns the black height of n, or -1.
	var check func(n *refNode) int
	check = func(n *refNode) int {
		if n == nil {
			return 0
		}
		if left--; left < 0 || n.foreign {
			return -1
		}
		for _, c := range []*refNode{n.left, n.right} {
			if c != nil && (c.parent != n || n.red && c.red) {
				return -1
			}
		}
		l := check(n.left)
		if last != nil && !last.before(n) {
			ordered = false
		}
		last = n
		r := check(n.right)
		if l < 0 || l != r {
			return -1
		}
		if n.red {
			return l
		}
		return l + 1
	}
	return check(t.root) >= 0 && ordered
}

// capture reads the tree as walk_one in snapshot.bpf.c does: breadth first,
// with the output as the queue, and no more than refcount + 64 slots.
func (t *refTree) capture(refcount uint32, limit int) *capture {
	c := &capture{}
	c.args.Refcount = refcount
	if t.root == nil {
		return c
	}
	leftmost := t.root
	for i := 0; leftmost.left != nil && i < limit; i++ {
		leftmost = leftmost.left
	}
	c.args.Leftmost, c.args.Root = leftmost.addr, t.root.addr
	queue := []*refNode{t.root}
	c.nodes = append(c.nodes, snapshotNode{Addr: t.root.addr})
	for head := 0; head < len(queue); head++ {
		n := queue[head]
		if n.foreign {
			c.args.Foreign++
			continue
		}
		s := &c.nodes[head]
		s.File, s.Fd, s.Events, s.Data = n.file, n.fd, n.events, n.data
		if n.parent != nil {
			s.ParentColor = n.parent.addr
		}
		if !n.red {
			s.ParentColor |= bitBlack
		}
		if n.linked {
			s.ParentColor |= bitLinked
		}
		if n.overflow {
			s.ParentColor |= bitOverflow
		}
		push := func(child *refNode) (addr uint64, index uint32) {
			if child == nil {
				return 0, 0
			}
			if len(queue) >= limit {
				return child.addr, 0
			}
			queue = append(queue, child)
			c.nodes = append(c.nodes, snapshotNode{Addr: child.addr})
			return child.addr, uint32(len(queue) - 1)
		}
		left, leftIndex := push(n.left)
		right, rightIndex := push(n.right)
		s = &c.nodes[head]
		s.Left, s.LeftIndex, s.Right, s.RightIndex = left, leftIndex, right, rightIndex
	}
	return c
}

// whole captures an intact tree.
func (t *refTree) whole() *capture { return t.capture(uint32(t.size)+1, t.size+64) }
