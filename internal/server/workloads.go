package server

type workloads struct{}

func (*workloads) detach(*client) {}

func (h *hub) handleWorkload(c *client, msg control) {
	var ref int64
	switch m := msg.(type) {
	case *startMessage:
		ref = m.Ref
	case *attachMessage:
		ref = m.Ref
	case *doMessage:
		ref = m.Ref
	case *stopMessage:
		ref = m.Ref
	}
	if c.scope != scopeLearner {
		c.refuse(ref, "", problemf(CodeForbidden, "", "viewers can look, not drive"))
		return
	}
	c.refuse(ref, "", problemf(CodeDisabled, "", "workloads are switched off"))
}
