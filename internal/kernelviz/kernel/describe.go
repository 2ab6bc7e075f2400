package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kernelviz/internal/kernelviz"
)

// A Resolver names what a kernel address points to ("fd 37"), or returns "" if
// it does not know. It decides whether an address is ever shown: Describe shows
// none by itself.
type Resolver func(address uint64) string

// Describe renders the bytes of a struct of the running kernel, member by
// member. Where raw is shorter than the struct, the members beyond its end say
// so. A nil resolve knows nothing.
func (i *Info) Describe(structName string, raw []byte, resolve Resolver) ([]kernelviz.Field, error) {
	s, err := i.Struct(structName)
	if err != nil {
		return nil, fmt.Errorf("describing: %w", err)
	}
	if resolve == nil {
		resolve = func(uint64) string { return "" }
	}
	d := describer{raw: raw, resolve: resolve}
	d.hide(s)
	fields := make([]kernelviz.Field, 0, len(s.Members))
	for _, m := range s.Members {
		f := kernelviz.Field{Path: m.Path, Type: m.Type, Offset: m.Offset, Size: m.Size, Value: d.value(m)}
		if m.Union {
			f.Note = "union"
		}
		fields = append(fields, f)
	}
	return fields, nil
}

type describer struct {
	raw     []byte
	resolve Resolver
	secret  []bool // per byte of raw: part of a kernel address
}

// hide marks the bytes that hold a kernel address, so that no narrower member
// of a union shows a part of one.
func (d *describer) hide(s *Struct) {
	d.secret = make([]bool, len(d.raw))
	for _, m := range s.Members {
		if m.BitSize > 0 || m.Offset+m.Size > len(d.raw) {
			continue
		}
		end := m.Offset + m.Size
		if m.Size != 8 && !opaque(m.typ) {
			continue
		}
		for off := m.Offset; off+8 <= end; off += 8 {
			if !isKernelAddress(binary.NativeEndian.Uint64(d.raw[off:])) {
				continue
			}
			for n := range 8 {
				d.secret[off+n] = true
			}
		}
	}
}

// opaque: an array that may hold anything, addresses included.
func opaque(t btf.Type) bool {
	a, ok := btf.UnderlyingType(t).(*btf.Array)
	return ok && !isChar(a.Type)
}

func (d *describer) hidden(off, size int) bool {
	for _, s := range d.secret[off : off+size] {
		if s {
			return true
		}
	}
	return false
}

func (d *describer) value(m Member) string {
	if m.Offset+m.Size > len(d.raw) {
		return "not read"
	}
	if m.Size == 0 {
		return "empty"
	}
	b := d.raw[m.Offset : m.Offset+m.Size]
	if m.Path == "__rb_parent_color" || strings.HasSuffix(m.Path, ".__rb_parent_color") {
		return d.parentAndColour(binary.NativeEndian.Uint64(b))
	}
	t := btf.UnderlyingType(m.typ)
	if _, ok := t.(*btf.Pointer); ok {
		return d.address(binary.NativeEndian.Uint64(b), m.typ)
	}
	if m.Size == 8 && isKernelAddress(binary.NativeEndian.Uint64(b)) {
		return d.tagged(binary.NativeEndian.Uint64(b))
	}
	if d.hidden(m.Offset, m.Size) {
		return "hidden, part of a kernel address"
	}
	if a, ok := t.(*btf.Array); ok {
		return array(a, b)
	}
	v, ok := unsigned(b)
	if !ok {
		return fmt.Sprintf("% x", b)
	}
	if m.BitSize > 0 {
		v = v >> m.BitOffset & (1<<m.BitSize - 1)
		return scalar(t, v, m.BitSize)
	}
	return scalar(t, v, m.Size*8)
}

// parentAndColour renders the word of struct rb_node that is both: bit 0 set
// means black (include/linux/rbtree_augmented.h).
func (d *describer) parentAndColour(v uint64) string {
	colour := "red"
	if v&1 != 0 {
		colour = "black"
	}
	return d.address(v&^3, nil) + ", " + colour
}

// tagged renders an address kept in an integer, whose low bits are flags as in
// mutex.owner.
func (d *describer) tagged(v uint64) string {
	s := d.address(v&^7, nil)
	if v&7 != 0 {
		s += fmt.Sprintf(" | %d", v&7)
	}
	return s
}

func (d *describer) address(v uint64, t btf.Type) string {
	if v == 0 {
		return "NULL"
	}
	if name := d.resolve(v); name != "" {
		return name
	}
	if !isKernelAddress(v) {
		if int64(v) < 0 {
			return strconv.FormatInt(int64(v), 10) // ERR_PTR and the like
		}
		return fmt.Sprintf("%#x", v)
	}
	if t == nil {
		return "hidden, could be a kernel address"
	}
	return "a " + strings.TrimSpace(strings.TrimSuffix(typeName(t), "*"))
}

// isKernelAddress: the upper half of the address space, without its last page,
// which holds error codes (include/linux/err.h).
func isKernelAddress(v uint64) bool { return v>>63 == 1 && v < math.MaxUint64-4095 }

func unsigned(b []byte) (uint64, bool) {
	switch len(b) {
	case 1:
		return uint64(b[0]), true
	case 2:
		return uint64(binary.NativeEndian.Uint16(b)), true
	case 4:
		return uint64(binary.NativeEndian.Uint32(b)), true
	case 8:
		return binary.NativeEndian.Uint64(b), true
	}
	return 0, false
}

func signExtend(v uint64, bits int) int64 { return int64(v<<(64-bits)) >> (64 - bits) }

// scalar renders an integer, enum or bool of that many bits.
func scalar(t btf.Type, v uint64, bits int) string {
	switch t := t.(type) {
	case *btf.Enum:
		return enum(t, v, bits)
	case *btf.Int:
		if t.Encoding == btf.Bool || t.Name == "_Bool" {
			return boolean(v)
		}
		if t.Encoding == btf.Signed {
			return strconv.FormatInt(signExtend(v, bits), 10)
		}
	}
	if v < 1<<16 {
		return strconv.FormatUint(v, 10)
	}
	return fmt.Sprintf("%d (%#x)", v, v)
}

func boolean(v uint64) string {
	switch v {
	case 0:
		return "false"
	case 1:
		return "true"
	}
	return fmt.Sprintf("%d, no valid bool", v)
}

func enum(t *btf.Enum, v uint64, bits int) string {
	mask := uint64(math.MaxUint64) >> (64 - bits)
	for _, e := range t.Values {
		if e.Value&mask == v {
			return fmt.Sprintf("%s (%d)", e.Name, signExtend(v, bits))
		}
	}
	return strconv.FormatInt(signExtend(v, bits), 10)
}

func isChar(t btf.Type) bool {
	n, ok := btf.UnderlyingType(t).(*btf.Int)
	return ok && n.Size == 1 && (n.Name == "char" || n.Encoding == btf.Char)
}

// maxValues bounds the elements of an array that are printed.
const maxValues = 16

func array(a *btf.Array, b []byte) string {
	elem := btf.UnderlyingType(a.Type)
	if isChar(a.Type) {
		return strconv.Quote(cString(b))
	}
	size, err := btf.Sizeof(a.Type)
	if err != nil || size == 0 || composite(a.Type) {
		return fmt.Sprintf("%d bytes", len(b))
	}
	var out []string
	for off := 0; off+size <= len(b); off += size {
		if len(out) == maxValues {
			out = append(out, "…")
			break
		}
		v, ok := unsigned(b[off : off+size])
		if !ok {
			return fmt.Sprintf("%d bytes", len(b))
		}
		out = append(out, scalar(elem, v, size*8))
	}
	return "[" + strings.Join(out, ", ") + "]"
}
