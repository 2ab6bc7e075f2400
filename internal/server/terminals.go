package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"kernelviz/internal/session"
	"kernelviz/internal/terminal"
)

// maxTerminalPages bounds the websockets of terminals.
const maxTerminalPages = 64

// Messages of a terminal's websocket.
type (
	terminalMessage struct {
		Type string `json:"type"` // "size" or "ack"
		Cols int    `json:"cols"`
		Rows int    `json:"rows"`
		At   int64  `json:"at"`
	}
	openedMessage struct {
		Type string `json:"type"`
		N    int    `json:"n"`
		At   int64  `json:"at"`
		Lost int64  `json:"lost"`
	}
	endedMessage struct {
		Type string `json:"type"`
		How  string `json:"how"`
	}
)

// terminalPages counts the websockets of terminals.
type terminalPages struct{ open atomic.Int32 }

// connectTerminal makes a websocket of the request and joins it to a terminal.
func (s *Server) connectTerminal(w http.ResponseWriter, r *http.Request) {
	if scopeOf(r) != scopeLearner {
		writeRefusal(w, r, http.StatusForbidden, problemf(CodeForbidden, "open the learner's URL", "this page was opened to look, not to drive"))
		return
	}
	if s.hub.labs == nil {
		writeRefusal(w, r, http.StatusNotFound, errLabsOff)
		return
	}
	if s.terminals.open.Add(1) > maxTerminalPages {
		s.terminals.open.Add(-1)
		writeRefusal(w, r, http.StatusServiceUnavailable, problemf(CodeLimit, "close some pages", "%d terminals are shown, the most this server takes", maxTerminalPages))
		return
	}
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		s.terminals.open.Add(-1)
		return // it has answered
	}
	if tcp, ok := conn.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(socketBuffer)
	}
	query := r.URL.Query()
	if !s.hub.spawn(func() {
		defer s.terminals.open.Add(-1)
		defer conn.Close()
		s.serveTerminal(conn, query.Get("lab"), query.Get("learner"), number(query.Get("n"), 1),
			int64(number(query.Get("at"), 0)), number(query.Get("cols"), 80), number(query.Get("rows"), 24))
	}) {
		s.terminals.open.Add(-1)
		_ = conn.Close()
	}
}

// number reads a number of a query; what is none counts as missing.
func number(s string, missing int) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return missing
	}
	return n
}

func (s *Server) serveTerminal(conn *websocket.Conn, labID, learner string, n int, at int64, cols, rows int) {
	found, err := s.hub.labs.sessions.Find(labID, learner)
	var t *terminal.Terminal
	if err == nil {
		t, err = found.OpenTerminal(s.hub.ctx, n, min(max(cols, 2), 1000), min(max(rows, 2), 1000))
	}
	if err != nil {
		p := asProblem("opening a terminal", err)
		_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		_ = conn.WriteMessage(websocket.TextMessage, encodeError(0, "", p))
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, p.Code), time.Now().Add(closeWithin))
		return
	}
	_ = t.Resize(cols, rows)
	ctx, stop := context.WithCancel(s.hub.ctx)
	defer stop()
	f := t.Attach(at)
	defer f.Close()
	go func() {
		defer stop()
		s.readTerminal(conn, found, t, f)
	}()
	s.writeTerminal(ctx, conn, n, t, f)
}

// writeTerminal sends the output until the terminal or the page ends.
func (s *Server) writeTerminal(ctx context.Context, conn *websocket.Conn, n int, t *terminal.Terminal, f *terminal.Follower) {
	write := func(kind int, data []byte) bool {
		_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		return conn.WriteMessage(kind, data) == nil
	}
	at, lost := f.Place()
	if !write(websocket.TextMessage, encode(openedMessage{"opened", n, at, lost})) {
		return
	}
	for {
		data, _, lost, err := f.Next(ctx)
		switch {
		case errors.Is(err, terminal.ErrEnded):
			_ = write(websocket.TextMessage, encode(endedMessage{"ended", t.Ended()}))
			fallthrough
		case err != nil:
			_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(closeWithin))
			return
		}
		if lost > 0 {
			at, _ := f.Place()
			if !write(websocket.TextMessage, encode(openedMessage{"opened", n, at - int64(len(data)), lost})) {
				return
			}
		}
		if !write(websocket.BinaryMessage, data) {
			return
		}
	}
}

// readTerminal passes input on, and what the page says of itself.
func (s *Server) readTerminal(conn *websocket.Conn, found *session.Session, t *terminal.Terminal, f *terminal.Follower) {
	conn.SetReadLimit(readLimit)
	for {
		kind, data, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if kind == websocket.BinaryMessage {
			found.TerminalInput()
			if _, err := t.Write(data); err != nil {
				// Control messages may be written beside the output.
				_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, err.Error()), time.Now().Add(closeWithin))
				return
			}
			continue
		}
		var m terminalMessage
		if decodeStrict(data, &m) != nil {
			return
		}
		switch m.Type {
		case "size":
			_ = t.Resize(m.Cols, m.Rows) // out of bounds: it keeps its size
		case "ack":
			f.Ack(m.At)
		default:
			return
		}
	}
}
