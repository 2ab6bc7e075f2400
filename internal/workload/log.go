package workload

import "sync"

// Backlog is how many calls somebody who begins to read a Log gets at once.
const Backlog = 1000

// logSize is how many calls a Log keeps for those who read on. It is more than
// the longest action makes in the time that a reader needs.
const logSize = 16 << 10

// Log keeps the latest system calls of a workload, in the order in which they
// were told. A pending call is there again, with the same Seq, when it is
// complete. Readers hold a place each and cost nothing while they are slow.
type Log struct {
	mu      sync.Mutex
	calls   []Call // ring: entry n is at n % logSize
	next    uint64 // number of the next entry; entries are counted from 0
	changed chan struct{}
}

func newLog() *Log { return &Log{changed: make(chan struct{})} }

func (l *Log) add(calls []Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range calls {
		if len(l.calls) < logSize {
			l.calls = append(l.calls, c)
		} else {
			l.calls[l.next%logSize] = c
		}
		l.next++
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// Start is the place from which a new reader reads: the latest Backlog calls.
func (l *Log) Start() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next - min(l.next, Backlog)
}

// Read returns at most limit calls from a place on, the place to read from next,
// and how many calls were lost because the reader came too late. If there are
// none, changed is closed as soon as there are.
func (l *Log) Read(from uint64, limit int) (calls []Call, next, lost uint64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := l.next - min(l.next, logSize)
	if from < oldest {
		lost = oldest - from
		from = oldest
	}
	next = min(l.next, from+uint64(limit))
	for n := from; n < next; n++ {
		calls = append(calls, l.calls[n%logSize])
	}
	return calls, next, lost, l.changed
}
