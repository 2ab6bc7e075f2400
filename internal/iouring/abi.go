package iouring

import "unsafe"

// Params is struct io_uring_params, 120 bytes: told to io_uring_setup and
// filled in by it.
type Params struct {
	SQEntries    uint32
	CQEntries    uint32 // with SetupCQSize asked for, else only answered
	Flags        uint32 // Setup*
	SQThreadCPU  uint32 // with SetupSQAff
	SQThreadIdle uint32 // ms that the thread of SetupSQPoll spins before it sleeps; 0 is one second
	Features     uint32 // Feat*, answered
	WQFD         uint32 // with SetupAttachWQ: the ring whose workers are shared
	Resv         [3]uint32
	SQOff        SQOffsets
	CQOff        CQOffsets
}

// SQOffsets is struct io_sqring_offsets: where the words of the submission
// queue lie in the mapping at OffSQRing. No kernel promises a fixed value.
type SQOffsets struct {
	Head, Tail, RingMask, RingEntries, Flags, Dropped uint32
	Array                                             uint32 // of uint32; none with SetupNoSQArray
	Resv1                                             uint32
	UserAddr                                          uint64 // with SetupNoMmap: memory for the SQEs
}

// CQOffsets is struct io_cqring_offsets, in the mapping at OffCQRing (at
// OffSQRing with FeatSingleMmap).
type CQOffsets struct {
	Head, Tail, RingMask, RingEntries, Overflow uint32
	CQEs                                        uint32 // of CQE, twice as far apart with SetupCQE32
	Flags                                       uint32
	Resv1                                       uint32
	UserAddr                                    uint64 // with SetupNoMmap: memory for both rings
}

// SQE is struct io_uring_sqe, 64 bytes. Where the C struct has a union, the
// field has the name that most requests give it.
type SQE struct {
	Op       uint8  // Op*
	Flags    uint8  // Flag*
	IOPrio   uint16 // flags of accept, send and receive: AcceptMultishot, RecvMultishot, …
	FD       int32
	Off      uint64 // off, addr2
	Addr     uint64 // addr, splice_off_in
	Len      uint32 // of POLL_ADD its Poll* flags
	OpFlags  uint32 // rw_flags, poll32_events, timeout_flags, msg_flags, cancel_flags, …
	UserData uint64 // comes back in the CQE
	BufIndex uint16 // buf_index, buf_group
	// Personality is the id of registered credentials, 0 those of the submitter.
	Personality uint16
	SpliceFD    int32 // splice_fd_in, file_index
	Addr3       uint64
	Pad         uint64
}

// CQE is struct io_uring_cqe, 16 bytes.
type CQE struct {
	UserData uint64
	Res      int32  // result, or -errno
	Flags    uint32 // CQEF*; the buffer's id in the upper 16 bits with CQEFBuffer
}

// Buffer is the id of the provided buffer that was chosen, if one was.
func (c CQE) Buffer() (id uint16, ok bool) {
	return uint16(c.Flags >> CQEBufferShift), c.Flags&CQEFBuffer != 0
}

// More reports whether the same request will post further CQEs.
func (c CQE) More() bool { return c.Flags&CQEFMore != 0 }

// Buf is struct io_uring_buf, 16 bytes: a provided buffer. The tail of its
// ring lies over Resv of the first.
type Buf struct {
	Addr uint64
	Len  uint32
	ID   uint16
	Resv uint16
}

// Timespec is struct __kernel_timespec, which TIMEOUT and LINK_TIMEOUT point to.
type Timespec struct{ Sec, Nsec int64 }

// Sizes of the structs, in bytes.
const (
	SQESize = 64
	CQESize = 16
)

// The compiler refuses a struct that is not of the kernel's size.
var (
	_ [120 - unsafe.Sizeof(Params{})]byte
	_ [unsafe.Sizeof(Params{}) - 120]byte
	_ [SQESize - unsafe.Sizeof(SQE{})]byte
	_ [unsafe.Sizeof(SQE{}) - SQESize]byte
	_ [CQESize - unsafe.Sizeof(CQE{})]byte
	_ [unsafe.Sizeof(CQE{}) - CQESize]byte
	_ [16 - unsafe.Sizeof(Buf{})]byte
	_ [unsafe.Sizeof(Buf{}) - 16]byte
)

// Operations: enum io_uring_op.
const (
	OpNOP uint8 = iota
	OpReadv
	OpWritev
	OpFsync
	OpReadFixed
	OpWriteFixed
	OpPollAdd
	OpPollRemove
	OpSyncFileRange
	OpSendmsg
	OpRecvmsg
	OpTimeout
	OpTimeoutRemove
	OpAccept
	OpAsyncCancel
	OpLinkTimeout
	OpConnect
	OpFallocate
	OpOpenat
	OpClose
	OpFilesUpdate
	OpStatx
	OpRead
	OpWrite
	OpFadvise
	OpMadvise
	OpSend
	OpRecv
	OpOpenat2
	OpEpollCtl
	OpSplice
	OpProvideBuffers
	OpRemoveBuffers
	OpTee
	OpShutdown
	OpRenameat
	OpUnlinkat
	OpMkdirat
	OpSymlinkat
	OpLinkat
	OpMsgRing
	OpFsetxattr
	OpSetxattr
	OpFgetxattr
	OpGetxattr
	OpSocket
	OpUringCmd
	OpSendZC
	OpSendmsgZC
	OpReadMultishot
	OpWaitid
	OpFutexWait
	OpFutexWake
	OpFutexWaitv
	OpFixedFDInstall
	OpFtruncate
	OpBind
	OpListen
	OpRecvZC
	OpEpollWait
	OpReadvFixed
	OpWritevFixed
	OpPipe
	OpNOP128
	OpUringCmd128

	opLast
)

// Flags of an SQE: IOSQE_*.
const (
	FlagFixedFile      uint8 = 1 << iota // FD is a slot of the registered files
	FlagIODrain                          // waits for all before it
	FlagIOLink                           // the next waits for it
	FlagIOHardlink                       // as link, but goes on after an error
	FlagAsync                            // straight to io-wq
	FlagBufferSelect                     // takes a buffer of the group BufIndex
	FlagCQESkipSuccess                   // posts a CQE only if it fails
)

// Short names of the same.
const (
	FlagLink     = FlagIOLink
	FlagHardlink = FlagIOHardlink
	FlagDrain    = FlagIODrain
)

// IORING_SETUP_*.
const (
	SetupIOPoll uint32 = 1 << iota
	SetupSQPoll
	SetupSQAff
	SetupCQSize
	SetupClamp
	SetupAttachWQ
	SetupRDisabled
	SetupSubmitAll
	SetupCoopTaskrun
	SetupTaskrunFlag
	SetupSQE128
	SetupCQE32
	SetupSingleIssuer // the thread that made the ring must submit: runtime.LockOSThread is the caller's part
	SetupDeferTaskrun
	SetupNoMmap
	SetupRegisteredFDOnly
	SetupNoSQArray
	SetupHybridIOPoll
	SetupCQEMixed
	SetupSQEMixed
	SetupSQRewind
)

// IORING_FEAT_*.
const (
	FeatSingleMmap uint32 = 1 << iota
	FeatNodrop
	FeatSubmitStable
	FeatRWCurPos
	FeatCurPersonality
	FeatFastPoll
	FeatPoll32Bits
	FeatSQPollNonfixed
	FeatExtArg
	FeatNativeWorkers
	FeatRsrcTags
	FeatCQESkip
	FeatLinkedFile
	FeatRegRegRing
	FeatRecvsendBundle
	FeatMinTimeout
	FeatRWAttr
	FeatNoIOWait
)

// Flags of a CQE: IORING_CQE_F_*.
const (
	CQEFBuffer       uint32 = 1 << 0 // the upper 16 bits are the id of a provided buffer
	CQEFMore         uint32 = 1 << 1 // the same request will post more
	CQEFSockNonempty uint32 = 1 << 2
	CQEFNotif        uint32 = 1 << 3 // SEND_ZC is done with the memory
	CQEFBufMore      uint32 = 1 << 4
	CQEFSkip         uint32 = 1 << 5
	CQEF32           uint32 = 1 << 15

	CQEBufferShift = 16
)

// Bits of the submission queue's flags word: IORING_SQ_*.
const (
	SQNeedWakeup uint32 = 1 << 0 // the SQPOLL thread sleeps
	SQCQOverflow uint32 = 1 << 1 // completions wait in the kernel for room in the CQ
	SQTaskrun    uint32 = 1 << 2 // completions wait for the owner to enter the kernel
)

// CQEventfdDisabled is the bit of the completion queue's flags word.
const CQEventfdDisabled uint32 = 1 << 0

// IORING_ENTER_*.
const (
	EnterGetevents uint32 = 1 << iota
	EnterSQWakeup
	EnterSQWait
	EnterExtArg
	EnterRegisteredRing
	EnterAbsTimer
	EnterExtArgReg
	EnterNoIOWait
)

// IORING_REGISTER_* and IORING_UNREGISTER_*.
const (
	RegisterBuffers uint32 = iota
	UnregisterBuffers
	RegisterFiles
	UnregisterFiles
	RegisterEventfd
	UnregisterEventfd
	RegisterFilesUpdate
	RegisterEventfdAsync
	RegisterProbe
	RegisterPersonality
	UnregisterPersonality
	RegisterRestrictions
	RegisterEnableRings
	RegisterFiles2
	RegisterFilesUpdate2
	RegisterBuffers2
	RegisterBuffersUpdate
	RegisterIOWQAff
	UnregisterIOWQAff
	RegisterIOWQMaxWorkers
	RegisterRingFDs
	UnregisterRingFDs
	RegisterPbufRing
	UnregisterPbufRing
	RegisterSyncCancel
	RegisterFileAllocRange
	RegisterPbufStatus
	RegisterNAPI
	UnregisterNAPI
	RegisterClock
	RegisterCloneBuffers
	RegisterSendMsgRing
	RegisterZcrxIfq
	RegisterResizeRings
	RegisterMemRegion
	RegisterQuery
)

// Offsets for mmap of a ring's fd: IORING_OFF_*.
const (
	OffSQRing   uint64 = 0
	OffCQRing   uint64 = 0x8000000
	OffSQEs     uint64 = 0x10000000
	OffPbufRing uint64 = 0x80000000
)

// Bits of IOPrio.
const (
	AcceptMultishot uint16 = 1 << 0
	AcceptDontwait  uint16 = 1 << 1
	AcceptPollFirst uint16 = 1 << 2

	RecvsendPollFirst uint16 = 1 << 0
	RecvMultishot     uint16 = 1 << 1
	RecvsendFixedBuf  uint16 = 1 << 2 // SEND_ZC: BufIndex is a registered buffer
	SendZCReportUsage uint16 = 1 << 3
	RecvsendBundle    uint16 = 1 << 4
)

// NotifUsageZCCopied is the bit of Res of a CQE with CQEFNotif that says that
// the data was copied after all, if SendZCReportUsage asked.
const NotifUsageZCCopied uint32 = 1 << 31

// Poll flags, which POLL_ADD has in Len.
const (
	PollAddMulti       uint32 = 1 << 0
	PollUpdateEvents   uint32 = 1 << 1
	PollUpdateUserData uint32 = 1 << 2
	PollAddLevel       uint32 = 1 << 3
)

// Timeout flags.
const (
	TimeoutAbs          uint32 = 1 << 0
	TimeoutUpdate       uint32 = 1 << 1
	TimeoutBoottime     uint32 = 1 << 2
	TimeoutRealtime     uint32 = 1 << 3
	LinkTimeoutUpdate   uint32 = 1 << 4
	TimeoutETimeSuccess uint32 = 1 << 5
	TimeoutMultishot    uint32 = 1 << 6
)

// Cancel flags.
const (
	AsyncCancelAll      uint32 = 1 << 0
	AsyncCancelFD       uint32 = 1 << 1
	AsyncCancelAny      uint32 = 1 << 2
	AsyncCancelFDFixed  uint32 = 1 << 3
	AsyncCancelUserdata uint32 = 1 << 4
	AsyncCancelOp       uint32 = 1 << 5
)

// MaxEntries of the submission queue (IORING_MAX_ENTRIES); the completion queue
// may have twice as many.
const MaxEntries = 32768
