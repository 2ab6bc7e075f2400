package iouring

import (
	"strconv"
	"strings"
)

var opNames = [opLast]string{
	"NOP", "READV", "WRITEV", "FSYNC", "READ_FIXED", "WRITE_FIXED", "POLL_ADD", "POLL_REMOVE", "SYNC_FILE_RANGE",
	"SENDMSG", "RECVMSG", "TIMEOUT", "TIMEOUT_REMOVE", "ACCEPT", "ASYNC_CANCEL", "LINK_TIMEOUT", "CONNECT",
	"FALLOCATE", "OPENAT", "CLOSE", "FILES_UPDATE", "STATX", "READ", "WRITE", "FADVISE", "MADVISE", "SEND", "RECV",
	"OPENAT2", "EPOLL_CTL", "SPLICE", "PROVIDE_BUFFERS", "REMOVE_BUFFERS", "TEE", "SHUTDOWN", "RENAMEAT", "UNLINKAT",
	"MKDIRAT", "SYMLINKAT", "LINKAT", "MSG_RING", "FSETXATTR", "SETXATTR", "FGETXATTR", "GETXATTR", "SOCKET",
	"URING_CMD", "SEND_ZC", "SENDMSG_ZC", "READ_MULTISHOT", "WAITID", "FUTEX_WAIT", "FUTEX_WAKE", "FUTEX_WAITV",
	"FIXED_FD_INSTALL", "FTRUNCATE", "BIND", "LISTEN", "RECV_ZC", "EPOLL_WAIT", "READV_FIXED", "WRITEV_FIXED", "PIPE",
	"NOP128", "URING_CMD128",
}

const opPrefix = "IORING_OP_"

// OpName is the operation's name in the kernel's header, "IORING_OP_READ", or
// its number in hex.
func OpName(op uint8) string {
	if op >= opLast {
		return hex(uint32(op))
	}
	return opPrefix + opNames[op]
}

// OpShort is OpName without the prefix.
func OpShort(op uint8) string {
	if op >= opLast {
		return hex(uint32(op))
	}
	return opNames[op]
}

// bits names the bits of a word from the lowest up; "" has no name.
type bits struct {
	prefix string
	names  []string
}

var (
	setupBits = bits{"IORING_SETUP_", []string{
		"IOPOLL", "SQPOLL", "SQ_AFF", "CQSIZE", "CLAMP", "ATTACH_WQ", "R_DISABLED", "SUBMIT_ALL", "COOP_TASKRUN",
		"TASKRUN_FLAG", "SQE128", "CQE32", "SINGLE_ISSUER", "DEFER_TASKRUN", "NO_MMAP", "REGISTERED_FD_ONLY",
		"NO_SQARRAY", "HYBRID_IOPOLL", "CQE_MIXED", "SQE_MIXED", "SQ_REWIND",
	}}
	featureBits = bits{"IORING_FEAT_", []string{
		"SINGLE_MMAP", "NODROP", "SUBMIT_STABLE", "RW_CUR_POS", "CUR_PERSONALITY", "FAST_POLL", "POLL_32BITS",
		"SQPOLL_NONFIXED", "EXT_ARG", "NATIVE_WORKERS", "RSRC_TAGS", "CQE_SKIP", "LINKED_FILE", "REG_REG_RING",
		"RECVSEND_BUNDLE", "MIN_TIMEOUT", "RW_ATTR", "NO_IOWAIT",
	}}
	sqeBits = bits{"IOSQE_", []string{
		"FIXED_FILE", "IO_DRAIN", "IO_LINK", "IO_HARDLINK", "ASYNC", "BUFFER_SELECT", "CQE_SKIP_SUCCESS",
	}}
	cqeBits = bits{"IORING_CQE_F_", []string{
		"BUFFER", "MORE", "SOCK_NONEMPTY", "NOTIF", "BUF_MORE", "SKIP", "", "", "", "", "", "", "", "", "", "32",
	}}
	sqBits    = bits{"IORING_SQ_", []string{"NEED_WAKEUP", "CQ_OVERFLOW", "TASKRUN"}}
	enterBits = bits{"IORING_ENTER_", []string{
		"GETEVENTS", "SQ_WAKEUP", "SQ_WAIT", "EXT_ARG", "REGISTERED_RING", "ABS_TIMER", "EXT_ARG_REG", "NO_IOWAIT",
	}}
)

// join names the bits as strace does: "A|B", "A|0x80" with one that has no
// name, "0" for none.
func (b bits) join(v uint32) string {
	if v == 0 {
		return "0"
	}
	var s strings.Builder
	for i, name := range b.names {
		if name == "" || v&(1<<i) == 0 {
			continue
		}
		if s.Len() > 0 {
			s.WriteByte('|')
		}
		s.WriteString(b.prefix)
		s.WriteString(name)
		v &^= 1 << i
	}
	if v == 0 {
		return s.String()
	}
	if s.Len() > 0 {
		s.WriteByte('|')
	}
	s.WriteString(hex(v))
	return s.String()
}

func (b bits) find(name string) (uint32, bool) {
	name = strings.TrimPrefix(name, b.prefix)
	for i, n := range b.names {
		if n == name && n != "" {
			return 1 << i, true
		}
	}
	return 0, false
}

// SetupNames is "IORING_SETUP_SQPOLL|IORING_SETUP_CQSIZE", "0" for none; what
// has no name is in hex. The other names below are alike.
func SetupNames(flags uint32) string { return setupBits.join(flags) }

// SetupFlag is the bit of a name of SetupNames, with or without its prefix.
func SetupFlag(name string) (uint32, bool) { return setupBits.find(name) }

// SetupList is the flags' names one by one, without the prefix; nil for none.
func SetupList(flags uint32) []string {
	if flags == 0 {
		return nil
	}
	names := strings.Split(setupBits.join(flags), "|")
	for i, n := range names {
		names[i] = strings.TrimPrefix(n, setupBits.prefix)
	}
	return names
}

// SQEFlagNames names IOSQE_*.
func SQEFlagNames(flags uint8) string { return sqeBits.join(uint32(flags)) }

// CQEFlagNames names IORING_CQE_F_*. The upper half, the id of a buffer, is
// left out if IORING_CQE_F_BUFFER is set.
func CQEFlagNames(flags uint32) string {
	if flags&CQEFBuffer != 0 {
		flags &= 1<<CQEBufferShift - 1
	}
	return cqeBits.join(flags)
}

// FeatureNames names IORING_FEAT_*.
func FeatureNames(features uint32) string { return featureBits.join(features) }

// SQFlagNames names IORING_SQ_*.
func SQFlagNames(flags uint32) string { return sqBits.join(flags) }

// EnterNames names IORING_ENTER_*.
func EnterNames(flags uint32) string { return enterBits.join(flags) }

var registerNames = [...]string{
	"REGISTER_BUFFERS", "UNREGISTER_BUFFERS", "REGISTER_FILES", "UNREGISTER_FILES", "REGISTER_EVENTFD",
	"UNREGISTER_EVENTFD", "REGISTER_FILES_UPDATE", "REGISTER_EVENTFD_ASYNC", "REGISTER_PROBE",
	"REGISTER_PERSONALITY", "UNREGISTER_PERSONALITY", "REGISTER_RESTRICTIONS", "REGISTER_ENABLE_RINGS",
	"REGISTER_FILES2", "REGISTER_FILES_UPDATE2", "REGISTER_BUFFERS2", "REGISTER_BUFFERS_UPDATE",
	"REGISTER_IOWQ_AFF", "UNREGISTER_IOWQ_AFF", "REGISTER_IOWQ_MAX_WORKERS", "REGISTER_RING_FDS",
	"UNREGISTER_RING_FDS", "REGISTER_PBUF_RING", "UNREGISTER_PBUF_RING", "REGISTER_SYNC_CANCEL",
	"REGISTER_FILE_ALLOC_RANGE", "REGISTER_PBUF_STATUS", "REGISTER_NAPI", "UNREGISTER_NAPI", "REGISTER_CLOCK",
	"REGISTER_CLONE_BUFFERS", "REGISTER_SEND_MSG_RING", "REGISTER_ZCRX_IFQ", "REGISTER_RESIZE_RINGS",
	"REGISTER_MEM_REGION", "REGISTER_QUERY",
}

// RegisterName is the operation of io_uring_register, "IORING_REGISTER_FILES".
func RegisterName(op uint32) string {
	if op >= uint32(len(registerNames)) {
		return hex(op)
	}
	return "IORING_" + registerNames[op]
}

func hex(v uint32) string { return "0x" + strconv.FormatUint(uint64(v), 16) }
