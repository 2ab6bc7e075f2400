package workload

import "kernelviz/internal/iouring"

// cqHeadOffset is where this kernel puts cq.head in the mapping of a ring.
func cqHeadOffset() (uint32, error) {
	var p iouring.Params
	r, err := iouring.Setup(8, &p)
	if err != nil {
		return 0, err
	}
	return r.Params().CQOff.Head, r.Close()
}
