package server

type workloads struct{}

func (*workloads) list() []byte                      { return nil }
func (*workloads) detach(*client)                    {}
func (h *hub) handleWorkload(c *client, msg control) {}
