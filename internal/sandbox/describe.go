package sandbox

import "kernelviz/internal/kernelviz"

// Description tells what the sandbox can do on this machine, for doctor.
type Description struct {
	Tiers    []kernelviz.Tier `json:"tiers"`    // how children are kept together, best first
	Limits   []Limit          `json:"limits"`   // how each limit is enforced
	Guardian bool             `json:"guardian"` // a guardian cleans up after a killed server
}

// Describe tells what the sandbox can do on this machine.
func (s *Sandbox) Describe() Description {
	_, cgroups := s.pen.(*cgroupPen)
	group := kernelviz.Tier{
		Name:   "process-group",
		Label:  "process group and a mark in the environment",
		Chosen: !cgroups,
		Reason: "not needed: cgroups work",
	}
	if !cgroups {
		group.Reason = "a child that leaves its group and cleans its environment escapes"
	}
	return Description{
		Tiers: []kernelviz.Tier{
			{Name: "cgroup", Label: "cgroup v2, killed as one", Chosen: cgroups, Reason: s.reason, Fix: s.fix},
			group,
		},
		Limits:   s.limits,
		Guardian: s.guardian != nil,
	}
}
