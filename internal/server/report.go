package server

import (
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
)

// Report is what this machine can show and why: the hello message, the doctor
// and the page's first screen.
type Report struct {
	Version      string              `json:"version"`
	Kernel       kernel.Host         `json:"kernel"`
	Capabilities []kernel.Capability `json:"capabilities"`
	Views        []ViewReport        `json:"views"`
}

// ViewReport is one view with its ways to read the kernel, best first.
type ViewReport struct {
	Name  string           `json:"name"`
	Kind  kernelviz.Kind   `json:"kind"`
	Tiers []kernelviz.Tier `json:"tiers"`
}

// NewReport asks the views for their tiers.
func NewReport(version string, info *kernel.Info, views []kernelviz.View) Report {
	r := Report{Version: version, Kernel: info.Host, Capabilities: info.Capabilities, Views: []ViewReport{}}
	for _, v := range views {
		r.Views = append(r.Views, ViewReport{v.Name(), v.Kind(), v.Tiers()})
	}
	return r
}
