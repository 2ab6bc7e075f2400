package terminal

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestPlain(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"lines", "a\r\nb\r\n", "a\nb\n"},
		{"no last newline", "a\r\n$ ", "a\n$ "},
		{"colours", "\x1b[01;32mok\x1b[0m done", "ok done"},
		{"title", "\x1b]0;~/src\x07$ \x1b]2;x\x1b\\y", "$ y"},
		{"charset and keypad", "\x1b(B\x1b=\x1b>\x1b7a\x1b8", "a"},
		{"bracketed paste", "\x1b[?2004h$ ls\x1b[?2004l\r\n", "$ ls\n"},
		{"progress", "10%\r20%\r\n", "20%\n"},
		{"shorter over longer", "longer\rab\r\n", "abnger\n"},
		{"erased", "longer\r\x1b[Kab\r\n", "ab\n"},
		{"backspace", "lx\b \bs\r\n", "ls\n"},
		{"insert and delete", "ls -l\b\b\b\x1b[1@x\x1b[2P\r\n", "lsxl\n"},
		{"left, right, column", "abc\x1b[2Dx\x1b[1Cy\x1b[2Gz\r\n", "azcy\n"},
		{"wrapped by readline", "0123456789 \rX", "0123456789X"},
		{"full row", "0123456789\r\nb", "0123456789\nb"},
		{"tab, bell", "a\tb\x07c", "a\tbc"},
		{"UTF-8", "grün 树\r\n", "grün 树\n"},
		{"broken UTF-8", "a\xff\xe6b", "ab"},
		{"unfinished", "a\x1b[3", "a"},
		{"unfinished title", "a\x1b]0;never ends", "a"},
		{"broken off", "a\x1b[3\nb", "a\nb"},
		{"only escape", "a\x1b", "a"},
		{"huge numbers", "\x1b[99999999999999999999Ca\x1b[999999999Db", "ba"},
		{"empty", "", ""},
	}
	for _, test := range tests {
		if got := plain([]byte(test.raw), 10, false); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	if got := plain([]byte("1;31mcut\r\nwhole"), 80, true); got != "whole" {
		t.Errorf("cut: %q", got)
	}
}

func TestPlainIsBounded(t *testing.T) {
	long := strings.Repeat("树\r\n", Window/5)
	if got := plain([]byte(long), 80, false); len(got) > maxPlain || !utf8.ValidString(got) || !strings.HasSuffix(long, strings.ReplaceAll(got, "\n", "\r\n")) {
		t.Errorf("%d bytes, want the latest %d, whole characters", len(got), maxPlain)
	}
	for _, evil := range []string{"\x1b[999Cx", "x\x1b[1000@\r", "\x1b[999Cx\n", "x\x1b[2P\x1b[9D", "\x1b[[[[", "\x1b]\x1b]"} {
		start := time.Now()
		got := plain([]byte(strings.Repeat(evil, Window/len(evil))), 80, false)
		if took := time.Since(start); len(got) > maxPlain || took > 5*time.Second {
			t.Errorf("%q again and again: %d bytes after %v", evil, len(got), took)
		}
	}
}

// TestPlainTakesAnything: no output breaks it.
func TestPlainTakesAnything(t *testing.T) {
	const alphabet = "\x1b\x1b[[]];;0129ABCDGHJKPm@?h\r\n\b\t\a\\a树\xff(B "
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := make([]byte, r.IntN(200))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		if got := plain(b, 1+r.IntN(5), r.IntN(2) == 0); !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\r\b\a") {
			t.Fatalf("%q became %q", b, got)
		}
	}
}
