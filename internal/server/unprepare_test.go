package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gorilla/websocket"
)

// unprepare returns the bytes of a prepared binary message, which the library
// gives to connections only.
func unprepare(m *websocket.PreparedMessage) ([]byte, error) {
	sink := &sinkConn{}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
	} {
		r.Header.Set(name, value)
	}
	conn, err := (&websocket.Upgrader{}).Upgrade(hijacked{httptest.NewRecorder(), sink}, r, nil)
	if err != nil {
		return nil, err
	}
	sink.Reset() // the answer to the upgrade
	if err := conn.WritePreparedMessage(m); err != nil {
		return nil, err
	}
	b := sink.Bytes() // RFC 6455, 5.2; a server does not mask
	switch {
	case len(b) < 2 || b[0] != 0x80|websocket.BinaryMessage:
		return nil, errors.New("not a binary message")
	case b[1] < 126:
		return b[2:], nil
	case b[1] == 126:
		return b[4:], nil
	}
	if n := binary.BigEndian.Uint64(b[2:]); n != uint64(len(b)-10) {
		return nil, errors.New("bad length")
	}
	return b[10:], nil
}

type hijacked struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

type sinkConn struct {
	net.Conn
	bytes.Buffer
}

func (c *sinkConn) Read(b []byte) (int, error)       { return c.Buffer.Read(b) }
func (c *sinkConn) Write(b []byte) (int, error)      { return c.Buffer.Write(b) }
func (c *sinkConn) Close() error                     { return nil }
func (c *sinkConn) SetDeadline(time.Time) error      { return nil }
func (c *sinkConn) SetWriteDeadline(time.Time) error { return nil }
