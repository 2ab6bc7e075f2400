package kernel

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Struct is the layout of one struct of the running kernel.
type Struct struct {
	Name    string // "struct epitem"
	Size    int    // bytes
	Members []Member
}

// Member is one scalar, pointer or array of a struct, however deep it lies.
// Members of a union overlap.
type Member struct {
	Path      string // "rbn.__rb_parent_color"; an anonymous struct or union adds nothing
	Type      string // as pahole prints it: "long unsigned int", "struct file *", "char[16]"
	Offset    int    // bytes from the start of the struct; of the storage unit for a bitfield
	Size      int    // bytes; of the storage unit for a bitfield
	BitOffset int    // of a bitfield in its storage unit, from the least significant bit
	BitSize   int    // 0 if it is no bitfield
	Union     bool   // a union encloses it

	typ    btf.Type
	parent string // name of the struct or union that declares it, "" if that is anonymous
}

// maxElements bounds the elements of an array of structs that are laid out one
// by one; longer arrays are one Member.
const maxElements = 16

// Struct returns the layout of a struct by its name, with or without the word
// "struct". The error wraps ErrNoBTF or ErrNoType.
func (i *Info) Struct(name string) (*Struct, error) {
	tag := strings.TrimPrefix(name, "struct ")
	t, err := i.structType(tag)
	if err != nil {
		return nil, err
	}
	s := &Struct{Name: "struct " + tag, Size: int(t.Size)}
	s.lay(t, place{})
	return s, nil
}

// HasField tells whether the struct has a member of that path, scalar or not.
func (i *Info) HasField(structName, path string) bool {
	_, ok := i.Offset(structName, path)
	return ok
}

// Offset is where the member of that path begins, in bytes. The member may be a
// struct itself: Offset("eventpoll", "rdllist").
func (i *Info) Offset(structName, path string) (int, bool) {
	s, err := i.Struct(structName)
	if err != nil {
		return 0, false
	}
	for _, m := range s.Members {
		rest, ok := strings.CutPrefix(m.Path, path)
		if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return m.Offset, true
		}
	}
	return 0, false
}

// Size is the size of a struct in bytes, 0 if this kernel has no such struct.
func (i *Info) Size(structName string) int {
	t, err := i.structType(strings.TrimPrefix(structName, "struct "))
	if err != nil {
		return 0
	}
	return int(t.Size)
}

// HasFunc tells whether BTF describes a function of that name. A function that
// the compiler inlined everywhere is not described.
func (i *Info) HasFunc(name string) bool {
	return hasType(i, name, func(t btf.Type) bool { _, ok := t.(*btf.Func); return ok })
}

// HasTracepoint tells whether a BTF-typed program can attach to the tracepoint.
// The kernel declares one typedef per tracepoint (include/trace/trace_events.h).
func (i *Info) HasTracepoint(name string) bool {
	return hasType(i, "btf_trace_"+name, func(t btf.Type) bool { _, ok := t.(*btf.Typedef); return ok })
}

func hasType(i *Info, name string, is func(btf.Type) bool) bool {
	if i.types == nil {
		return false
	}
	types, err := i.types.AnyTypesByName(name)
	if err != nil {
		return false
	}
	for _, t := range types {
		if is(t) {
			return true
		}
	}
	return false
}

func (i *Info) structType(tag string) (*btf.Struct, error) {
	if i.types == nil {
		return nil, fmt.Errorf("struct %s: %w", tag, ErrNoBTF)
	}
	types, err := i.types.AnyTypesByName(tag)
	if err != nil {
		return nil, fmt.Errorf("struct %s: %w", tag, ErrNoType)
	}
	// Two drivers may use one tag for different structs; BTF keeps both, and
	// the one of the core kernel comes first.
	for _, t := range types {
		if s, ok := t.(*btf.Struct); ok {
			return s, nil
		}
	}
	return nil, fmt.Errorf("struct %s: %w", tag, ErrNoType)
}

// place is where a type lies in the struct being laid out.
type place struct {
	path   string
	bits   btf.Bits
	union  bool
	parent string
}

// lay appends the members of t at p.
func (s *Struct) lay(t btf.Type, p place) {
	switch u := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		s.layMembers(u.Name, u.Members, p)
	case *btf.Union:
		p.union = true
		s.layMembers(u.Name, u.Members, p)
	case *btf.Array:
		if !composite(u.Type) || u.Nelems == 0 || u.Nelems > maxElements {
			s.add(t, p)
			return
		}
		size, err := btf.Sizeof(u.Type)
		if err != nil {
			s.add(t, p)
			return
		}
		for n := range u.Nelems {
			at := p
			at.path = fmt.Sprintf("%s[%d]", p.path, n)
			at.bits += btf.Bits(int(n) * size * 8)
			s.lay(u.Type, at)
		}
	default:
		s.add(t, p)
	}
}

func (s *Struct) layMembers(parent string, members []btf.Member, p place) {
	for _, m := range members {
		at := place{path: p.path, bits: p.bits + m.Offset, union: p.union, parent: parent}
		if m.Name != "" {
			at.path = strings.TrimPrefix(p.path+"."+m.Name, ".")
		}
		if m.BitfieldSize > 0 {
			s.addBitfield(m, at)
			continue
		}
		s.lay(m.Type, at)
	}
}

func (s *Struct) add(t btf.Type, p place) {
	size, err := btf.Sizeof(t)
	if err != nil {
		size = 0 // a function or incomplete type has none
	}
	s.Members = append(s.Members, Member{
		Path: p.path, Type: typeName(t), Offset: int(p.bits / 8), Size: size,
		Union: p.union, typ: t, parent: p.parent,
	})
}

// addBitfield appends a bitfield, seen through the storage unit of its type
// that it lies in.
func (s *Struct) addBitfield(m btf.Member, p place) {
	size, err := btf.Sizeof(m.Type)
	if err != nil || size == 0 {
		size = 4
	}
	unit := btf.Bits(size * 8)
	start := p.bits / unit * unit
	s.Members = append(s.Members, Member{
		Path: p.path, Type: fmt.Sprintf("%s:%d", typeName(m.Type), m.BitfieldSize),
		Offset: int(start / 8), Size: size,
		BitOffset: int(p.bits - start), BitSize: int(m.BitfieldSize),
		Union: p.union, typ: m.Type, parent: p.parent,
	})
}

func composite(t btf.Type) bool {
	switch btf.UnderlyingType(t).(type) {
	case *btf.Struct, *btf.Union:
		return true
	}
	return false
}

// typeName prints a type as C declares a value of it without a name.
func typeName(t btf.Type) string { return declare(t, "") }

// declare prints a declaration of inner, as the C grammar builds it: from the
// name outwards.
func declare(t btf.Type, inner string) string {
	switch t := t.(type) {
	case *btf.Pointer:
		return pointer(t, "*"+inner)
	case *btf.Const:
		if p, ok := t.Type.(*btf.Pointer); ok {
			return pointer(p, strings.TrimSpace("*const "+inner))
		}
		return "const " + declare(t.Type, inner)
	case *btf.Volatile:
		if p, ok := t.Type.(*btf.Pointer); ok {
			return pointer(p, strings.TrimSpace("*volatile "+inner))
		}
		return "volatile " + declare(t.Type, inner)
	case *btf.Restrict:
		return declare(t.Type, inner)
	case *btf.TypeTag: // __rcu, __user: notes to sparse and the verifier, not part of the type
		return declare(t.Type, inner)
	case *btf.Array:
		return declare(t.Type, fmt.Sprintf("%s[%d]", inner, t.Nelems))
	case *btf.FuncProto:
		params := make([]string, 0, len(t.Params))
		for _, p := range t.Params {
			params = append(params, typeName(p.Type))
		}
		if len(params) == 0 {
			params = []string{"void"}
		}
		return declare(t.Return, inner+"("+strings.Join(params, ", ")+")")
	default:
		return base(t) + spaced(inner)
	}
}

func pointer(t *btf.Pointer, inner string) string {
	switch t.Target.(type) {
	case *btf.FuncProto, *btf.Array:
		inner = "(" + inner + ")"
	}
	return declare(t.Target, inner)
}

func spaced(inner string) string {
	if inner == "" || inner[0] == '[' {
		return inner
	}
	return " " + inner
}

func base(t btf.Type) string {
	name := t.TypeName()
	if name == "" {
		name = "{...}"
	}
	switch t := t.(type) {
	case *btf.Void:
		return "void"
	case *btf.Struct:
		return "struct " + name
	case *btf.Union:
		return "union " + name
	case *btf.Enum:
		return "enum " + name
	case *btf.Fwd:
		if t.Kind == btf.FwdUnion {
			return "union " + name
		}
		return "struct " + name
	default:
		return name
	}
}
