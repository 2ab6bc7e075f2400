package terminal

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxPlain bounds what Since returns, in bytes.
const maxPlain = 64 << 10

// plain turns output into text as it looked at last: escape sequences (ECMA-48,
// XTerm Control Sequences) are left out, of those that move within a line the
// effect is kept. If cut, the output begins anywhere: the first line is left
// out.
func plain(raw []byte, cols int, cut bool) string {
	p := plainer{cols: max(cols, 1)}
	if cut {
		raw = raw[slices.Index(raw, '\n')+1:]
	}
	for len(raw) > 0 {
		raw = raw[p.next(raw):]
	}
	p.write(string(p.line))
	text := p.out[max(0, len(p.out)-maxPlain):]
	for len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return string(text)
}

type plainer struct {
	cols int
	out  []byte // lines before the last, not much more than maxPlain
	line []rune // the last line; rows that it wraps to follow one another
	at   int    // where the next character goes
}

// next takes one character or sequence and returns how long it is.
func (p *plainer) next(b []byte) int {
	switch c := b[0]; {
	case c == 0x1b:
		return p.escape(b)
	case c == '\n':
		p.write(string(p.line) + "\n")
		p.line, p.at = p.line[:0], 0
	case c == '\r':
		p.at -= p.at % p.cols
	case c == '\b':
		p.at = max(0, p.at-1)
	case c == '\t':
		p.put('\t')
	case c < ' ' || c == 0x7f:
	case c < utf8.RuneSelf:
		p.put(rune(c))
	default:
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError {
			p.put(r)
		}
		return n
	}
	return 1
}

func (p *plainer) write(text string) {
	p.out = append(p.out, text...)
	if len(p.out) > 4*maxPlain {
		p.out = p.out[:copy(p.out, p.out[len(p.out)-maxPlain:])]
	}
}

func (p *plainer) put(r rune) {
	p.at = min(p.at, maxLine-1)
	for len(p.line) <= p.at {
		p.line = append(p.line, ' ')
	}
	p.line[p.at] = r
	p.at++
}

// maxLine bounds a line, and maxEdit one that characters are put into or taken
// from: whatever is printed, plain ends soon.
const (
	maxLine = maxPlain
	maxEdit = 4096
)

// escape takes one sequence; one that is not finished takes all.
func (p *plainer) escape(b []byte) int {
	if len(b) < 2 {
		return len(b)
	}
	switch b[1] {
	case '[':
		for i := 2; i < len(b); i++ {
			if 0x40 <= b[i] && b[i] <= 0x7e {
				p.control(string(b[2:i]), b[i])
				return i + 1
			}
			if b[i] < 0x20 || b[i] > 0x7e {
				return i // it was broken off
			}
		}
		return len(b)
	case ']', 'P', 'X', '^', '_': // strings, ended by BEL or ESC \
		for i := 2; i < len(b); i++ {
			if b[i] == 0x07 {
				return i + 1
			}
			if b[i] == 0x1b {
				if i+1 < len(b) && b[i+1] == '\\' {
					return i + 2
				}
				return i
			}
		}
		return len(b)
	}
	for i := 1; i < len(b); i++ {
		if b[i] < 0x20 || b[i] > 0x2f { // not an intermediate byte
			return i + 1
		}
	}
	return len(b)
}

// control does what a control sequence does within a line.
func (p *plainer) control(params string, final byte) {
	first, _, _ := strings.Cut(params, ";")
	n, err := strconv.Atoi(first)
	if err != nil {
		n = 0
	}
	steps := min(max(n, 1), 1000)
	switch final {
	case 'C':
		p.at = min(p.at+steps, maxLine-1)
	case 'D':
		p.at = max(0, p.at-steps)
	case 'G':
		p.at = p.at - p.at%p.cols + steps - 1
	case 'K', 'J':
		if n == 0 && p.at < len(p.line) {
			p.line = p.line[:p.at]
		}
	case 'P':
		if p.at < len(p.line) && len(p.line) < maxEdit {
			p.line = slices.Delete(p.line, p.at, min(p.at+steps, len(p.line)))
		}
	case '@':
		if p.at < len(p.line) && len(p.line) < maxEdit {
			p.line = slices.Insert(p.line, p.at, slices.Repeat([]rune{' '}, steps)...)
		}
	}
}
