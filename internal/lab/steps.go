package lab

import (
	"slices"
	"strings"
	"time"
)

// defaultWait is how long a move may wait that does not say.
const defaultWait = 10 * time.Second

func (d *decoder) steps(f fields) {
	n := f.need("steps")
	if n == nil {
		return
	}
	items := f.list("steps", maxSteps)
	if n.kind == sequence && len(n.items) == 0 {
		d.fail(n, "the lab has no steps")
	}
	for _, item := range items {
		s := d.step(item)
		if s == nil {
			continue
		}
		if slices.ContainsFunc(d.lab.Steps, func(o *Step) bool { return o.ID == s.ID }) {
			d.fail(item, "step %q stands twice", s.ID)
			continue
		}
		d.lab.Steps = append(d.lab.Steps, s)
	}
}

func (d *decoder) step(n *node) *Step {
	f, ok := d.fields(n, "a step", "id", "title", "text", "do", "predict", "check", "hints", "solve")
	if !ok {
		return nil
	}
	s := &Step{ID: d.id(f), Title: d.words2(f, "title")}
	s.Text, s.text = d.prose(f.get("text"), "text", false)
	for _, b := range f.list("do", 16) {
		if button, ok := d.button(b); ok {
			s.Do = append(s.Do, button)
		}
	}
	s.Predict = d.predict(f.get("predict"))
	if c := f.need("check"); c != nil {
		s.Check = d.check(c)
	}
	for _, h := range f.list("hints", 32) {
		if hint, ok := d.hint(h); ok {
			s.Hints = append(s.Hints, hint)
		}
	}
	if f.need("solve") != nil {
		for _, m := range f.list("solve", 64) {
			if move, ok := d.move(m); ok {
				s.Solve = append(s.Solve, move)
			}
		}
	}
	return s
}

func (d *decoder) button(n *node) (Button, bool) {
	f, ok := d.fields(n, "a button", "action", "label")
	if !ok {
		return Button{}, false
	}
	return Button{Action: d.actionName(f, f.need("action"), "action"), Label: d.words2(f, "label")}, true
}

// actionName reads the name of an action that must be there.
func (d *decoder) actionName(f fields, n *node, key string) string {
	name := f.text(n, key, 64)
	if name != "" && d.lab.Actions[name] == nil {
		d.fail(n, "unknown action %q%s", name, suggestion(name, d.lab.actionNames))
	}
	return name
}

func (d *decoder) check(n *node) Condition {
	if n.kind != mapping {
		source, ok := n.value.(string)
		if !ok {
			d.fail(n, "check must be an expression or a mapping, not %s", n.what())
		} else if strings.TrimSpace(source) == "" {
			d.fail(n, "check is empty")
		}
		return Condition{Kind: KindEdge, Expr: source, expr: d.compile(n, source, wantBool, false)}
	}
	f, ok := d.fields(n, "a check", "expr", "kind", "within", "shell")
	if !ok {
		return Condition{}
	}
	c := Condition{Within: d.within(f)}
	if shell := f.get("shell"); shell != nil {
		c.Kind, c.Shell = KindShell, f.text(shell, "shell", 80)
		switch {
		case f.get("expr") != nil:
			d.fail(f.get("expr"), "a check has expr or shell, not both")
		case f.get("kind") != nil:
			d.fail(f.get("kind"), "a shell check has no kind: it is done when the script says so")
		case c.Shell == "":
		case !scriptPattern.MatchString(c.Shell):
			d.fail(shell, "shell must name checks/NAME.sh of the lab, not %q", c.Shell)
		default:
			if _, ok := d.lab.Scripts[c.Shell]; !ok {
				d.fail(shell, "%s is missing", c.Shell)
			}
		}
		return c
	}
	c.Kind = f.oneOf("kind", KindEdge, KindLevel)
	if e := f.need("expr"); e != nil {
		c.Expr = f.text(e, "expr", maxExpression)
		c.expr = d.compile(e, c.Expr, wantBool, false)
	}
	return c
}

func (d *decoder) hint(n *node) (Hint, bool) {
	f, ok := d.fields(n, "a hint", "when", "en", "zh")
	if !ok {
		return Hint{}, false
	}
	h := Hint{Text: d.languages(f, maxProse)}
	h.text = d.rendered(n, h.Text, false)
	if w := f.get("when"); w != nil {
		h.when = d.compile(w, f.text(w, "when", maxExpression), wantBool, false)
	}
	return h, true
}

func (d *decoder) predict(n *node) *Predict {
	if n == nil {
		return nil
	}
	f, ok := d.fields(n, "predict", "question", "choices", "node")
	if !ok {
		return nil
	}
	p := &Predict{}
	if q := f.need("question"); q != nil {
		p.Question, p.question = d.prose(q, "question", false)
	}
	choices, node := f.get("choices"), f.get("node")
	switch {
	case choices != nil && node != nil:
		d.fail(node, "predict has choices or a node, not both")
	case node != nil:
		p.Node = d.nodePrediction(node)
	case choices != nil:
		d.choices(p, f)
	default:
		d.fail(n, "predict has neither choices nor a node")
	}
	return p
}

func (d *decoder) choices(p *Predict, f fields) {
	right := 0
	for _, n := range f.list("choices", 8) {
		c, ok := d.choice(n)
		if !ok {
			continue
		}
		if slices.ContainsFunc(p.Choices, func(o Choice) bool { return o.ID == c.ID }) {
			d.fail(n, "choice %q stands twice", c.ID)
		}
		if c.Right {
			right++
		}
		p.Choices = append(p.Choices, c)
	}
	if len(p.Choices) < 2 {
		d.fail(f.get("choices"), "a question needs two choices or more")
		return
	}
	if right != 1 {
		d.fail(f.get("choices"), "%d choices are right; exactly one must be", right)
	}
}

func (d *decoder) choice(n *node) (Choice, bool) {
	f, ok := d.fields(n, "a choice", "id", "text", "why", "right")
	if !ok {
		return Choice{}, false
	}
	c := Choice{ID: d.id(f), Right: f.flag("right")}
	if t := f.need("text"); t != nil {
		c.Text, c.text = d.prose(t, "text", true)
	}
	if w := f.get("why"); w != nil {
		c.Why, c.why = d.prose(w, "why", false)
	} else if !c.Right {
		d.fail(n, "choice %q is wrong and has no why", c.ID)
	}
	return c, true
}

func (d *decoder) nodePrediction(n *node) *NodePrediction {
	f, ok := d.fields(n, "node", "right", "wrong", "otherwise", "why")
	if !ok {
		return nil
	}
	if d.words.item == nil {
		d.fail(n, "there is no fact %s to ask for a node of", itemsFact)
		return nil
	}
	if d.lab.Stage == nil {
		d.fail(n, "a node is clicked on the stage, and the lab has none")
	} else if d.lab.Stage.View != "epoll" {
		d.fail(n, "a node is clicked in a tree, and the stage shows a ring; ask with choices")
	}
	p := &NodePrediction{}
	if r := f.need("right"); r != nil {
		p.right = d.compile(r, f.text(r, "right", maxExpression), wantBool, true)
	}
	for _, w := range f.list("wrong", 16) {
		wf, ok := d.fields(w, "a wrong node", "when", "en", "zh")
		if !ok {
			continue
		}
		answer := wrongNode{why: d.rendered(w, d.languages(wf, maxProse), false)}
		if when := wf.need("when"); when != nil {
			answer.when = d.compile(when, wf.text(when, "when", maxExpression), wantBool, true)
		}
		p.wrong = append(p.wrong, answer)
	}
	if o := f.need("otherwise"); o != nil {
		_, p.otherwise = d.prose(o, "otherwise", false)
	}
	if w := f.get("why"); w != nil {
		_, p.why = d.prose(w, "why", false)
	}
	return p
}

// moveKeys are the keys of which a move has one; {workload, do} counts as do.
var moveKeys = []string{"do", "run", "build", "kill", "wait"}

func (d *decoder) move(n *node) (Move, bool) {
	f, ok := d.fields(n, "a move of solve", "do", "workload", "run", "build", "kill", "wait", "within")
	if !ok {
		return Move{}, false
	}
	key := ""
	for _, k := range moveKeys {
		if f.get(k) == nil {
			continue
		}
		if key != "" {
			d.fail(f.get(k), "a move does one thing; this one has %s and %s", key, k)
			return Move{}, false
		}
		key = k
	}
	switch {
	case key == "":
		d.fail(n, "a move needs one of do, run, build, kill, wait")
		return Move{}, false
	case key != "do" && f.get("workload") != nil:
		d.fail(f.get("workload"), "workload goes with do only")
	case key != "wait" && f.get("within") != nil:
		d.fail(f.get("within"), "within goes with wait only")
	}
	m := Move{Kind: key}
	v := f.get(key)
	switch key {
	case "do":
		if f.get("workload") == nil && v.kind != mapping {
			m.Action = d.actionName(f, v, "do")
			return m, true
		}
		m.Kind = MoveWorkload
		m.Workload, m.Do, m.do = d.doing(f)
	case "run":
		m.Command, m.command = d.command(f, "run")
	case "build":
		m.Build = f.oneOf("build", "solution")
		d.needCode(v, "build")
	case "kill":
		if !f.flag("kill") {
			d.fail(v, "kill must be true")
		}
		d.needCode(v, "kill")
	case "wait":
		m.Wait = f.text(v, "wait", maxExpression)
		m.wait = d.compile(v, m.Wait, wantBool, false)
		if m.Within = d.within(f); m.Within == 0 && f.get("within") == nil {
			m.Within = defaultWait
		}
	}
	return m, true
}
