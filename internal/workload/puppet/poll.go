package puppet

import (
	"strconv"
	"syscall"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// leavePoll logs a poll of one fd. Held: p.mu.
func (p *Puppet) leavePoll(e entered, c *call, n int, errno syscall.Errno, fds []unix.PollFd, left string) bool {
	if errno != 0 || n == 0 {
		result := "= 0 (Timeout)"
		if errno != 0 {
			result = "= -1 " + control.ErrnoText(errno)
		}
		p.leaveAs(e, c.end(), result, errno == 0, "")
		return false
	}
	revents := appendPollMask(nil, fds[0].Revents)
	result := "= " + strconv.Itoa(n) + " ([{fd=" + strconv.Itoa(int(fds[0].Fd)) + ", revents=" + string(revents) + "}]" + left + ")"
	p.leaveAs(e, c.end(), result, true, "")
	return fds[0].Revents&fds[0].Events != 0
}

// appendPollMask prints what the puppet polls for and what that can return.
func appendPollMask(b []byte, mask int16) []byte {
	sep := ""
	for _, n := range [...]name{
		{unix.POLLIN, "POLLIN"}, {unix.POLLERR, "POLLERR"}, {unix.POLLHUP, "POLLHUP"}, {unix.POLLNVAL, "POLLNVAL"},
		{unix.POLLRDHUP, "POLLRDHUP"},
	} {
		if uint32(mask)&n.value != 0 {
			b = append(append(b, sep...), n.text...)
			sep = "|"
		}
	}
	return b
}
