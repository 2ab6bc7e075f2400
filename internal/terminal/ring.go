package terminal

// chunk is how much is read from the pty, or handed to a follower, at once.
const chunk = 32 << 10

// ring keeps the latest bytes of output. Who begins to follow while a read is
// under way still finds a whole Window: hence the further chunk.
type ring struct {
	bytes []byte // Window + chunk of them, made with the first output
	end   int64  // offset after the newest byte
}

func (r *ring) add(b []byte) {
	if r.bytes == nil {
		r.bytes = make([]byte, Window+chunk)
	}
	for len(b) > 0 {
		n := copy(r.bytes[r.end%int64(len(r.bytes)):], b)
		b = b[n:]
		r.end += int64(n)
	}
}

// oldest is the offset of the first byte that is still there.
func (r *ring) oldest() int64 { return max(0, r.end-Window-chunk) }

// copy fills b with the bytes from an offset on and returns how many.
func (r *ring) copy(b []byte, at int64) int {
	b = b[:min(int64(len(b)), r.end-at)]
	n := 0
	for n < len(b) {
		n += copy(b[n:], r.bytes[(at+int64(n))%int64(len(r.bytes)):])
	}
	return n
}

// since returns the bytes from mark on, the latest most of them, and the
// offset of the first.
func (r *ring) since(mark int64, most int) ([]byte, int64) {
	at := min(max(mark, r.oldest(), r.end-int64(most), 0), r.end)
	b := make([]byte, r.end-at)
	r.copy(b, at)
	return b, at
}
