package lab

// Page is a lesson as the page gets it: `lesson` of docs/protocol.md, but for
// what the server knows: what is missing on this machine, and the fields of
// structs.
type Page struct {
	ID       string                `json:"id"`
	Module   PageModule            `json:"module"`
	Number   int                   `json:"number"`
	Of       int                   `json:"of"` // labs in the module
	Lang     string                `json:"lang"`
	Asked    string                `json:"asked"`
	Stale    bool                  `json:"stale"` // the translation is older than its English text
	Title    string                `json:"title"`
	Summary  string                `json:"summary"`
	Minutes  int                   `json:"minutes"`
	Previous string                `json:"previous"`
	Next     string                `json:"next"`
	Terminal bool                  `json:"terminal"`
	Parts    []Part                `json:"parts"`
	Actions  map[string]PageAction `json:"actions"`
	Steps    []PageStep            `json:"steps"`
	Stage    *Stage                `json:"stage"`
	Code     *PageCode             `json:"code"`
	Values   []string              `json:"values"`
}

// PageModule names the module of a lesson.
type PageModule struct {
	ID    string `json:"id"`
	Title Text   `json:"title"`
}

// Part is a piece of a lesson: exactly one of its fields is set.
type Part struct {
	HTML   string      `json:"html,omitempty"`
	Step   string      `json:"step,omitempty"` // the place of that step
	Struct *StructPart `json:"struct,omitempty"`
}

// StructPart is the place of a kernel struct. Name, Marked and Note are the
// lesson's; the server fills in the rest from the running kernel.
type StructPart struct {
	Name    string        `json:"name"`   // "epitem"
	Marked  []string      `json:"marked"` // fields that stand out
	Note    string        `json:"note"`   // name of a note; empty if none
	Size    int           `json:"size"`
	Source  string        `json:"source"`
	Fields  []StructField `json:"fields"`
	Problem string        `json:"problem"` // why there are no fields; empty if there are
}

// StructField is a member of a kernel struct.
type StructField struct {
	Path   string `json:"path"`
	Type   string `json:"type"`
	Offset int    `json:"offset"` // bytes
	Size   int    `json:"size"`   // bytes
}

// PageAction is an action. Text may hold {{number}} for a live value.
type PageAction struct {
	Kind     string `json:"kind"`
	Workload string `json:"workload,omitempty"`
	Text     string `json:"text"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Tab      string `json:"tab,omitempty"`
}

// PageStep is a step, without what would give it away.
type PageStep struct {
	ID      string       `json:"id"`
	Title   Text         `json:"title"`
	Text    HTML         `json:"text"`
	Do      []PageButton `json:"do"`
	Predict *PagePredict `json:"predict"`
	Check   string       `json:"check"`  // expression, or path of the script
	Kind    string       `json:"kind"`   // edge, level or shell
	Within  float64      `json:"within"` // seconds; 0: no limit
	Hints   int          `json:"hints"`
}

// PageButton is a button of a step.
type PageButton struct {
	Action string `json:"action"`
	Label  Text   `json:"label"`
}

// PagePredict is a question.
type PagePredict struct {
	Question HTML         `json:"question"`
	Node     bool         `json:"node"` // answered by a click on a node
	Choices  []PageChoice `json:"choices"`
}

// PageChoice is an answer to choose.
type PageChoice struct {
	ID   string `json:"id"`
	Text HTML   `json:"text"`
}

// PageCode is the starter code.
type PageCode struct {
	Language string     `json:"language"`
	Files    []PageFile `json:"files"`
}

// PageFile is a file of starter code.
type PageFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Page is the lesson in a language, in English where there is no other. It is
// the caller's to change.
func (l *Lab) Page(lang string) Page {
	p := Page{
		ID: l.ID, Number: l.Number, Lang: "en", Asked: lang,
		Title: l.Title.In(lang), Summary: l.Summary.In(lang), Minutes: l.Minutes,
		Previous: l.previous, Next: l.next, Terminal: l.Terminal,
		Actions: make(map[string]PageAction, len(l.Actions)),
		Values:  make([]string, 0, len(l.values)),
	}
	if l.Module != nil {
		p.Module = PageModule{ID: l.Module.ID, Title: l.Module.Title}
		p.Of = len(l.Module.Labs)
	}
	if lang == "zh" && l.hasZh {
		p.Lang, p.Stale = "zh", l.zhIsStale
	}
	for _, part := range l.lessons[p.Lang].parts {
		if part.Struct != nil {
			s := *part.Struct
			part.Struct = &s
		}
		p.Parts = append(p.Parts, part)
	}
	for name, a := range l.Actions {
		p.Actions[name] = PageAction{Kind: a.Kind, Workload: a.Workload, Text: a.text, File: a.File, Line: a.Line, Tab: a.Tab}
	}
	for _, s := range l.Steps {
		p.Steps = append(p.Steps, s.page())
	}
	if l.Stage != nil {
		s := *l.Stage
		p.Stage = &s
	}
	if l.Code != nil {
		p.Code = &PageCode{Language: l.Code.Language}
		for _, name := range l.Code.Files {
			p.Code.Files = append(p.Code.Files, PageFile{Name: name, Text: l.Code.Starter[name]})
		}
	}
	for _, v := range l.values {
		p.Values = append(p.Values, v.source)
	}
	return p
}

func (s *Step) page() PageStep {
	p := PageStep{
		ID: s.ID, Title: s.Title, Text: s.text, Do: make([]PageButton, 0, len(s.Do)),
		Check: s.Check.Expr, Kind: s.Check.Kind, Within: s.Check.Within.Seconds(), Hints: len(s.Hints),
	}
	if s.Check.Kind == KindShell {
		p.Check = s.Check.Shell
	}
	for _, b := range s.Do {
		p.Do = append(p.Do, PageButton(b))
	}
	if s.Predict == nil {
		return p
	}
	p.Predict = &PagePredict{Question: s.Predict.question, Node: s.Predict.Node != nil, Choices: make([]PageChoice, 0, len(s.Predict.Choices))}
	for _, c := range s.Predict.Choices {
		p.Predict.Choices = append(p.Predict.Choices, PageChoice{ID: c.ID, Text: c.text})
	}
	return p
}
