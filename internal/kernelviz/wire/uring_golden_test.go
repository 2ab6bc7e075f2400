package wire

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"kernelviz/internal/kernelviz"
)

const uringGoldenDir = "../../../web/testdata/uring"

// uringGolden is an io_uring frame in rows.
type uringGolden struct {
	Name      string        `json:"name"`
	Header    Header        `json:"header"`
	Truth     *TruthRow     `json:"truth,omitempty"`
	Ring      *RingRow      `json:"ring,omitempty"`
	SQEs      []SQERow      `json:"sqes,omitempty"`
	CQEs      []CQERow      `json:"cqes,omitempty"`
	Requests  []RequestRow  `json:"requests,omitempty"`
	Workers   []WorkerRow   `json:"workers,omitempty"`
	Resources []ResourceRow `json:"resources,omitempty"`
	Lives     []LifeRow     `json:"lives,omitempty"`
	Empty     []SectionType `json:"empty,omitempty"`
}

func (g uringGolden) encode() []byte {
	g.Header.Rows = g.rows()
	b := g.Header.Append(nil)
	if g.Truth != nil {
		b = appendRows(b, SectionTruth, TruthRowSize, []TruthRow{*g.Truth})
	}
	if g.Ring != nil {
		b = appendRows(b, SectionRing, RingRowSize, []RingRow{*g.Ring})
	}
	b = appendRows(b, SectionSQE, SQERowSize, g.SQEs)
	b = appendRows(b, SectionCQE, CQERowSize, g.CQEs)
	b = appendRows(b, SectionRequest, RequestRowSize, g.Requests)
	b = appendRows(b, SectionWorker, WorkerRowSize, g.Workers)
	b = appendRows(b, SectionResource, ResourceRowSize, g.Resources)
	b = appendRows(b, SectionLife, LifeRowSize, g.Lives)
	for _, t := range g.Empty {
		b = AppendSection(b, t, 8, 0)
	}
	return b
}

func (g uringGolden) rows() uint32 {
	n := len(g.SQEs) + len(g.CQEs) + len(g.Requests) + len(g.Workers) + len(g.Resources) + len(g.Lives) + len(g.Empty)
	if g.Truth != nil {
		n++
	}
	if g.Ring != nil {
		n++
	}
	return uint32(n)
}

func uringHeader(seq uint32, f Flags) Header {
	h := header(seq, f)
	h.Kind = kernelviz.KindUring
	return h
}

// uringGoldens is one ring of 8 and 16 entries through its life: with SQEs
// that are not submitted and requests under way; after they were submitted and
// one completed; and torn.
func uringGoldens() []uringGolden {
	const all = SeenHeads | SeenSQEs | SeenCQEs | SeenCached | SeenRequests | SeenThread | SeenWorkers | SeenResources | SeenOverflow | SeenLives | SeenInFlight
	now := header(10, 0).Time
	full := RingRow{
		ID: 2, SQEntries: 8, CQEntries: 16, Setup: 0x2 | 0x8, SQHead: 4_294_967_294, SQTail: 1, CQHead: 20, CQTail: 22,
		CachedSQHead: 4_294_967_294, CachedCQTail: 22, SQFlags: 1, CQFlags: 1, SQDropped: 1, CQOverflow: 2, OverflowList: 3,
		InFlight: 5, Seen: all, Requests: 2, Armed: 1, Files: 3, Buffers: 1, ThreadPID: 4300, ThreadCPU: 1, ThreadIdle: 1000,
		ThreadTotal: 91_000, ThreadWork: 12_000, Owner: 4211, Owners: 2, ThreadState: ThreadAsleep, Submitted: 71, Completed: 68,
		Features: 0x3fff, Allocated: 64,
	}
	later := full
	later.SQHead, later.CachedSQHead, later.CQTail, later.CachedCQTail, later.Requests = 1, 1, 23, 23, 1
	later.Submitted, later.Completed, later.SQFlags, later.ThreadState = 74, 69, 0, ThreadRunning
	partly := RingRow{
		ID: 3, SQEntries: 4, CQEntries: 8, Setup: 1 << 14, SQHead: 3, SQTail: 900, CQHead: 1, CQTail: 2, InFlight: -1, ThreadCPU: -1,
		Seen: SeenHeads, Owner: 4212, Owners: 1, Gone: 1,
	}
	tornTruth := truth(12)
	tornTruth.Whole, tornTruth.Instant, tornTruth.Broken, tornTruth.Tier = 0, 0, 1, 1
	return []uringGolden{
		{Name: "fresh", Header: uringHeader(1, FlagKey), Truth: truth(1), Ring: &RingRow{ID: 2, SQEntries: 8, CQEntries: 16, ThreadCPU: -1, Seen: all, Owner: 4211, Owners: 1},
			Empty: []SectionType{SectionSQE, SectionCQE, SectionRequest, SectionWorker, SectionResource}},
		{
			Name: "key", Header: uringHeader(10, FlagKey), Truth: truth(10), Ring: &full,
			SQEs: []SQERow{
				{Position: 4_294_967_294, Index: 6, Op: 0, FD: -1, UserData: 1},
				{Position: 4_294_967_295, Index: 7, Op: 22, Flags: 1 << 2, FD: 5, Off: 1<<64 - 1, Addr: 0x7f00_1234_5000, Len: 4096, UserData: 1<<64 - 1, SpliceFD: -1, Addr3: 7},
				{Position: 0, Index: 8, Op: 13, IOPrio: 1, FD: 7, OpFlags: 0x800, UserData: 3, BufIndex: 9, Wide: 1},
			},
			CQEs: []CQERow{
				{Position: 20, Res: 0, UserData: 11},
				{Position: 21, Res: -11, UserData: 12, Flags: 7<<16 | 1 | 2, Wide: 1, Extra: [2]uint64{1 << 63, 5}},
			},
			Requests: []RequestRow{
				{ID: 41, Op: 22, Where: RequestArmed, Flags: RequestSeenArmed, Since: now - 2_000_000_000, UserData: 9, Moved: now - 1_999_000_000, FD: 5},
				{ID: 42, Op: 13, Where: RequestTaskWork, Flags: RequestMultishot | RequestLinked | RequestSeenPunted, Since: now - 1_000_000_000, UserData: 10, Moved: now - 1000, FD: -1, Posted: 3},
			},
			Workers: []WorkerRow{
				{TID: 4300, Kind: WorkerSQPoll, State: ThreadAsleep, CPU: 1, Time: 91_000_000, Comm: comm16("iou-sqp-4211")},
				{TID: 4301, Kind: WorkerUnbounded, State: ThreadRunning, CPU: -1, Time: 5, Comm: comm16("iou-wrk-4211")},
			},
			Resources: []ResourceRow{
				{Slot: 2, Kind: ResourceFile, Name: name24("socket:[4026]")},
				{Slot: 0, Kind: ResourceBuffer, Addr: 0x7f00_0000_0000, Len: 65_536},
			},
			Lives: []LifeRow{
				{Seq: 7, Time: now - 1_000_000_000, UserData: 10, Request: 42, TID: 4211, What: LifeSubmit, Op: 13, SQEFlags: 4, FD: 7, SubmitAt: now - 1_000_000_000},
				{Seq: 8, Time: now - 5_000_000, UserData: 1<<64 - 1, Request: 40, Res: -11, CQEFlags: 2, TID: 4301, What: LifeComplete, Op: 255, Worker: 1, FD: -1},
			},
		},
		{
			Name: "delta", Header: uringHeader(11, 0), Truth: truth(11), Ring: &later,
			CQEs: []CQERow{
				{Position: 20, Res: 0, UserData: 11},
				{Position: 21, Res: -11, UserData: 12, Flags: 7<<16 | 1 | 2, Wide: 1, Extra: [2]uint64{1 << 63, 5}},
				{Position: 22, Res: 1, UserData: 10},
			},
			Requests: []RequestRow{
				{ID: 41, Op: 22, Where: RequestArmed, Flags: RequestSeenArmed, Since: now - 2_000_000_000, UserData: 9, Moved: now - 1_999_000_000, FD: 5},
			},
			Lives: []LifeRow{
				{Seq: 9, Time: now + 1_000_000, UserData: 10, Request: 42, Res: 1, TID: 4211, What: LifeComplete, Op: 13, FD: -1, SubmitAt: now - 1_000_000_000},
			},
			Empty: []SectionType{SectionSQE},
		},
		{Name: "torn", Header: uringHeader(12, FlagTorn), Truth: tornTruth, Ring: &partly},
	}
}

func TestUringGoldenFrames(t *testing.T) {
	if *update {
		if err := os.MkdirAll(uringGoldenDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range uringGoldens() {
		t.Run(g.Name, func(t *testing.T) {
			frame := g.encode()
			g.Header.Rows = g.rows()
			decoded, err := json.MarshalIndent(g, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			decoded = append(decoded, '\n')
			for suffix, got := range map[string][]byte{".bin": frame, ".json": decoded} {
				path := filepath.Join(uringGoldenDir, g.Name+suffix)
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
			checkParsed(t, golden{Header: g.Header}, frame)
		})
	}
}

func TestUringRowSizes(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want int
	}{
		{"ring", len(RingRow{}.Append(nil)), RingRowSize},
		{"sqe", len(SQERow{}.Append(nil)), SQERowSize},
		{"cqe", len(CQERow{}.Append(nil)), CQERowSize},
		{"request", len(RequestRow{}.Append(nil)), RequestRowSize},
		{"worker", len(WorkerRow{}.Append(nil)), WorkerRowSize},
		{"resource", len(ResourceRow{}.Append(nil)), ResourceRowSize},
		{"life", len(LifeRow{}.Append(nil)), LifeRowSize},
	} {
		if c.got != c.want || c.want%8 != 0 {
			t.Errorf("%s row has %d bytes, want %d, a multiple of 8", c.name, c.got, c.want)
		}
	}
}
