package oracle

import (
	"encoding/binary"
	"fmt"

	"kernelviz/internal/kernelviz/wire"
)

// picture is what a page makes of frames, decoded from their bytes alone.
type picture struct {
	whole, instant   bool
	root, leftmost   uint32
	items, readyLen  uint32
	depth, black     int
	scanning, locked bool
	nodes            map[uint32]node
	inodes           map[uint32]uint64 // by file id
	ready            []int             // fds
	waiters          []int             // thread ids
}

type node struct {
	id, parent, left, right, file uint32
	fd                            int
	events, flags                 uint32
	data                          uint64
}

func (p *picture) apply(sections []byte, key bool) error {
	parsed, err := wire.ParseSections(sections)
	if err != nil {
		return err
	}
	if key {
		p.nodes, p.inodes, p.ready, p.waiters = map[uint32]node{}, map[uint32]uint64{}, nil, nil
	}
	le := binary.LittleEndian
	for _, s := range parsed {
		if s.Type == wire.SectionReady {
			p.ready = nil
		}
		if s.Type == wire.SectionWaiter {
			p.waiters = nil
		}
		for i := range s.Count {
			b := s.Row(i)
			switch s.Type {
			case wire.SectionTruth:
				p.whole, p.instant = b[77] == 1, b[79] == 1
			case wire.SectionInstance:
				p.items, p.root, p.leftmost = le.Uint32(b[4:]), le.Uint32(b[12:]), le.Uint32(b[16:])
				p.depth, p.black = int(le.Uint16(b[20:])), int(le.Uint16(b[22:]))
				p.readyLen, p.scanning, p.locked = le.Uint32(b[24:]), b[40] == 1, b[42] == 1
			case wire.SectionNode:
				n := node{
					id: le.Uint32(b), parent: le.Uint32(b[4:]), left: le.Uint32(b[8:]), right: le.Uint32(b[12:]), file: le.Uint32(b[16:]),
					fd: int(int32(le.Uint32(b[20:]))), events: le.Uint32(b[24:]), flags: le.Uint32(b[28:]), data: le.Uint64(b[32:]),
				}
				p.nodes[n.id] = n
			case wire.SectionGone:
				id := le.Uint32(b)
				if _, ok := p.nodes[id]; !ok {
					return fmt.Errorf("node %d goes and was not there", id)
				}
				delete(p.nodes, id)
			case wire.SectionFile:
				p.inodes[le.Uint32(b)] = le.Uint64(b[48:])
			case wire.SectionReady:
				p.ready = append(p.ready, int(int32(le.Uint32(b[4:]))))
			case wire.SectionWaiter:
				p.waiters = append(p.waiters, int(le.Uint32(b)))
			}
		}
	}
	return nil
}

// order walks the picture in order and holds it against the definition of a
// red-black tree (Cormen et al., chapter 13). It knows nothing of how the view
// checks its snapshots.
func (p *picture) order() ([]node, error) {
	var out []node
	var walk func(id, parent uint32, red bool, depth int) (int, error)
	deepest := 0
	walk = func(id, parent uint32, red bool, depth int) (int, error) {
		if id == 0 {
			return 0, nil
		}
		n, ok := p.nodes[id]
		switch {
		case !ok:
			return 0, fmt.Errorf("node %d is linked and not there", id)
		case n.parent != parent:
			return 0, fmt.Errorf("node %d has parent %d, want %d", id, n.parent, parent)
		case red && n.flags&wire.NodeBlack == 0:
			return 0, fmt.Errorf("node %d is red under red", id)
		case depth > 64:
			return 0, fmt.Errorf("node %d is %d levels deep", id, depth)
		}
		deepest = max(deepest, depth)
		isRed := n.flags&wire.NodeBlack == 0
		left, err := walk(n.left, id, isRed, depth+1)
		if err != nil {
			return 0, err
		}
		out = append(out, n)
		right, err := walk(n.right, id, isRed, depth+1)
		if err != nil {
			return 0, err
		}
		if left != right {
			return 0, fmt.Errorf("node %d has %d black nodes on the left and %d on the right", id, left, right)
		}
		if !isRed {
			left++
		}
		return left, nil
	}
	black, err := walk(p.root, 0, true, 1) // a red root is red under red
	if err != nil {
		return nil, err
	}
	if len(out) != len(p.nodes) || len(out) != int(p.items) {
		return nil, fmt.Errorf("%d nodes in the tree, %d in the picture, %d items", len(out), len(p.nodes), p.items)
	}
	if len(out) > 0 && (out[0].id != p.leftmost || p.depth != deepest || p.black != black) {
		return nil, fmt.Errorf("leftmost %d, %d levels, black height %d; said to be %d, %d, %d", out[0].id, deepest, black, p.leftmost, p.depth, p.black)
	}
	// Items of one file stand side by side, their fds ascending.
	seen := map[uint32]bool{}
	for i, n := range out {
		if i > 0 && out[i-1].file == n.file {
			if out[i-1].fd >= n.fd {
				return nil, fmt.Errorf("fd %d stands before fd %d of the same file", out[i-1].fd, n.fd)
			}
			continue
		}
		if seen[n.file] {
			return nil, fmt.Errorf("file %d stands in two places", n.file)
		}
		seen[n.file] = true
	}
	return out, nil
}

// differs compares the picture in order with what fdinfo lists; empty if it is
// the same.
func (p *picture) differs(want []Item) string {
	got, err := p.order()
	if err != nil {
		return err.Error()
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d items, fdinfo has %d", len(got), len(want))
	}
	for i, w := range want {
		n := got[i]
		if n.fd != w.FD || n.events != w.Events || n.data != w.Data {
			return fmt.Sprintf("item %d is fd %d, events %#x, data %#x; fdinfo has %+v", i, n.fd, n.events, n.data, w)
		}
		if inode, ok := p.inodes[n.file]; ok && w.Inode != 0 && inode != w.Inode {
			return fmt.Sprintf("item %d (fd %d) is on inode %d; fdinfo has %d", i, n.fd, inode, w.Inode)
		}
	}
	return ""
}
