package epoll

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// maxGlyphs is what docs/protocol.md promises for one frame.
const maxGlyphs = 2000

// drawn is a snapshot of a synthetic tree, of which nothing needs to be looked
// up in the kernel: every node counts as described.
func drawn(tb testing.TB, t *tree) *Snapshot {
	tb.Helper()
	if t.broken != kernelviz.BrokenNone {
		tb.Fatalf("the synthetic tree is broken: %s", brokenText[t.broken])
	}
	w := &watch{
		view: &View{}, nodeIDs: make(map[nodeKey]uint32), keys: make(map[uint32]nodeKey),
		fileIDs: make(map[uint64]uint32), files: make(map[uint32]*fileInfo), owner: make(map[uint32]uint32),
		owners: []discoverTarget{{}}, ownersAt: time.Now().Add(time.Hour), describedAt: time.Now().Add(time.Hour),
	}
	s := &Snapshot{watch: w, tree: t}
	s.instance.Items = uint32(len(t.nodes))
	return s
}

// known gives ids and owners to the nodes of these slots.
func (s *Snapshot) known(slots []uint32) {
	for _, i := range slots {
		n := &s.tree.nodes[i]
		s.watch.owner[s.watch.nodeID(nodeKey{n.Addr, n.File, n.Fd})] = 1
	}
}

// balanced is a legal tree of n nodes made without inserting: complete levels
// are black, the last, incomplete one is red.
func balanced(n int) *capture {
	c := &capture{nodes: make([]snapshotNode, n)}
	c.args.Refcount = uint32(n) + 1
	full := 0 // nodes of the complete levels
	for 2*full+1 <= n {
		full = 2*full + 1
	}
	key := 0
	var visit func(i int)
	visit = func(i int) {
		if i >= n {
			return
		}
		visit(2*i + 1)
		s := &c.nodes[i]
		s.Addr, s.File, s.Fd = 0xffffed0000000000+uint64(i)*128, 0xffffee0000000000+uint64(key)*256, int32(key)
		if key%97 == 0 {
			s.ParentColor |= bitLinked
		}
		key++
		visit(2*i + 2)
	}
	visit(0)
	for i := range c.nodes {
		s := &c.nodes[i]
		if i < full {
			s.ParentColor |= bitBlack
		}
		if i > 0 {
			s.ParentColor |= c.nodes[(i-1)/2].Addr
		}
		if l := 2*i + 1; l < n {
			s.Left, s.LeftIndex = c.nodes[l].Addr, uint32(l)
		}
		if r := 2*i + 2; r < n {
			s.Right, s.RightIndex = c.nodes[r].Addr, uint32(r)
		}
	}
	leftmost := 0
	for 2*leftmost+1 < n {
		leftmost = 2*leftmost + 1
	}
	c.args.Leftmost = c.nodes[leftmost].Addr
	return c
}

// lopsided is a red-black tree as uneven as the rules allow: every left subtree
// is all black, every right one alternates black and red.
func lopsided(blackHeight int) *refTree {
	key := 0
	var build func(bh int, red, tall bool, parent *refNode) *refNode
	build = func(bh int, red, tall bool, parent *refNode) *refNode {
		if bh == 0 && !red {
			return nil
		}
		n := &refNode{red: red, parent: parent}
		below := bh
		if !red {
			below--
		}
		childRed := tall && !red
		n.left = build(below, childRed && tall, false, n)
		n.addr, n.file, n.fd = 0xffffed0000000000+uint64(key)*128, 0xffffee0000000000+uint64(key)*256, 5
		key++
		n.right = build(below, childRed, tall, n)
		return n
	}
	t := &refTree{root: build(blackHeight, false, true, nil)}
	t.size = key
	return t
}

func sortedTree(n int) *refTree {
	t := &refTree{}
	for k := range n {
		t.insert(refItem(k, k))
	}
	return t
}

func TestGlyphsStayWithinTheirBudget(t *testing.T) {
	trees := []struct {
		name string
		make func() *tree
	}{
		{"4,097 random", func() *tree { return buildTree(newRefTree(rand.New(rand.NewPCG(1, 1)), 4097).whole()) }},
		{"100,000 random", func() *tree { return buildTree(newRefTree(rand.New(rand.NewPCG(1, 2)), 100_000).whole()) }},
		// Just before its narrow subtrees all become glyphs at once.
		{"108,000 ascending", func() *tree { return buildTree(sortedTree(108_000).whole()) }},
		{"lopsided", func() *tree { return buildTree(lopsided(15).whole()) }},
		{"1,000,000", func() *tree { return buildTree(balanced(1_000_000)) }},
		{"1,300,000", func() *tree { return buildTree(balanced(1_300_000)) }},
	}
	for _, c := range trees {
		t.Run(c.name, func(t *testing.T) {
			s := drawn(t, c.make())
			n := s.Items()
			// Whatever may be drawn singly at any width.
			for i := range s.tree.nodes {
				if p := s.tree.parent[i]; int(s.tree.size[p]) > n/500 || n < 20_000 {
					s.known([]uint32{uint32(i)})
				}
			}
			most := 0
			for px := 320; px <= 4096; px += 137 {
				glyphs, _ := s.glyphs(kernelviz.Viewport{Px: uint16(px)})
				most = max(most, len(glyphs))
				if len(glyphs) > maxGlyphs {
					t.Errorf("%d glyphs at %d px", len(glyphs), px)
				}
				checkGlyphs(t, s, glyphs, 0, uint32(n))
				if t.Failed() {
					t.FailNow()
				}
			}
			t.Logf("%d nodes, %d levels: at most %d glyphs", n, s.tree.levels, most)
		})
	}
}

func TestGlyphsOfAnInterval(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	s := drawn(t, buildTree(newRefTree(rng, 20_000).whole()))
	n := uint32(s.Items())
	every := make([]uint32, n)
	for i := range every {
		every[i] = uint32(i)
	}
	s.known(every)
	intervals := []kernelviz.Viewport{
		{}, {Lo: 0, Hi: n}, {Lo: 0, Hi: 1}, {Lo: n - 1, Hi: n}, {Lo: n - 1}, {Lo: 500, Hi: 501}, {Lo: 19_999, Hi: 1 << 31},
		{Lo: 7, Hi: 7}, {Lo: 9, Hi: 3}, {Lo: n, Hi: n + 5}, {Lo: 1 << 31, Hi: 1<<31 + 10}, {Px: 1}, {Px: 65535}, {Lo: 100, Hi: 200, Px: 1},
	}
	for range 200 {
		lo := rng.Uint32N(n)
		intervals = append(intervals, kernelviz.Viewport{Lo: lo, Hi: lo + 1 + rng.Uint32N(n-lo), Px: uint16(320 + rng.IntN(3776))})
	}
	for _, vp := range intervals {
		t.Run(fmt.Sprintf("%d-%d@%d", vp.Lo, vp.Hi, vp.Px), func(t *testing.T) {
			glyphs, _ := s.glyphs(vp)
			lo, hi := vp.Lo, vp.Hi
			if hi == 0 || hi > n {
				hi = n
			}
			if lo >= hi {
				lo, hi = 0, n // nothing to see there: all of it is shown
			}
			if len(glyphs) > maxGlyphs {
				t.Errorf("%d glyphs", len(glyphs))
			}
			checkGlyphs(t, s, glyphs, lo, hi)
		})
	}
}

// A narrow interval is drawn node by node, so that zooming in ends at the items.
func TestZoomEndsAtSingleNodes(t *testing.T) {
	s := drawn(t, buildTree(balanced(50_000)))
	every := make([]uint32, s.Items())
	for i := range every {
		every[i] = uint32(i)
	}
	s.known(every)
	glyphs, _ := s.glyphs(kernelviz.Viewport{Lo: 20_000, Hi: 20_100, Px: 1280})
	inside := 0
	for _, g := range glyphs {
		if g.Rank < 20_000 || g.Rank >= 20_100 {
			continue
		}
		inside++
		if g.Count != 1 {
			t.Errorf("rank %d is a glyph of %d nodes, where each has 12 px", g.Rank, g.Count)
		}
	}
	if inside != 100 {
		t.Errorf("%d of 100 nodes are drawn", inside)
	}
}

// checkGlyphs holds glyphs against the tree: every rank of the interval is
// covered once, counts are exact, and parents stand before their children.
func checkGlyphs(t *testing.T, s *Snapshot, glyphs []wire.GlyphRow, lo, hi uint32) {
	t.Helper()
	tr := s.tree
	slotAt := tr.inOrder()
	covered := make([]uint8, len(tr.nodes))
	seen := make(map[uint32]bool, len(glyphs))
	sum, red, ready := 0, 0, 0
	for _, g := range glyphs {
		if g.Count == 0 || int(g.Rank)+int(g.Count) > len(covered) {
			t.Fatalf("glyph %+v leaves the tree", g)
		}
		for r := g.Rank; r < g.Rank+g.Count; r++ {
			covered[r]++
		}
		i := slotAt[g.RootRank]
		if g.Count == 1 && g.RootRank != g.Rank {
			t.Fatalf("glyph %+v: a single node is its own root", g)
		}
		if g.Count > 1 && (g.Count != tr.size[i] || g.Rank != tr.first(i) || int(g.Height) != int(tr.height[i]) || g.File != 0) {
			t.Fatalf("glyph %+v: its subtree has %d nodes from rank %d in %d levels", g, tr.size[i], tr.first(i), tr.height[i])
		}
		wantRed, wantReady := uint32(0), uint32(0)
		for r := g.Rank; r < g.Rank+g.Count; r++ {
			bits := tr.nodes[slotAt[r]].ParentColor
			wantRed += uint32(^bits & bitBlack)
			wantReady += uint32(bits & bitLinked / bitLinked)
		}
		if g.Red != wantRed || g.Ready != wantReady {
			t.Fatalf("glyph %+v: %d red and %d ready nodes", g, wantRed, wantReady)
		}
		n := &tr.nodes[i]
		if g.FD != n.Fd || g.Events != n.Events || int(g.Depth) != int(tr.depth[i]) {
			t.Fatalf("glyph %+v is not node %+v", g, n)
		}
		if seen[g.ID] || g.ID == 0 {
			t.Fatalf("id %d stands twice", g.ID)
		}
		if g.Depth > 0 && (!seen[g.Parent] || g.ParentRank != tr.rank[tr.parent[i]]) {
			t.Fatalf("glyph %+v: its parent has rank %d", g, tr.rank[tr.parent[i]])
		}
		seen[g.ID] = true
		sum, red, ready = sum+int(g.Count), red+int(g.Red), ready+int(g.Ready)
	}
	for r, k := range covered {
		if k > 1 || k == 0 && uint32(r) >= lo && uint32(r) < hi {
			t.Fatalf("rank %d is drawn %d times", r, k)
		}
	}
	if lo == 0 && int(hi) == len(tr.nodes) && (sum != len(tr.nodes) || red != int(tr.red[0]) || ready != int(tr.ready[0])) {
		t.Errorf("glyphs stand for %d nodes, %d red, %d ready; the tree has %d, %d, %d", sum, red, ready, len(tr.nodes), tr.red[0], tr.ready[0])
	}
}
