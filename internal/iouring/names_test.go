package iouring

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		OpName(OpRead):                                  "IORING_OP_READ",
		OpShort(OpSendZC):                               "SEND_ZC",
		OpName(0x7f):                                    "0x7f",
		OpShort(0xff):                                   "0xff",
		OpName(opLast - 1):                              "IORING_OP_URING_CMD128",
		SetupNames(0):                                   "0",
		SetupNames(SetupSQPoll | SetupCQSize):           "IORING_SETUP_SQPOLL|IORING_SETUP_CQSIZE",
		SetupNames(SetupSQRewind | 1<<31):               "IORING_SETUP_SQ_REWIND|0x80000000",
		SetupNames(1 << 30):                             "0x40000000",
		SQEFlagNames(FlagLink | FlagCQESkipSuccess):     "IOSQE_IO_LINK|IOSQE_CQE_SKIP_SUCCESS",
		CQEFlagNames(CQEFBuffer | CQEFMore | 7<<16):     "IORING_CQE_F_BUFFER|IORING_CQE_F_MORE",
		CQEFlagNames(CQEF32 | 1<<6):                     "IORING_CQE_F_32|0x40",
		SQFlagNames(SQNeedWakeup | SQTaskrun):           "IORING_SQ_NEED_WAKEUP|IORING_SQ_TASKRUN",
		FeatureNames(FeatNodrop):                        "IORING_FEAT_NODROP",
		EnterNames(EnterGetevents | EnterSQWakeup):      "IORING_ENTER_GETEVENTS|IORING_ENTER_SQ_WAKEUP",
		RegisterName(UnregisterPbufRing):                "IORING_UNREGISTER_PBUF_RING",
		strings.Join(SetupList(SetupSQPoll|1<<30), " "): "SQPOLL 0x40000000",
	} {
		if got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	for _, name := range []string{"SQPOLL", "IORING_SETUP_SQPOLL"} {
		if f, ok := SetupFlag(name); f != SetupSQPoll || !ok {
			t.Errorf("%s: %#x %v", name, f, ok)
		}
	}
	for _, name := range []string{"", "sqpoll", "IORING_SETUP_", "IORING_FEAT_NODROP"} {
		if f, ok := SetupFlag(name); ok {
			t.Errorf("%q is %#x", name, f)
		}
	}
}

// TestHeader compares with the machine's header, which may be older than this
// package: every name that it has must have the same value here.
func TestHeader(t *testing.T) {
	text, err := os.ReadFile("/usr/include/linux/io_uring.h")
	if err != nil {
		t.Skipf("host only: needs the headers of Linux: %v", err)
	}
	header := string(text)
	ops := regexp.MustCompile(`(?s)enum io_uring_op \{(.*?)IORING_OP_LAST`).FindStringSubmatch(header)
	if ops == nil {
		t.Fatal("no enum io_uring_op")
	}
	names := regexp.MustCompile(`\bIORING_OP_\w+`).FindAllString(ops[1], -1)
	if len(names) < 40 {
		t.Fatalf("only %d operations", len(names))
	}
	for i, name := range names {
		if got := OpName(uint8(i)); got != name {
			t.Errorf("operation %d is %s, not %s", i, name, got)
		}
	}
	sets := map[string]bits{}
	for _, b := range []bits{setupBits, featureBits, cqeBits, sqBits, enterBits} {
		sets[b.prefix] = b
	}
	seen := 0
	for _, m := range regexp.MustCompile(`#define\s+(IORING_(?:SETUP|FEAT|CQE_F|SQ|ENTER)_)(\w+)\s+\(1U << (\d+)\)`).FindAllStringSubmatch(header, -1) {
		bit, _ := strconv.Atoi(m[3])
		seen++
		if v, ok := sets[m[1]].find(m[2]); !ok || v != 1<<bit {
			t.Errorf("%s%s is %#x here, not bit %d", m[1], m[2], v, bit)
		}
	}
	if seen < 35 {
		t.Errorf("only %d flags found", seen)
	}
	for i, name := range regexp.MustCompile(`\bIOSQE_(\w+)_BIT,`).FindAllStringSubmatch(header, -1) {
		if v, ok := sqeBits.find(name[1]); !ok || v != 1<<i {
			t.Errorf("IOSQE_%s is %#x here, not bit %d", name[1], v, i)
		}
	}
	for _, m := range regexp.MustCompile(`\b(IORING_(?:UN)?REGISTER_\w+)\s*=\s*(\d+)`).FindAllStringSubmatch(header, -1) {
		n, _ := strconv.Atoi(m[2])
		if got := RegisterName(uint32(n)); got != m[1] {
			t.Errorf("operation %d of io_uring_register is %s, not %s", n, m[1], got)
		}
	}
}
