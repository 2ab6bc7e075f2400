package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"kernelviz/internal/kernelviz"
)

var update = flag.Bool("update", false, "write the golden frames anew")

const goldenDir = "../../../web/testdata/frames"

// golden is a frame in rows. Its JSON stands beside the bytes, so that the
// page's decoder is held to the same values.
type golden struct {
	Name        string          `json:"name"`
	Header      Header          `json:"header"`
	Truth       *TruthRow       `json:"truth,omitempty"`
	Instance    *InstanceRow    `json:"instance,omitempty"`
	Nodes       []NodeRow       `json:"nodes,omitempty"`
	Gone        []uint32        `json:"gone,omitempty"`
	Ready       []ListRow       `json:"ready,omitempty"`
	Overflow    []ListRow       `json:"overflow,omitempty"`
	Waiters     []WaiterRow     `json:"waiters,omitempty"`
	Files       []FileRow       `json:"files,omitempty"`
	Transitions []TransitionRow `json:"transitions,omitempty"`
	Glyphs      []GlyphRow      `json:"glyphs,omitempty"`
	// Empty lists sections that stand in the frame without rows: in a delta
	// they say that a list became empty.
	Empty []SectionType `json:"empty,omitempty"`
}

type appender interface{ Append([]byte) []byte }

func appendRows[R appender](dst []byte, t SectionType, size int, rows []R) []byte {
	if len(rows) == 0 {
		return dst
	}
	dst = AppendSection(dst, t, size, len(rows))
	for _, r := range rows {
		dst = r.Append(dst)
	}
	return dst
}

func (g golden) rows() uint32 {
	n := len(g.Nodes) + len(g.Gone) + len(g.Ready) + len(g.Overflow) + len(g.Waiters) + len(g.Files) + len(g.Transitions) + len(g.Glyphs) + len(g.Empty)
	if g.Truth != nil {
		n++
	}
	if g.Instance != nil {
		n++
	}
	return uint32(n)
}

func (g golden) encode() []byte {
	g.Header.Rows = g.rows()
	b := g.Header.Append(nil)
	if g.Truth != nil {
		b = appendRows(b, SectionTruth, TruthRowSize, []TruthRow{*g.Truth})
	}
	if g.Instance != nil {
		b = appendRows(b, SectionInstance, InstanceRowSize, []InstanceRow{*g.Instance})
	}
	b = appendRows(b, SectionNode, NodeRowSize, g.Nodes)
	if len(g.Gone) > 0 {
		b = AppendSection(b, SectionGone, GoneRowSize, len(g.Gone))
		for _, id := range g.Gone {
			b = AppendGone(b, id)
		}
	}
	b = appendRows(b, SectionReady, ListRowSize, g.Ready)
	b = appendRows(b, SectionOverflow, ListRowSize, g.Overflow)
	b = appendRows(b, SectionWaiter, WaiterRowSize, g.Waiters)
	b = appendRows(b, SectionFile, FileRowSize, g.Files)
	b = appendRows(b, SectionTransition, TransitionRowSize, g.Transitions)
	b = appendRows(b, SectionGlyph, GlyphRowSize, g.Glyphs)
	for _, t := range g.Empty {
		b = AppendSection(b, t, ListRowSize, 0)
	}
	return b
}

func header(seq uint32, f Flags) Header {
	return Header{Kind: kernelviz.KindEpoll, Flags: f, Topic: 7, Generation: 1, Sequence: seq, Time: 123_456_789_012_345 + uint64(seq)*33_000_000}
}

func truth(seq uint32) *TruthRow {
	at := header(seq, 0).Time
	return &TruthRow{
		At: at, Read: 21_000, Check: 9_000, Age: 1_200_000, Samples: 1204, Torn: 3, Marked: 1,
		Lost: 2, CostPPM: 3000, Tier: 0, Whole: 1, Instant: 1, Attached: 1,
	}
}

func addr4(a, b, c, d byte) [16]byte { return [16]byte{a, b, c, d} }

func name24(s string) (out [24]byte) { copy(out[:], s); return out }

func comm16(s string) (out [16]byte) { copy(out[:], s); return out }

const (
	in     = 0x1
	out    = 0x4
	et     = 1 << 31
	excl   = 1 << 28
	wakeup = 1 << 29
)

// goldens is one instance through its life, and one too large to draw singly.
func goldens() []golden {
	files := []FileRow{
		{ID: 1, Type: FileSocket, Family: 2, Sock: 1, State: 10, LPort: 8080, Refs: 1, LAddr: addr4(127, 0, 0, 1), Inode: 4026, Proto: 6},
		{ID: 2, Type: FileSocket, Family: 2, Sock: 1, State: 1, LPort: 8080, RPort: 41022, Refs: 2, LAddr: addr4(127, 0, 0, 1), RAddr: addr4(10, 1, 2, 3), Inode: 4027, Proto: 6},
		{ID: 3, Type: FileSocket, Family: 10, Sock: 2, LPort: 53, Refs: 1, LAddr: [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1}, Inode: 4028, Proto: 17},
		{ID: 4, Type: FileSocket, Family: 1, Sock: 1, State: 10, Refs: 1, Inode: 4029, Name: name24("/run/x.sock")},
		{ID: 5, Type: FileEventfd, Refs: 1, Inode: 1057, Name: name24("[eventfd]")},
		{ID: 6, Type: FileEpoll, Refs: 1, Inode: 1057, Nested: 9, Name: name24("[eventpoll]")},
		{ID: 7, Type: FilePipe, Refs: 1, Inode: 1<<63 + 5},
	}
	//        4B
	//     2R    6B       2 has 1B 3B; 6 has 5R 7R
	seven := []NodeRow{
		{ID: 1, Parent: 2, File: 1, FD: 5, Events: in, Flags: NodeBlack, Data: 5, Owner: 4211},
		{ID: 2, Parent: 4, Left: 1, Right: 3, File: 2, FD: 6, Events: in | et, Flags: 0, Data: 1<<64 - 1, Owner: 4211},
		{ID: 3, Parent: 2, File: 3, FD: 7, Events: in | out, Flags: NodeBlack | NodeReady, Data: 7, Owner: 4211},
		{ID: 4, Left: 2, Right: 6, File: 4, FD: 8, Events: in | excl, Flags: NodeBlack, Data: 8, Owner: 4211},
		{ID: 5, Parent: 6, File: 5, FD: 9, Events: in | wakeup, Flags: NodeReady, Data: 9, Owner: 4211},
		{ID: 6, Parent: 4, Left: 5, Right: 7, File: 6, FD: 10, Events: in, Flags: NodeBlack, Data: 10, Owner: 4211, Nested: 9},
		{ID: 7, Parent: 6, File: 7, FD: -1, Events: 0, Flags: NodeOrphan, Data: 11},
	}
	whole := InstanceRow{
		ID: 3, Items: 7, Refcount: 8, Root: 4, Leftmost: 1, Depth: 3, BlackHeight: 3,
		Ready: 2, Waiters: 2, PollWaiters: 1, Locked: 1, Red: 3,
	}
	// 8 is linked red below 7, whose sibling is red too: both turn black and
	// their parent red. Nothing rotates.
	grown := whole
	grown.Items, grown.Refcount, grown.Ready, grown.Waiters = 8, 9, 0, 1
	grown.Scanning, grown.Overflow, grown.Delivering = 1, 1, 1
	// 8 was a red leaf: it goes and no colour changes.
	shrunk := grown
	shrunk.Items, shrunk.Refcount, shrunk.Red = 7, 8, 2
	tornTruth := truth(12)
	tornTruth.Whole, tornTruth.Instant, tornTruth.Broken, tornTruth.Torn = 0, 0, 4, 9
	large := InstanceRow{ID: 4, Items: 1_000_000, Refcount: 1_000_001, Depth: 25, BlackHeight: 18, Ready: 12, Red: 333_000}
	return []golden{
		{Name: "empty", Header: header(1, FlagKey), Truth: truth(1), Instance: &InstanceRow{ID: 3, Refcount: 1}},
		{
			Name: "key7", Header: header(10, FlagKey), Truth: truth(10), Instance: &whole, Nodes: seven,
			Ready: []ListRow{{Node: 5, FD: 9}, {Node: 3, FD: 7}},
			Waiters: []WaiterRow{
				{TID: 4213, PID: 4211, Flags: WaiterExclusive, Since: header(10, 0).Time - 2_400_000_000, Comm: comm16("puppet")},
				{TID: 4214, PID: 4211, Since: header(10, 0).Time - 100_000_000, Comm: comm16("fifteen-letters")},
			},
			Files: files,
			Transitions: []TransitionRow{
				{Time: header(10, 0).Time - 5_000_000, Node: 5, FD: 9, TID: 4215, What: TransitionReady | TransitionWakeup, Cause: CauseSchedWaking, Seq: 41},
				{Time: header(10, 0).Time - 1_000_000, FD: -1, TID: 4213, What: TransitionSleep, Cause: CauseSysExit, Seq: 42},
			},
		},
		{
			Name: "delta", Header: header(11, 0), Truth: truth(11), Instance: &grown,
			Nodes: []NodeRow{
				{ID: 4, Left: 2, Right: 6, File: 4, FD: 8, Events: in | et, Flags: NodeBlack, Data: 8, Owner: 4211},
				{ID: 5, Parent: 6, File: 5, FD: 9, Events: in | wakeup, Flags: NodeBlack | NodeDelivering, Data: 9, Owner: 4211},
				{ID: 3, Parent: 2, File: 3, FD: 7, Events: in | out, Flags: NodeBlack | NodeOverflow, Data: 7, Owner: 4211},
				{ID: 6, Parent: 4, Left: 5, Right: 7, File: 6, FD: 10, Events: in, Flags: 0, Data: 10, Owner: 4211, Nested: 9},
				{ID: 7, Parent: 6, Right: 8, File: 7, FD: -1, Events: 0, Flags: NodeBlack | NodeOrphan, Data: 11},
				{ID: 8, Parent: 7, File: 8, FD: 12, Events: in, Flags: 0, Data: 12, Owner: 4211},
			},
			Overflow: []ListRow{{Node: 3, FD: 7}},
			Waiters:  []WaiterRow{{TID: 4214, PID: 4211, Since: header(10, 0).Time - 100_000_000, Comm: comm16("fifteen-letters")}},
			Files:    []FileRow{{ID: 8, Type: FileTimerfd, Refs: 1, Inode: 1057, Name: name24("[timerfd]")}},
			Empty:    []SectionType{SectionReady},
		},
		{Name: "torn", Header: header(12, FlagTorn), Truth: tornTruth, Instance: &grown},
		{Name: "truth", Header: header(13, 0), Truth: truth(13)},
		{
			Name: "erase", Header: header(14, 0), Truth: truth(14), Instance: &shrunk,
			Nodes: []NodeRow{
				{ID: 7, Parent: 6, File: 7, FD: -1, Events: 0, Flags: NodeBlack | NodeOrphan, Data: 11},
			},
			Gone: []uint32{8},
		},
		{
			Name: "glyphs", Header: header(20, FlagKey|FlagGlyphs), Truth: truth(20), Instance: &large,
			Ready: []ListRow{{Node: 77, FD: 300}},
			Files: []FileRow{{ID: 900, Type: FileEventfd, Refs: 1, Inode: 1057}},
			Glyphs: []GlyphRow{
				{ID: 500, Rank: 524_287, Count: 1, Depth: 0, Height: 1, FD: 524_290, Events: in, Flags: NodeBlack, File: 900, RootRank: 524_287},
				{ID: 77, Parent: 500, ParentRank: 524_287, Rank: 262_143, Count: 1, Red: 1, Ready: 1, Depth: 1, Height: 1, FD: 300, Events: in | et, Flags: NodeReady, File: 900, RootRank: 262_143},
				{ID: 78, Parent: 500, ParentRank: 524_287, Rank: 524_288, Count: 475_712, Red: 160_000, Ready: 4, Depth: 1, Height: 24, FD: 900_000, Events: in, Flags: NodeBlack, RootRank: 786_431},
				{ID: 79, Parent: 77, ParentRank: 262_143, Rank: 0, Count: 262_143, Red: 80_000, Ready: 3, Depth: 2, Height: 23, FD: 12, Events: in, Flags: NodeBlack, RootRank: 131_071},
				{ID: 80, Parent: 77, ParentRank: 262_143, Rank: 262_144, Count: 262_143, Red: 92_999, Ready: 4, Depth: 2, Height: 23, FD: 13, Events: in, Flags: NodeBlack, RootRank: 393_215},
			},
		},
	}
}

func TestGoldenFrames(t *testing.T) {
	if *update {
		if err := os.MkdirAll(goldenDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range goldens() {
		t.Run(g.Name, func(t *testing.T) {
			frame := g.encode()
			g.Header.Rows = g.rows()
			decoded, err := json.MarshalIndent(g, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			decoded = append(decoded, '\n')
			for suffix, got := range map[string][]byte{".bin": frame, ".json": decoded} {
				path := filepath.Join(goldenDir, g.Name+suffix)
				if *update {
					if err := os.WriteFile(path, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s differs from what the code writes; after a wanted change of the format raise Version and run: go test ./internal/kernelviz/wire -run Golden -update", path)
				}
			}
			checkParsed(t, g, frame)
		})
	}
}

// checkParsed reads the frame back with the parser and holds every section's
// place and size against the rows that went in.
func checkParsed(t *testing.T, g golden, frame []byte) {
	t.Helper()
	h, rest, err := ParseHeader(frame)
	if err != nil {
		t.Fatal(err)
	}
	if h != g.Header {
		t.Errorf("header %+v, want %+v", h, g.Header)
	}
	sections, err := ParseSections(rest)
	if err != nil {
		t.Fatal(err)
	}
	var rows uint32
	for _, s := range sections {
		rows += uint32(max(s.Count, 1))
		if len(s.Rows) != s.Count*s.RowSize {
			t.Errorf("section %d: %d bytes for %d rows of %d", s.Type, len(s.Rows), s.Count, s.RowSize)
		}
	}
	if rows != h.Rows {
		t.Errorf("%d rows in sections, header says %d", rows, h.Rows)
	}
	if len(frame)%8 != 0 {
		t.Errorf("frame of %d bytes is not 8-byte aligned", len(frame))
	}
}

// The documented offsets are what other readers rely on: each field is set
// alone and must appear there and nowhere else.
func TestRowOffsets(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name       string
		row        []byte
		at         int
		size, want uint64
	}{
		{"truth at", TruthRow{At: 1}.Append(nil), 0, 8, 1},
		{"truth skipped", TruthRow{Skipped: 2}.Append(nil), 64, 8, 2},
		{"truth cost", TruthRow{CostPPM: 3}.Append(nil), 72, 4, 3},
		{"truth tier", TruthRow{Tier: 4}.Append(nil), 76, 1, 4},
		{"truth attached", TruthRow{Attached: 1}.Append(nil), 80, 1, 1},
		{"instance depth", InstanceRow{Depth: 5}.Append(nil), 20, 2, 5},
		{"instance ready", InstanceRow{Ready: 6}.Append(nil), 24, 4, 6},
		{"instance scanning", InstanceRow{Scanning: 1}.Append(nil), 40, 1, 1},
		{"instance tearing", InstanceRow{Tearing: 1}.Append(nil), 43, 1, 1},
		{"instance delivering", InstanceRow{Delivering: 7}.Append(nil), 48, 4, 7},
		{"node fd", NodeRow{FD: 8}.Append(nil), 20, 4, 8},
		{"node data", NodeRow{Data: 9}.Append(nil), 32, 8, 9},
		{"node nested", NodeRow{Nested: 10}.Append(nil), 44, 4, 10},
		{"waiter since", WaiterRow{Since: 11}.Append(nil), 16, 8, 11},
		{"waiter comm", WaiterRow{Comm: [16]byte{12}}.Append(nil), 24, 1, 12},
		{"file rport", FileRow{RPort: 13}.Append(nil), 10, 2, 13},
		{"file raddr", FileRow{RAddr: [16]byte{14}}.Append(nil), 32, 1, 14},
		{"file inode", FileRow{Inode: 15}.Append(nil), 48, 8, 15},
		{"file proto", FileRow{Proto: 16}.Append(nil), 60, 1, 16},
		{"file name", FileRow{Name: [24]byte{17}}.Append(nil), 64, 1, 17},
		{"transition what", TransitionRow{What: 18}.Append(nil), 20, 2, 18},
		{"transition cause", TransitionRow{Cause: 19}.Append(nil), 22, 1, 19},
		{"glyph depth", GlyphRow{Depth: 20}.Append(nil), 24, 2, 20},
		{"glyph parent rank", GlyphRow{ParentRank: 21}.Append(nil), 40, 4, 21},
		{"glyph nested", GlyphRow{Nested: 22}.Append(nil), 52, 4, 22},
	} {
		t.Run(c.name, func(t *testing.T) {
			var word [8]byte
			copy(word[:], c.row[c.at:c.at+int(c.size)])
			if got := le.Uint64(word[:]); got != c.want {
				t.Errorf("%d at offset %d, want %d", got, c.at, c.want)
			}
			set := 0
			for _, b := range c.row {
				if b != 0 {
					set++
				}
			}
			if set != 1 {
				t.Errorf("%d bytes are set, want 1", set)
			}
		})
	}
	for _, c := range []struct {
		name      string
		got, want int
	}{
		{"truth", len(TruthRow{}.Append(nil)), TruthRowSize},
		{"instance", len(InstanceRow{}.Append(nil)), InstanceRowSize},
		{"node", len(NodeRow{}.Append(nil)), NodeRowSize},
		{"gone", len(AppendGone(nil, 1)), GoneRowSize},
		{"list", len(ListRow{}.Append(nil)), ListRowSize},
		{"waiter", len(WaiterRow{}.Append(nil)), WaiterRowSize},
		{"file", len(FileRow{}.Append(nil)), FileRowSize},
		{"transition", len(TransitionRow{}.Append(nil)), TransitionRowSize},
		{"glyph", len(GlyphRow{}.Append(nil)), GlyphRowSize},
		{"header", len(Header{}.Append(nil)), HeaderSize},
	} {
		if c.got != c.want {
			t.Errorf("%s row has %d bytes, want %d", c.name, c.got, c.want)
		}
	}
}

func TestMalformedFrames(t *testing.T) {
	good := goldens()[1].encode()
	for _, c := range []struct {
		name  string
		frame func() []byte
	}{
		{"nothing", func() []byte { return nil }},
		{"half a header", func() []byte { return good[:HeaderSize-1] }},
		{"other magic", func() []byte { b := bytes.Clone(good); b[0]++; return b }},
		{"other version", func() []byte { b := bytes.Clone(good); b[4]++; return b }},
		{"half a section header", func() []byte { return good[:HeaderSize+SectionSize-1] }},
		{"section cut short", func() []byte { return good[:len(good)-1] }},
		{"rows of no size", func() []byte { return AppendSection(Header{}.Append(nil), SectionNode, 0, 1<<30) }},
		{"rows of odd size", func() []byte {
			return append(AppendSection(Header{}.Append(nil), SectionNode, 9, 1), make([]byte, 9)...)
		}},
		{"more rows than bytes", func() []byte { return AppendSection(Header{}.Append(nil), SectionNode, 48, 1<<32-1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, rest, err := ParseHeader(c.frame())
			if err == nil {
				_, err = ParseSections(rest)
			}
			if !errors.Is(err, ErrFrame) {
				t.Errorf("error %v, want one that wraps ErrFrame", err)
			}
		})
	}
}

// FuzzParse holds the parser to its promise: no panic, no row outside the
// input, and what it accepts is what would be written again.
func FuzzParse(f *testing.F) {
	for _, g := range goldens() {
		f.Add(g.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, rest, err := ParseHeader(b)
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatalf("error %v does not wrap ErrFrame", err)
			}
			return
		}
		if again := h.Append(nil); !bytes.Equal(again, b[:HeaderSize]) {
			t.Fatalf("header %x is written again as %x", b[:HeaderSize], again)
		}
		sections, err := ParseSections(rest)
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatalf("error %v does not wrap ErrFrame", err)
			}
			return
		}
		var again []byte
		for _, s := range sections {
			again = AppendSection(again, s.Type, s.RowSize, s.Count)
			for i := range s.Count {
				again = append(again, s.Row(i)...)
				if i > 1000 && s.Count > 1002 { // the rest in one piece; rows are the same bytes
					again = append(again, s.Rows[(i+1)*s.RowSize:]...)
					break
				}
			}
		}
		if !bytes.Equal(again, rest) {
			t.Fatalf("sections of %d bytes are written again as %d", len(rest), len(again))
		}
	})
}
