package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"kernelviz/internal/kernelviz"
)

// Limits of control messages.
const (
	readLimit   = 64 << 10 // bytes of one message from the page
	maxTopicLen = 128      // bytes of a topic's name
	maxRate     = 60       // frames per second
	defaultRate = 30
)

// Messages from the page (docs/protocol.md). Each is decoded strictly into its
// own type, so that a misspelt field is an error and not a default.
type (
	targetsMessage struct {
		Type string `json:"type"`
		On   bool   `json:"on"`
	}
	viewMessage struct {
		Lo uint32 `json:"lo"`
		Hi uint32 `json:"hi"`
		Px uint16 `json:"px"`
	}
	watchMessage struct {
		Type  string      `json:"type"`
		Topic string      `json:"topic"`
		View  viewMessage `json:"view"`
		Rate  int         `json:"rate"`
	}
	unwatchMessage struct {
		Type  string `json:"type"`
		Topic string `json:"topic"`
	}
	keyMessage struct {
		Type  string `json:"type"`
		Topic string `json:"topic"`
	}
	inspectMessage struct {
		Type   string `json:"type"`
		Ref    int64  `json:"ref"`
		Topic  string `json:"topic"`
		Object string `json:"object"`
		ID     uint32 `json:"id"`
	}
	startMessage struct {
		Type     string `json:"type"`
		Ref      int64  `json:"ref"`
		Workload string `json:"workload"`
	}
	attachMessage struct {
		Type string `json:"type"`
		Ref  int64  `json:"ref"`
		ID   string `json:"id"`
	}
	doMessage struct {
		Type   string          `json:"type"`
		Ref    int64           `json:"ref"`
		ID     string          `json:"id"`
		Action json.RawMessage `json:"action"`
	}
	stopMessage struct {
		Type string `json:"type"`
		Ref  int64  `json:"ref"`
		ID   string `json:"id"`
	}
)

// control is a decoded message from the page: a pointer to one of the types
// above.
type control any

// parseControl reads one message from the page. The ref is returned even with
// an error, where it could be read, so that the answer finds its question.
func parseControl(data []byte) (msg control, ref int64, err error) {
	var head struct {
		Type string `json:"type"`
		Ref  int64  `json:"ref"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, 0, badMessage("not a JSON object with a type: %v", err)
	}
	switch head.Type {
	case "targets":
		msg = new(targetsMessage)
	case "watch":
		msg = new(watchMessage)
	case "unwatch":
		msg = new(unwatchMessage)
	case "key":
		msg = new(keyMessage)
	case "inspect":
		msg = new(inspectMessage)
	case "start":
		msg = new(startMessage)
	case "attach":
		msg = new(attachMessage)
	case "do":
		msg = new(doMessage)
	case "stop":
		msg = new(stopMessage)
	case "lab":
		msg = new(labMessage)
	case "leave":
		msg = new(leaveMessage)
	case "act":
		msg = new(actMessage)
	case "predict":
		msg = new(predictMessage)
	case "hint", "retry":
		msg = new(labStepMessage)
	case "fresh", "reset", "kill":
		msg = new(labOnlyMessage)
	case "draft":
		msg = new(draftMessage)
	case "build":
		msg = new(buildMessage)
	case "experiment":
		msg = new(experimentMessage)
	case "cancel":
		msg = new(cancelMessage)
	case "":
		return nil, head.Ref, badMessage("message has no type")
	default:
		return nil, head.Ref, badMessage("unknown message type %.40q", head.Type)
	}
	if err := decodeStrict(data, msg); err != nil {
		return nil, head.Ref, badMessage("message %q: %v", head.Type, err)
	}
	if w, ok := msg.(*watchMessage); ok {
		if err := w.normalise(); err != nil {
			return nil, head.Ref, err
		}
	}
	return msg, head.Ref, nil
}

// normalise fills in defaults and rejects values out of range.
func (w *watchMessage) normalise() error {
	if w.Rate == 0 {
		w.Rate = defaultRate
	}
	if w.Rate < 1 || w.Rate > maxRate {
		return badMessage("message \"watch\": rate %d, want 1 to %d frames per second", w.Rate, maxRate)
	}
	if w.View.Hi != 0 && w.View.Hi <= w.View.Lo {
		return badMessage("message \"watch\": view [%d, %d) is empty", w.View.Lo, w.View.Hi)
	}
	return nil
}

func parseTopic(s string) (kernelviz.Topic, error) {
	if len(s) > maxTopicLen {
		return kernelviz.Topic{}, badMessage("topic has %d bytes, at most %d are allowed", len(s), maxTopicLen)
	}
	t, err := kernelviz.ParseTopic(s)
	if err != nil {
		return t, badMessage("%v", err)
	}
	return t, nil
}

func badMessage(format string, args ...any) *Problem {
	return problemf(CodeBadMessage, "", format, args...)
}

// decodeStrict decodes exactly one JSON value into v and rejects fields that v
// does not have.
func decodeStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// Messages to the page.
type (
	helloMessage struct {
		Type string `json:"type"`
		Report
		Scope     string `json:"scope"`
		Workloads bool   `json:"workloads"` // starting them is allowed
	}
	targetListMessage struct {
		Type    string             `json:"type"`
		Targets []kernelviz.Target `json:"targets"`
	}
	watchingMessage struct {
		Type   string           `json:"type"`
		Topic  string           `json:"topic"`
		ID     uint32           `json:"id"`
		Rate   int              `json:"rate"` // frames per second that this page gets at most
		Target kernelviz.Target `json:"target"`
	}
	goneMessage struct {
		Type   string `json:"type"`
		Topic  string `json:"topic"`
		ID     uint32 `json:"id"`
		Reason string `json:"reason"`
	}
	detailMessage struct {
		Type   string           `json:"type"`
		Ref    int64            `json:"ref"`
		Topic  string           `json:"topic"`
		Detail kernelviz.Detail `json:"detail"`
	}
	errorMessage struct {
		Type    string `json:"type"`
		Ref     int64  `json:"ref,omitempty"`
		Topic   string `json:"topic,omitempty"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Fix     string `json:"fix,omitempty"`
	}
)

// encode marshals a message to the page. The messages are structs of plain
// values, so that it cannot fail but by a mistake in this program.
func encode(msg any) []byte {
	b, err := json.Marshal(msg)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", msg, err))
	}
	return b
}

func encodeError(ref int64, topic string, p *Problem) []byte {
	return encode(errorMessage{"error", ref, topic, p.Code, p.Message, p.Fix})
}
