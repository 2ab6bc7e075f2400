package epoll

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kernelviz/internal/kernelviz"
)

func TestTreeIsDerivedFromLinks(t *testing.T) {
	for _, n := range []int{0, 1, 2, 7, 31, 100, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			ref := newRefTree(rand.New(rand.NewPCG(1, uint64(n))), n)
			got := buildTree(ref.whole())
			if got.broken != kernelviz.BrokenNone {
				t.Fatalf("broken: %s", brokenText[got.broken])
			}
			compareShape(t, ref, got)
		})
	}
}

// compareShape holds every derived number against the reference tree.
func compareShape(t *testing.T, ref *refTree, got *tree) {
	t.Helper()
	if len(got.nodes) != ref.size {
		t.Fatalf("%d nodes, want %d", len(got.nodes), ref.size)
	}
	byAddr := make(map[uint64]uint32, ref.size)
	for i := range got.nodes {
		byAddr[got.nodes[i].Addr] = uint32(i)
	}
	depths := ref.depths()
	want := ref.inOrder()
	order := got.inOrder()
	levels := 0
	for rank, n := range want {
		i := byAddr[n.addr]
		if order[rank] != i || got.rank[i] != uint32(rank) {
			t.Fatalf("rank %d is slot %d (rank[] %d), want slot %d", rank, order[rank], got.rank[i], i)
		}
		if int(got.depth[i]) != depths[n] {
			t.Fatalf("depth of rank %d is %d, want %d", rank, got.depth[i], depths[n])
		}
		if size := refSize(n); int(got.size[i]) != size {
			t.Fatalf("size of rank %d is %d, want %d", rank, got.size[i], size)
		}
		if first := rank - refSize(n.left); int(got.first(i)) != first {
			t.Fatalf("subtree of rank %d begins at %d, want %d", rank, got.first(i), first)
		}
		if n.parent != nil && got.nodes[got.parent[i]].Addr != n.parent.addr {
			t.Fatalf("parent of rank %d is wrong", rank)
		}
		levels = max(levels, depths[n]+1)
		red, ready, height := 0, 0, 0
		var visit func(*refNode, int)
		visit = func(m *refNode, level int) {
			if m == nil {
				return
			}
			height = max(height, level)
			if m.red {
				red++
			}
			if m.linked {
				ready++
			}
			visit(m.left, level+1)
			visit(m.right, level+1)
		}
		visit(n, 1)
		if int(got.red[i]) != red || int(got.ready[i]) != ready || int(got.height[i]) != height {
			t.Fatalf("subtree of rank %d: %d red, %d ready, %d levels; want %d, %d, %d", rank, got.red[i], got.ready[i], got.height[i], red, ready, height)
		}
	}
	if got.levels != levels {
		t.Errorf("%d levels, want %d", got.levels, levels)
	}
	black := 0
	for n := ref.root; n != nil; n = n.left {
		if !n.red {
			black++
		}
	}
	// CLRS does not count the node itself, and counts NIL: the same number.
	if got.blackHeight != black {
		t.Errorf("black height %d, want %d", got.blackHeight, black)
	}
}

// pick returns the first node in order that fits, so that a corruption has
// exactly the effect that its case names.
func pick(t *testing.T, ref *refTree, fits func(*refNode) bool) *refNode {
	t.Helper()
	for _, n := range ref.inOrder() {
		if fits(n) {
			return n
		}
	}
	t.Fatal("the reference tree has no such node")
	return nil
}

func isLeaf(n *refNode) bool { return n.left == nil && n.right == nil }

func TestEveryCorruptionIsNamed(t *testing.T) {
	const items = 100
	cases := []struct {
		name    string
		corrupt func(t *testing.T, ref *refTree)
		args    func(c *capture) // on what was captured
		// want is without a refcount to compare with, as on kernels that have
		// none; counted is with it, where that differs.
		want, counted kernelviz.Broken
	}{
		{name: "intact", corrupt: func(*testing.T, *refTree) {}},
		{name: "parent link to another node", want: BrokenParent, corrupt: func(t *testing.T, ref *refTree) {
			n := pick(t, ref, func(n *refNode) bool { return n.parent != nil && n.parent.parent != nil })
			n.parent = n.parent.parent
		}},
		{name: "parent link missing", want: BrokenParent, corrupt: func(t *testing.T, ref *refTree) {
			pick(t, ref, func(n *refNode) bool { return n.parent != nil && !n.red }).parent = nil
		}},
		{name: "root with a parent", want: BrokenParent, corrupt: func(_ *testing.T, ref *refTree) { ref.root.parent = ref.root.left }},
		{name: "red leaf black", want: BrokenBlackHeight, corrupt: func(t *testing.T, ref *refTree) {
			pick(t, ref, func(n *refNode) bool { return n.red && isLeaf(n) }).red = false
		}},
		{name: "black leaf red under black", want: BrokenBlackHeight, corrupt: func(t *testing.T, ref *refTree) {
			pick(t, ref, func(n *refNode) bool { return !n.red && isLeaf(n) && n.parent != nil && !n.parent.red }).red = true
		}},
		{name: "black leaf red under red", want: BrokenRedRed, corrupt: func(t *testing.T, ref *refTree) {
			pick(t, ref, func(n *refNode) bool { return !n.red && n.parent != nil && n.parent.red }).red = true
		}},
		{name: "black node red over red", want: BrokenRedRed, corrupt: func(t *testing.T, ref *refTree) {
			pick(t, ref, func(n *refNode) bool {
				return !n.red && n.parent != nil && !n.parent.red && n.left != nil && n.left.red
			}).red = true
		}},
		{name: "root red", want: BrokenRoot, corrupt: func(_ *testing.T, ref *refTree) { ref.root.red = true }},
		{name: "files swapped", want: BrokenOrder, corrupt: func(t *testing.T, ref *refTree) {
			n := pick(t, ref, func(n *refNode) bool { return n.left != nil && n.left.file != n.file })
			n.file, n.left.file = n.left.file, n.file
		}},
		{name: "fds swapped", want: BrokenOrder, corrupt: func(t *testing.T, ref *refTree) {
			n := pick(t, ref, func(n *refNode) bool { return n.left != nil && n.left.file == n.file })
			n.fd, n.left.fd = n.left.fd, n.fd
		}},
		{name: "same key twice", want: BrokenOrder, corrupt: func(t *testing.T, ref *refTree) {
			n := pick(t, ref, func(n *refNode) bool { return n.left != nil })
			n.left.file, n.left.fd = n.file, n.fd
		}},
		{name: "order broken deep below", want: BrokenOrder, corrupt: func(_ *testing.T, ref *refTree) {
			// Greater than its parent, as a right child should be, but also
			// greater than an ancestor whose left subtree it is in.
			n := ref.root.left
			for n.right != nil {
				n = n.right
			}
			n.file = ref.root.file + 1<<20
		}},
		{name: "whole tree mirrored", want: BrokenOrder, corrupt: func(_ *testing.T, ref *refTree) {
			for _, n := range ref.inOrder() {
				n.left, n.right = n.right, n.left
			}
		}},
		{name: "black leaf lost", want: BrokenBlackHeight, counted: BrokenCount, corrupt: func(t *testing.T, ref *refTree) {
			n := pick(t, ref, func(n *refNode) bool { return !n.red && isLeaf(n) && n.parent.left == n })
			n.parent.left = nil
		}},
		// Only the count can tell: the tree without it is a legal one.
		{name: "red leaf lost", want: kernelviz.BrokenNone, counted: BrokenCount, corrupt: func(t *testing.T, ref *refTree) {
			n := pick(t, ref, func(n *refNode) bool { return n.red && isLeaf(n) && n.parent.right == n })
			n.parent.right = nil
		}},
		{name: "all lost", want: kernelviz.BrokenNone, counted: BrokenCount, corrupt: func(_ *testing.T, ref *refTree) { ref.root = nil }},
		{name: "foreign item", want: BrokenForeign, corrupt: func(t *testing.T, ref *refTree) {
			pick(t, ref, func(n *refNode) bool { return n.red && isLeaf(n) }).foreign = true
		}},
		{name: "foreign root", want: BrokenForeign, corrupt: func(_ *testing.T, ref *refTree) { ref.root.foreign = true }},
		{name: "loop to the root", want: BrokenParent, counted: BrokenCount, corrupt: func(t *testing.T, ref *refTree) {
			pick(t, ref, isLeaf).left = ref.root
		}},
		{name: "loop to itself", want: BrokenParent, counted: BrokenCount, corrupt: func(t *testing.T, ref *refTree) {
			n := pick(t, ref, isLeaf)
			n.right = n
		}},
		{name: "one child on both sides", want: BrokenOrder, counted: BrokenCount, corrupt: func(t *testing.T, ref *refTree) {
			n := pick(t, ref, func(n *refNode) bool { return n.left != nil && n.right == nil })
			n.right = n.left
		}},
		{name: "subtree shared by two", want: BrokenParent, counted: BrokenCount, corrupt: func(_ *testing.T, ref *refTree) {
			ref.root.left.left = ref.root.right.right
		}},
		{name: "leftmost wrong", want: BrokenLeftmost, corrupt: func(*testing.T, *refTree) {}, args: func(c *capture) { c.args.Leftmost = c.args.Root }},
		{name: "leftmost missing", want: BrokenLeftmost, corrupt: func(*testing.T, *refTree) {}, args: func(c *capture) { c.args.Leftmost = 0 }},
		{name: "moved", want: BrokenMoved, corrupt: func(*testing.T, *refTree) {}, args: func(c *capture) { c.args.RootMoved = 1 }},
		{name: "count too low", want: kernelviz.BrokenNone, counted: BrokenCount, corrupt: func(*testing.T, *refTree) {}, args: func(c *capture) {
			if c.args.Refcount > 0 {
				c.args.Refcount--
			}
		}},
		{name: "count too high", want: kernelviz.BrokenNone, counted: BrokenCount, corrupt: func(*testing.T, *refTree) {}, args: func(c *capture) {
			if c.args.Refcount > 0 {
				c.args.Refcount++
			}
		}},
		{name: "child not followed", want: BrokenIncomplete, counted: BrokenIncomplete, corrupt: func(*testing.T, *refTree) {}, args: func(c *capture) {
			last := &c.nodes[len(c.nodes)-1]
			last.Left, last.LeftIndex = 0xffffed00deadbe00, 0
		}},
	}
	for _, c := range cases {
		for _, counted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/counted=%t", c.name, counted), func(t *testing.T) {
				ref := newRefTree(rand.New(rand.NewPCG(42, 42)), items)
				c.corrupt(t, ref)
				want, refcount := c.want, uint32(0)
				if counted {
					refcount = items + 1
					if c.counted != kernelviz.BrokenNone {
						want = c.counted
					}
				}
				got := ref.capture(refcount, items+64)
				if c.args != nil {
					c.args(got)
				}
				if b := buildTree(got).broken; b != want {
					t.Errorf("broken is %d %q, want %d %q", b, brokenText[b], want, brokenText[want])
				}
			})
		}
	}
}

// Every text is there, and none twice: the page has a sentence for each number.
func TestEveryBrokenHasItsText(t *testing.T) {
	if len(brokenText) != int(BrokenLeftmost)+1 {
		t.Errorf("%d texts for %d values", len(brokenText), BrokenLeftmost+1)
	}
	seen := map[string]bool{}
	for i, text := range brokenText {
		if seen[text] {
			t.Errorf("%d: %q stands twice", i, text)
		}
		seen[text] = true
	}
}

// Any one change of any link, colour, key or ownership is found if and only if
// the recursive definition says that the tree is none any more.
func TestRandomCorruptionIsFound(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	verdicts := map[bool]int{}
	for range 3000 {
		n := 1 + rng.IntN(60)
		ref := newRefTree(rng, n)
		nodes := ref.inOrder()
		a, b := nodes[rng.IntN(n)], nodes[rng.IntN(n)]
		if rng.IntN(8) == 0 {
			b = nil
		}
		what := ""
		switch rng.IntN(7) {
		case 0:
			what, a.left = "left", b
		case 1:
			what, a.right = "right", b
		case 2:
			what, a.parent = "parent", b
		case 3:
			what, a.red = "colour", !a.red
		case 4:
			what, a.file = "file", a.file+uint64(rng.IntN(5)-2)*256
		case 5:
			what, a.fd = "fd", a.fd+int32(rng.IntN(5)-2)
		case 6:
			what, a.foreign = "foreign", rng.IntN(2) == 0
		}
		// The count is checked like the rest: nodes reached from the root, loops included.
		reached := ref.capture(0, 4*n+64)
		want := ref.valid(4*n+64) && len(reached.nodes) == n
		got := buildTree(ref.capture(uint32(n)+1, n+64)).broken == kernelviz.BrokenNone
		if got != want {
			t.Fatalf("%s of %d nodes changed: whole is %t, want %t", what, n, got, want)
		}
		verdicts[want]++
	}
	if verdicts[true] == 0 || verdicts[false] < 1000 {
		t.Errorf("the corruptions prove little: %v", verdicts)
	}
}

// A chain longer than any counter holds must not confuse the check, and every
// derived slice stays within its bounds.
func TestEndlessChainIsBroken(t *testing.T) {
	const slots = 1 << 16
	c := &capture{nodes: make([]snapshotNode, slots)}
	for i := range c.nodes {
		n := &c.nodes[i]
		n.Addr = 0xffffed0000000000 + uint64(i)*128
		n.File = math.MaxUint64 - uint64(i)
		n.ParentColor = bitBlack
		if i > 0 {
			n.ParentColor |= c.nodes[i-1].Addr
		}
		if i+1 < slots {
			n.Left, n.LeftIndex = n.Addr+128, uint32(i+1)
		}
	}
	c.args.Leftmost = c.nodes[slots-1].Addr
	got := buildTree(c)
	if got.broken != BrokenBlackHeight {
		t.Errorf("broken is %d, want %d", got.broken, BrokenBlackHeight)
	}
	order := got.inOrder()
	slices.Sort(order)
	for i, v := range order {
		if v != uint32(i) {
			t.Fatalf("slot %d is not ranked once", i)
		}
	}
}
