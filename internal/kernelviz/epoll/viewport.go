package epoll

import (
	"context"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

const (
	defaultPx = 1280
	// minPx is the width under which a subtree is one glyph.
	minPx = 3
)

// glyphs walks down from the root and draws a subtree as one glyph where it
// would be narrower than minPx, so the number of glyphs is bounded by the
// pixels and not by the tree: about 1.4 a pixel at the default width.
func (s *Snapshot) glyphs(vp kernelviz.Viewport) ([]wire.GlyphRow, []wire.FileRow) {
	t := s.tree
	total := uint32(len(t.nodes))
	lo, hi := vp.Lo, vp.Hi
	if hi == 0 || hi > total {
		hi = total
	}
	if lo >= hi {
		lo, hi = 0, total
	}
	px := float64(vp.Px)
	if px == 0 {
		px = defaultPx
	}
	// Wider pages get larger glyphs, not more of them.
	limit := minPx * max(1, px/defaultPx)
	narrow := uint32(limit * float64(hi-lo) / px)

	w := s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []wire.GlyphRow
	var single []uint32 // slots of the nodes drawn singly
	type step struct{ slot, parent uint32 }
	stack := []step{{0, 0}}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		i := at.slot
		n := &t.nodes[i]
		first := t.first(i)
		if first >= hi || first+t.size[i] <= lo {
			continue
		}
		g := wire.GlyphRow{
			ID: w.nodeID(nodeKey{n.Addr, n.File, n.Fd}), Parent: at.parent,
			Rank: t.rank[i], Count: 1, Depth: uint16(t.depth[i]), Height: 1,
			FD: n.Fd, Events: n.Events, Flags: nodeFlags(n, s.instance.Scanning == 1),
			RootRank: t.rank[i],
		}
		if i != 0 {
			g.ParentRank = t.rank[t.parent[i]]
		}
		if t.size[i] > 1 && t.size[i] <= narrow {
			g.Rank, g.Count = first, t.size[i]
			g.Red, g.Ready = t.red[i], t.ready[i]
			g.Height = uint16(t.height[i])
			out = append(out, g)
			continue
		}
		if n.ParentColor&bitBlack == 0 {
			g.Red = 1
		}
		if n.ParentColor&bitLinked != 0 {
			g.Ready = 1
		}
		g.File = w.fileID(n.File)
		out = append(out, g)
		single = append(single, i)
		if n.RightIndex != 0 {
			stack = append(stack, step{n.RightIndex, g.ID})
		}
		if n.LeftIndex != 0 {
			stack = append(stack, step{n.LeftIndex, g.ID})
		}
	}
	return out, w.describeSlots(t, single, out)
}

// describeSlots says what the nodes drawn singly watch, if they are few enough
// to be labelled. w.mu is held.
func (w *watch) describeSlots(t *tree, slots []uint32, glyphs []wire.GlyphRow) []wire.FileRow {
	if len(slots) > maxDescribed/2 {
		return nil
	}
	nodes := make([]snapshotNode, len(slots))
	ids := make([]uint32, len(slots))
	fileIDs := make([]uint32, len(slots))
	for k, i := range slots {
		n := t.nodes[i]
		nodes[k] = n
		ids[k] = w.nodeID(nodeKey{n.Addr, n.File, n.Fd})
		fileIDs[k] = w.fileID(n.File)
	}
	if err := w.describe(context.Background(), nodes, ids, fileIDs); err != nil {
		w.view.log.Warn("describing the visible files", "err", err)
		return nil
	}
	var files []wire.FileRow
	seen := make(map[uint32]bool, len(slots))
	for k := range glyphs {
		f := w.files[glyphs[k].File]
		if glyphs[k].Count > 1 || f == nil {
			continue
		}
		glyphs[k].Nested = f.row.Nested
		if owner, known := w.owner[glyphs[k].ID]; known && owner == 0 {
			glyphs[k].Flags |= wire.NodeOrphan
		}
		if !seen[glyphs[k].File] {
			seen[glyphs[k].File] = true
			files = append(files, f.row)
		}
	}
	return files
}

// first is the rank of the first node of i's subtree.
func (t *tree) first(i uint32) uint32 {
	if l := t.nodes[i].LeftIndex; l != 0 {
		return t.rank[i] - t.size[l]
	}
	return t.rank[i]
}

// nodeFlags are the flags that can be told from the node alone.
func nodeFlags(n *snapshotNode, scanning bool) uint32 {
	f := uint32(n.ParentColor & bitBlack)
	if n.ParentColor&bitLinked != 0 {
		if scanning {
			f |= wire.NodeDelivering
		} else {
			f |= wire.NodeReady
		}
	}
	if n.ParentColor&bitOverflow != 0 {
		f |= wire.NodeOverflow
	}
	return f
}
