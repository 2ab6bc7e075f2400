package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// counters is a view whose objects are lists of counters: what a hub must carry
// to pages, without a kernel.
type counters struct {
	mu      sync.Mutex
	objects map[string]*counterObject
}

type counterObject struct {
	name string
	wake chan struct{}

	mu      sync.Mutex
	values  map[uint32]uint32
	gone    bool
	fail    error         // returned by Sample once
	slow    time.Duration // of a Sample
	glyphs  bool
	torn    bool
	opened  int
	closed  int
	samples int
}

// Rows of the view's one section: id, value.
const (
	sectionCounter wire.SectionType = 100
	sectionLeft    wire.SectionType = 101
	counterRowSize                  = 8
)

func newCounters(names ...string) *counters {
	v := &counters{objects: make(map[string]*counterObject)}
	for _, name := range names {
		v.add(name)
	}
	return v
}

func (v *counters) add(name string) *counterObject {
	v.mu.Lock()
	defer v.mu.Unlock()
	o := &counterObject{name: name, wake: make(chan struct{}, 1), values: make(map[uint32]uint32)}
	for i := range uint32(10) {
		o.values[i+1] = 0
	}
	v.objects[name] = o
	return o
}

func (v *counters) object(name string) *counterObject {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.objects[name]
}

func (o *counterObject) set(id, value uint32) {
	o.mu.Lock()
	o.values[id] = value
	o.mu.Unlock()
}

func (o *counterObject) remove(id uint32) {
	o.mu.Lock()
	delete(o.values, id)
	o.mu.Unlock()
}

func (o *counterObject) with(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *counterObject) end(v *counters) {
	o.with(func() { o.gone = true })
	v.mu.Lock()
	delete(v.objects, o.name)
	v.mu.Unlock()
}

func (v *counters) Kind() kernelviz.Kind       { return 200 }
func (v *counters) Name() string               { return "counters" }
func (v *counters) Close() error               { return nil }
func (v *counters) FactList() []kernelviz.Fact { return nil }

func (v *counters) Tiers() []kernelviz.Tier {
	return []kernelviz.Tier{{Name: "fake", Label: "test", Chosen: true, Reason: "this is a test"}}
}

func (v *counters) Targets(context.Context) ([]kernelviz.Target, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []kernelviz.Target
	for _, name := range slices.Sorted(maps.Keys(v.objects)) {
		out = append(out, counterTarget(name))
	}
	return out, nil
}

func counterTarget(name string) kernelviz.Target {
	pid, _ := strconv.Atoi(name)
	return kernelviz.Target{View: "counters", Name: name, PID: pid}
}

func (v *counters) Open(_ context.Context, name string) (kernelviz.Watch, error) {
	o := v.object(name)
	if o == nil {
		return nil, fmt.Errorf("%w: counters %s", kernelviz.ErrNotFound, name)
	}
	o.with(func() { o.opened++ })
	return counterWatch{o}, nil
}

type counterWatch struct{ o *counterObject }

func (w counterWatch) Target() kernelviz.Target { return counterTarget(w.o.name) }

func (w counterWatch) Wake() <-chan struct{} { return w.o.wake }

func (w counterWatch) Sample(ctx context.Context) (kernelviz.Snapshot, error) {
	var wait time.Duration
	w.o.with(func() { wait = w.o.slow })
	if wait > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	if w.o.gone {
		return nil, fmt.Errorf("%w: counters %s", kernelviz.ErrGone, w.o.name)
	}
	if err := w.o.fail; err != nil {
		w.o.fail = nil
		return nil, err
	}
	w.o.samples++
	return &counterSnapshot{
		values: maps.Clone(w.o.values),
		glyphs: w.o.glyphs,
		truth:  kernelviz.Truth{Whole: !w.o.torn, At: time.Duration(w.o.samples), Samples: uint64(w.o.samples), Cost: 0.25},
	}, nil
}

func (w counterWatch) Inspect(_ context.Context, object string, id uint32) (kernelviz.Detail, error) {
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	if _, ok := w.o.values[id]; !ok {
		return kernelviz.Detail{}, fmt.Errorf("%w: %s %d", kernelviz.ErrNotFound, object, id)
	}
	return kernelviz.Detail{Object: object, ID: id, Title: fmt.Sprint("counter ", w.o.values[id])}, nil
}

func (w counterWatch) Close() error {
	w.o.with(func() { w.o.closed++ })
	return nil
}

type counterSnapshot struct {
	values map[uint32]uint32
	glyphs bool
	truth  kernelviz.Truth
}

func (s *counterSnapshot) Truth() kernelviz.Truth { return s.truth }
func (s *counterSnapshot) Facts() kernelviz.Facts { return nil }
func (s *counterSnapshot) Items() int             { return len(s.values) }
func (s *counterSnapshot) Glyphs() bool           { return s.glyphs }

func (s *counterSnapshot) AppendSections(dst []byte, vp kernelviz.Viewport, base kernelviz.Snapshot) ([]byte, uint32, bool) {
	var old map[uint32]uint32
	if b, ok := base.(*counterSnapshot); ok && !s.glyphs {
		old = b.values
	}
	dst = wire.AppendSection(dst, wire.SectionTruth, wire.TruthRowSize, 1)
	dst = wire.TruthRow{Samples: s.truth.Samples}.Append(dst)
	dst = wire.AppendSection(dst, wire.SectionInstance, wire.InstanceRowSize, 1)
	dst = wire.InstanceRow{Items: uint32(len(s.values)), ID: uint32(vp.Px)}.Append(dst)
	rows := uint32(2)
	var changed, left []uint32
	for _, id := range slices.Sorted(maps.Keys(s.values)) {
		if v, ok := old[id]; old == nil || !ok || v != s.values[id] {
			changed = append(changed, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(old)) {
		if _, ok := s.values[id]; !ok {
			left = append(left, id)
		}
	}
	if len(changed) > 0 {
		dst = wire.AppendSection(dst, sectionCounter, counterRowSize, len(changed))
		for _, id := range changed {
			dst = binary.LittleEndian.AppendUint32(dst, id)
			dst = binary.LittleEndian.AppendUint32(dst, s.values[id])
		}
	}
	if len(left) > 0 {
		dst = wire.AppendSection(dst, sectionLeft, counterRowSize, len(left))
		for _, id := range left {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(id))
		}
	}
	return dst, rows + uint32(len(changed)+len(left)), old == nil
}

// picture is what a page holds: it applies frames as the page does and notes
// what must not happen.
type picture struct {
	header  wire.Header
	values  map[uint32]uint32
	frames  int
	keys    int
	deltas  int
	skipped int // frames missing before a key frame
}

func (p *picture) apply(frame []byte) error {
	h, rest, err := wire.ParseHeader(frame)
	if err != nil {
		return err
	}
	sections, err := wire.ParseSections(rest)
	if err != nil {
		return err
	}
	key := h.Flags&wire.FlagKey != 0
	follows := p.frames > 0 && h.Generation == p.header.Generation && h.Topic == p.header.Topic && h.Sequence == p.header.Sequence+1
	switch {
	case key:
		if p.frames > 0 && h.Sequence > p.header.Sequence {
			p.skipped += int(h.Sequence - p.header.Sequence - 1)
		}
		p.values = make(map[uint32]uint32)
		p.keys++
	case !follows:
		return fmt.Errorf("delta %d of generation %d after %d of generation %d", h.Sequence, h.Generation, p.header.Sequence, p.header.Generation)
	default:
		p.deltas++
	}
	p.header = h
	p.frames++
	rows := 0
	for _, s := range sections {
		rows += s.Count
		for i := range s.Count {
			row := s.Row(i)
			switch s.Type {
			case sectionCounter:
				p.values[binary.LittleEndian.Uint32(row)] = binary.LittleEndian.Uint32(row[4:])
			case sectionLeft:
				delete(p.values, binary.LittleEndian.Uint32(row))
			}
		}
	}
	if rows != int(h.Rows) {
		return fmt.Errorf("header says %d rows, there are %d", h.Rows, rows)
	}
	return nil
}
