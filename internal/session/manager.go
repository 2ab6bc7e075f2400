package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/lab"
	"kernelviz/internal/playground"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/store"
	"kernelviz/internal/workload"
)

// Errors where callers choose.
var (
	ErrNoLab       = errors.New("no such lab")
	ErrNeeds       = errors.New("this machine lacks what the lab needs")
	ErrLimit       = errors.New("too many labs are open")
	ErrClosed      = errors.New("the lab is closed")
	ErrTerminalOff = errors.New("terminals are switched off")
	ErrCodeOff     = errors.New("compiling and running code is switched off")
	ErrLearner     = errors.New("bad name of a learner")
)

// DefaultLearner is who learns where nobody says a name.
const DefaultLearner = "me"

// linger is how long a session lives on when nobody follows it: long enough to
// reload a page, or to come back to a sleeping tablet.
const linger = 2 * time.Minute

// maxSessions bounds the labs that are open at once.
const maxSessions = 16

// Options make a Manager. Views, Kernel, Box, Store, Log and User must be set.
type Options struct {
	Views      []kernelviz.View
	Kernel     *kernel.Info
	Box        *sandbox.Sandbox
	Store      *store.Store
	Playground *playground.Playground // nil: code is switched off
	Terminals  bool                   // terminals may be opened
	User       sandbox.User           // whom terminals and programs run as
	Scratch    string                 // directory for the sessions' files; the caller removes it
	Command    []string               // of workloads; nil is this binary (workload.Options)
	Shell      []string               // of terminals; nil is the learner's
	// StoreProblem says why Store is not what the learner expects; pages show it.
	StoreProblem string
	Log          *slog.Logger
	Now          func() time.Time // nil: time.Now
	Linger       time.Duration    // 0: two minutes
	// Started is told of every workload that a session starts, before it is used.
	Started func(id string, p *workload.Process)
}

// Manager has the sessions that are open, one for each learner and lab. Its
// methods may be called concurrently.
type Manager struct {
	options Options

	mu       sync.Mutex
	sessions map[key]*Session
	numbers  int // sessions begun, for names that are never used again
	closed   bool
}

type key struct{ learner, lab string }

// NewManager makes a Manager. The caller closes it before the sandbox.
func NewManager(o Options) *Manager {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Linger == 0 {
		o.Linger = linger
	}
	return &Manager{options: o, sessions: make(map[key]*Session)}
}

var learnerRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

// Learner checks the name of a learner; the empty name is DefaultLearner.
func Learner(name string) (string, error) {
	if name == "" {
		return DefaultLearner, nil
	}
	if !learnerRE.MatchString(name) {
		return "", fmt.Errorf("%w %.40q: want 1 to 32 letters, digits, hyphens, underscores or dots", ErrLearner, name)
	}
	return name, nil
}

// Open returns the learner's session of a lab, begun if there is none, and
// counts the caller as a follower until Leave.
func (m *Manager) Open(ctx context.Context, l *lab.Lab, learner string) (*Session, error) {
	learner, err := Learner(learner)
	if err != nil {
		return nil, err
	}
	k := key{learner, l.ID}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, ErrClosed
	}
	if s := m.sessions[k]; s != nil {
		s.join()
		m.mu.Unlock()
		<-s.begun
		return s, nil
	}
	if len(m.sessions) >= maxSessions {
		m.mu.Unlock()
		return nil, fmt.Errorf("%w: %d, the most this server keeps", ErrLimit, maxSessions)
	}
	m.numbers++
	s := newSession(m, l, learner, m.numbers)
	m.sessions[k] = s
	m.mu.Unlock()

	if err := s.begin(ctx); err != nil {
		m.forget(s)
		close(s.begun)
		s.Close()
		return nil, fmt.Errorf("opening lab %s: %w", l.ID, err)
	}
	close(s.begun)
	return s, nil
}

// Find returns an open session and counts no follower.
func (m *Manager) Find(labID, learner string) (*Session, error) {
	learner, err := Learner(learner)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	s := m.sessions[key{learner, labID}]
	m.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("%w: %.60q is not open for %s", ErrClosed, labID, learner)
	}
	<-s.begun
	return s, nil
}

// view is the view of that name; nil if this machine has none.
func (m *Manager) view(name string) kernelviz.View {
	for _, v := range m.options.Views {
		if v.Name() == name {
			return v
		}
	}
	return nil
}

func (m *Manager) forget(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := key{s.learner, s.lab.ID}
	if m.sessions[k] == s {
		delete(m.sessions, k)
	}
}

// Close ends every session.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	var all []*Session
	for _, s := range m.sessions {
		all = append(all, s)
	}
	m.mu.Unlock()
	var closing sync.WaitGroup
	for _, s := range all {
		closing.Go(s.Close)
	}
	closing.Wait()
}

// Progress is how many steps of each lab a learner has done.
func (m *Manager) Progress(ctx context.Context, learner string) (map[string]int, error) {
	learner, err := Learner(learner)
	if err != nil {
		return nil, err
	}
	return m.options.Store.Progress(ctx, learner)
}

// Export writes all that is kept of a learner.
func (m *Manager) Export(ctx context.Context, learner string) (store.Export, error) {
	learner, err := Learner(learner)
	if err != nil {
		return store.Export{}, err
	}
	return m.options.Store.Export(ctx, learner)
}

func seeded() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }

// closeQuietly closes what failed before anything came of it.
func closeQuietly(c io.Closer) { _ = c.Close() }

// scratchDir makes the session's directory, which belongs to the learner. It
// has the name of the lab, since terminals show it, in one of its own.
func scratchDir(root, session, labID string, u sandbox.User) (string, error) {
	outer := filepath.Join(root, session)
	dir := filepath.Join(outer, labID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", err
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, u.UID, u.GID); err != nil {
			return "", errors.Join(err, os.RemoveAll(outer))
		}
	}
	return dir, nil
}
