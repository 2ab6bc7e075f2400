// Package wire lays out the binary frames between server and page: a 32-byte
// header, then sections of fixed rows, all little-endian and 8-byte aligned,
// so that a hexdump of a frame can be read beside the C struct it came from.
//
// The same golden files are read by this package's tests and by the page's
// (web/testdata/frames). A row that changes bumps Version.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kernelviz/internal/kernelviz"
)

// Magic begins every frame: the bytes "KVZ1".
const Magic uint32 = 0x315a564b

// Version is the version of the header and of all rows.
const Version = 1

// HeaderSize and SectionSize are the sizes in bytes of a frame's header and of
// the header before each section's rows.
const (
	HeaderSize  = 32
	SectionSize = 8
)

// Flags of a frame.
type Flags uint16

// The flags of a frame.
const (
	FlagKey    Flags = 1 << iota // stands alone: replaces what the page holds
	FlagTorn                     // an invariant does not hold; see the truth row
	FlagReplay                   // comes from a recording, not from the kernel
	FlagGlyphs                   // carries glyphs for a viewport, not every node
)

// Header begins a frame. Offsets: magic 0, version 4, kind 5, flags 6, topic 8,
// generation 12, sequence 16, rows 20, time 24.
type Header struct {
	Kind       kernelviz.Kind
	Flags      Flags
	Topic      uint32 // the id that the server's "watching" message gave
	Generation uint32 // raised when the page must read everything again
	Sequence   uint32 // raised by one per frame of a topic and view
	Rows       uint32 // rows in all sections together; a section without rows counts as one
	Time       uint64 // CLOCK_MONOTONIC of the kernel read, in ns
}

// ErrFrame is wrapped by every decoding error.
var ErrFrame = errors.New("malformed frame")

// Append appends the header to dst.
func (h Header) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, Magic)
	dst = append(dst, Version, byte(h.Kind))
	dst = le.AppendUint16(dst, uint16(h.Flags))
	dst = le.AppendUint32(dst, h.Topic)
	dst = le.AppendUint32(dst, h.Generation)
	dst = le.AppendUint32(dst, h.Sequence)
	dst = le.AppendUint32(dst, h.Rows)
	return le.AppendUint64(dst, h.Time)
}

// ParseHeader reads the header and returns the bytes of the sections.
func ParseHeader(b []byte) (Header, []byte, error) {
	le := binary.LittleEndian
	if len(b) < HeaderSize {
		return Header{}, nil, fmt.Errorf("%w: %d bytes, a header has %d", ErrFrame, len(b), HeaderSize)
	}
	if m := le.Uint32(b); m != Magic {
		return Header{}, nil, fmt.Errorf("%w: magic %#x, want %#x", ErrFrame, m, Magic)
	}
	if b[4] != Version {
		return Header{}, nil, fmt.Errorf("%w: version %d, this program reads %d", ErrFrame, b[4], Version)
	}
	return Header{
		Kind:       kernelviz.Kind(b[5]),
		Flags:      Flags(le.Uint16(b[6:])),
		Topic:      le.Uint32(b[8:]),
		Generation: le.Uint32(b[12:]),
		Sequence:   le.Uint32(b[16:]),
		Rows:       le.Uint32(b[20:]),
		Time:       le.Uint64(b[24:]),
	}, b[HeaderSize:], nil
}

// SectionType says what the rows of a section are.
type SectionType uint16

// Section is a run of rows of one type. Rows is not a copy.
type Section struct {
	Type    SectionType
	RowSize int
	Count   int
	Rows    []byte
}

// Row returns row i of the section.
func (s Section) Row(i int) []byte { return s.Rows[i*s.RowSize : (i+1)*s.RowSize] }

// AppendSection appends a section header: type u16, row size u16, count u32.
// The caller appends count rows of rowSize bytes after it.
func AppendSection(dst []byte, t SectionType, rowSize, count int) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, uint16(t))
	dst = le.AppendUint16(dst, uint16(rowSize))
	return le.AppendUint32(dst, uint32(count))
}

// ParseSections walks the sections after a header. Unknown types are returned
// like known ones; the reader skips them.
func ParseSections(b []byte) ([]Section, error) {
	le := binary.LittleEndian
	var out []Section
	for len(b) > 0 {
		if len(b) < SectionSize {
			return nil, fmt.Errorf("%w: %d bytes after the last section", ErrFrame, len(b))
		}
		s := Section{
			Type:    SectionType(le.Uint16(b)),
			RowSize: int(le.Uint16(b[2:])),
			Count:   int(le.Uint32(b[4:])),
		}
		b = b[SectionSize:]
		if s.RowSize == 0 || s.RowSize%8 != 0 {
			return nil, fmt.Errorf("%w: section %d has rows of %d bytes, want a multiple of 8", ErrFrame, s.Type, s.RowSize)
		}
		if s.Count > len(b)/s.RowSize {
			return nil, fmt.Errorf("%w: section %d has %d rows of %d bytes but %d bytes are left", ErrFrame, s.Type, s.Count, s.RowSize, len(b))
		}
		s.Rows = b[:s.Count*s.RowSize]
		b = b[s.Count*s.RowSize:]
		out = append(out, s)
	}
	return out, nil
}
