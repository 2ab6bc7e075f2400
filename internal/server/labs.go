package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/go-chi/chi/v5"

	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/lab"
	"kernelviz/internal/playground"
	"kernelviz/internal/session"
	"kernelviz/internal/store"
	"kernelviz/internal/workload"
)

// LabOptions let a server offer labs. Source and Sessions must be set.
type LabOptions struct {
	Source   *lab.Source
	Sessions session.Options // Started is the server's to set
	Live     bool            // read the labs again when a file changes
}

// labs is the lab side of a server: the curriculum and the sessions.
type labs struct {
	hub      *hub
	source   *lab.Source
	sessions *session.Manager
	kernel   *kernel.Info
	terminal bool
	code     bool

	mu     sync.Mutex
	follow map[*client]map[string]*labFollow // by page and lab
}

func newLabs(h *hub, o *LabOptions, info *kernel.Info) *labs {
	ls := &labs{
		hub: h, source: o.Source, kernel: info,
		terminal: o.Sessions.Terminals, code: o.Sessions.Playground != nil,
		follow: make(map[*client]map[string]*labFollow),
	}
	o.Sessions.Started = func(id string, p *workload.Process) {
		if h.workloads != nil {
			h.workloads.adopt(id, p)
		}
	}
	ls.sessions = session.NewManager(o.Sessions)
	if o.Live {
		h.running.Go(func() { o.Source.Follow(h.ctx, ls.reloaded) })
	}
	return ls
}

// The curriculum and lessons, as docs/protocol.md says.
type (
	curriculum struct {
		Terminal bool             `json:"terminal"`
		Code     bool             `json:"code"`
		Problems []string         `json:"problems"`
		Modules  []curriculumPart `json:"modules"`
	}
	curriculumPart struct {
		ID       string          `json:"id"`
		Title    lab.Text        `json:"title"`
		Summary  lab.Text        `json:"summary"`
		Planned  bool            `json:"planned"`
		Requires []string        `json:"requires"`
		Labs     []curriculumLab `json:"labs"`
	}
	curriculumLab struct {
		ID      string            `json:"id"`
		Number  int               `json:"number"`
		Title   lab.Text          `json:"title"`
		Summary lab.Text          `json:"summary"`
		Minutes int               `json:"minutes"`
		Steps   int               `json:"steps"`
		Done    int               `json:"done"`
		Missing []session.Missing `json:"missing"`
	}
	lessonPage struct {
		lab.Page
		Missing []session.Missing `json:"missing"`
	}
)

var errLabsOff = &Problem{"labs_off", "This server offers no labs.", "start labserver without --no-workloads"}

func (s *Server) apiLabs(w http.ResponseWriter, r *http.Request) {
	ls := s.hub.labs
	if ls == nil {
		writeRefusal(w, r, http.StatusNotFound, errLabsOff)
		return
	}
	done, err := ls.sessions.Progress(r.Context(), r.URL.Query().Get("learner"))
	if errors.Is(err, session.ErrLearner) {
		writeRefusal(w, r, http.StatusBadRequest, asProblem("reading progress", err))
		return
	}
	out := ls.curriculum(done)
	if err != nil { // the labs can be shown all the same
		out.Problems = append(out.Problems, "reading progress: "+err.Error())
	}
	writeJSON(w, http.StatusOK, out)
}

func (ls *labs) curriculum(done map[string]int) curriculum {
	c := ls.source.Catalog()
	out := curriculum{Terminal: ls.terminal, Code: ls.code, Problems: []string{}, Modules: []curriculumPart{}}
	for _, p := range c.Problems {
		out.Problems = append(out.Problems, p.Error())
	}
	for _, m := range c.Modules {
		part := curriculumPart{
			ID: m.ID, Title: m.Title, Summary: m.Summary, Planned: m.Planned,
			Requires: append([]string{}, m.Requires...), Labs: []curriculumLab{},
		}
		for _, l := range m.Labs {
			part.Labs = append(part.Labs, curriculumLab{
				ID: l.ID, Number: l.Number, Title: l.Title, Summary: l.Summary, Minutes: l.Minutes,
				Steps: len(l.Steps), Done: min(done[l.ID], len(l.Steps)), Missing: ls.sessions.Missing(l),
			})
		}
		out.Modules = append(out.Modules, part)
	}
	return out
}

func (s *Server) apiLesson(w http.ResponseWriter, r *http.Request) {
	ls := s.hub.labs
	if ls == nil {
		writeRefusal(w, r, http.StatusNotFound, errLabsOff)
		return
	}
	l := ls.source.Catalog().Lab(chi.URLParam(r, "id"))
	if l == nil {
		writeRefusal(w, r, http.StatusNotFound, asProblem("reading a lesson", noLab(chi.URLParam(r, "id"))))
		return
	}
	lang := r.URL.Query().Get("lang")
	if lang == "" {
		lang = "en"
	}
	page := lessonPage{l.Page(lang), ls.sessions.Missing(l)}
	for i := range page.Parts {
		if p := page.Parts[i].Struct; p != nil {
			page.Parts[i].Struct = s.layOut(p)
		}
	}
	writeJSON(w, http.StatusOK, page)
}

// layOut fills in how this kernel lays the struct out.
func (s *Server) layOut(p *lab.StructPart) *lab.StructPart {
	out := *p
	out.Name = "struct " + strings.TrimPrefix(p.Name, "struct ")
	out.Fields = []lab.StructField{}
	layout, err := s.options.Kernel.Struct(p.Name)
	if err != nil {
		out.Problem = err.Error()
		return &out
	}
	out.Size, out.Source = layout.Size, kernel.Source(p.Name)
	for _, f := range layout.Members {
		out.Fields = append(out.Fields, lab.StructField{Path: f.Path, Type: f.Type, Offset: f.Offset, Size: f.Size})
	}
	return &out
}

func (s *Server) apiMedia(w http.ResponseWriter, r *http.Request) {
	ls := s.hub.labs
	if ls == nil {
		writeRefusal(w, r, http.StatusNotFound, errLabsOff)
		return
	}
	if l := ls.source.Catalog().Lab(chi.URLParam(r, "id")); l != nil {
		name := chi.URLParam(r, "name")
		if b, ok := l.Media["media/"+name]; ok {
			// Pictures only, which may hold no scripts of their own.
			w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
			serveFile(w, r, name, b)
			return
		}
	}
	http.NotFound(w, r)
}

func (s *Server) apiProgress(w http.ResponseWriter, r *http.Request) {
	ls := s.hub.labs
	if ls == nil {
		writeRefusal(w, r, http.StatusNotFound, errLabsOff)
		return
	}
	out, err := ls.sessions.Export(r.Context(), r.URL.Query().Get("learner"))
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, session.ErrLearner) {
			status = http.StatusBadRequest
		}
		writeRefusal(w, r, status, asProblem("exporting progress", err))
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="kernelviz-progress.json"`)
	writeJSON(w, http.StatusOK, out)
}

func noLab(id string) error {
	return &Problem{CodeNotFound, "there is no lab " + quote(id), "pick one from the curriculum: labserver labs list"}
}

// labProblem puts errors of sessions into words and codes.
func labProblem(err error) (*Problem, bool) {
	var needs *session.NeedsError
	var tool *playground.ToolError
	var file *playground.FileError
	codes := []struct {
		is        error
		code, fix string
	}{
		{session.ErrLearner, CodeBadMessage, "use letters, digits, hyphens, underscores and dots"},
		{session.ErrLimit, CodeLimit, "close some"},
		{session.ErrClosed, CodeGone, "open the lab again"},
		{session.ErrTerminalOff, "terminal_off", "start labserver without --no-terminal"},
		{session.ErrCodeOff, "code_off", "start labserver without --no-code"},
		{session.ErrFile, "bad_file", ""},
		{session.ErrLong, "too_long", "shorten it"},
		{session.ErrBusy, CodeBusy, "wait until it is done"},
		{session.ErrAction, CodeNotFound, ""},
		{store.ErrLocked, "store", "stop the other labserver, or start this one with --db FILE"},
		{store.ErrReadOnly, "store", "make the file writable, or start labserver with --db FILE"},
		{context.DeadlineExceeded, CodeBusy, "try again in a moment"},
	}
	switch {
	case errors.As(err, &needs):
		return &Problem{"missing", err.Error(), needs.Fix()}, true
	case errors.As(err, &file):
		return &Problem{"bad_file", err.Error(), ""}, true
	case errors.As(err, &tool):
		return &Problem{"missing", err.Error(), tool.Fix}, true
	}
	for _, c := range codes {
		if errors.Is(err, c.is) {
			return &Problem{c.code, err.Error(), c.fix}, true
		}
	}
	return nil, false
}
