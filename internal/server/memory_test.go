//go:build !race

package server

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"testing"
)

// What one page costs, with its socket's other end in the same process.
func TestMemoryPerPage(t *testing.T) {
	const pages = 500
	s := start(t)
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	o := s.view.object("1")
	for i := range uint32(1000) {
		o.set(i+1, 1)
	}
	before := used()
	for range pages {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer %s\r\n\r\n", s.addr, s.options.Token)
		var answer []byte
		for b := make([]byte, 1); !bytes.HasSuffix(answer, []byte("\r\n\r\n")); answer = append(answer, b...) {
			if _, err := c.Read(b); err != nil {
				t.Fatal(err)
			}
		}
		message := `{"type":"watch","topic":"counters/1","rate":10}`
		masked := append([]byte{0x81, 0x80 | byte(len(message)), 0, 0, 0, 0}, message...)
		if _, err := c.Write(masked); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all pages watch", func() bool {
		s.hub.mu.Lock()
		defer s.hub.mu.Unlock()
		r := s.hub.rooms["counters/1"]
		if r == nil {
			return false
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.subs) == pages
	})
	per := (used() - before) / pages
	t.Logf("%d bytes a page", per)
	if per > 64<<10 {
		t.Errorf("%d bytes a page, want at most 64 KiB", per)
	}
}
