// Names of include/uapi/linux/io_uring.h, and SQEs and CQEs as strace prints them.
import type { CQE, SQE } from "../wire/uring";
import { OP_UNKNOWN } from "../wire/uring";

const OPS =
  `NOP READV WRITEV FSYNC READ_FIXED WRITE_FIXED POLL_ADD POLL_REMOVE SYNC_FILE_RANGE SENDMSG RECVMSG TIMEOUT
  TIMEOUT_REMOVE ACCEPT ASYNC_CANCEL LINK_TIMEOUT CONNECT FALLOCATE OPENAT CLOSE FILES_UPDATE STATX READ WRITE FADVISE
  MADVISE SEND RECV OPENAT2 EPOLL_CTL SPLICE PROVIDE_BUFFERS REMOVE_BUFFERS TEE SHUTDOWN RENAMEAT UNLINKAT MKDIRAT
  SYMLINKAT LINKAT MSG_RING FSETXATTR SETXATTR FGETXATTR GETXATTR SOCKET URING_CMD SEND_ZC SENDMSG_ZC READ_MULTISHOT
  WAITID FUTEX_WAIT FUTEX_WAKE FUTEX_WAITV FIXED_FD_INSTALL FTRUNCATE BIND LISTEN RECV_ZC EPOLL_WAIT READV_FIXED
  WRITEV_FIXED PIPE NOP128 URING_CMD128`.split(/\s+/);

/** "READ"; "op 99" for one that this page has no name for, "?" where it is not known. */
export function opShort(op: number): string {
  if (op === OP_UNKNOWN) return "?";
  return OPS[op] ?? `op ${op}`;
}

/** "IORING_OP_READ", as in the header. */
export function opName(op: number): string {
  const name = OPS[op];
  return name === undefined ? `0x${op.toString(16)} /* IORING_OP_??? */` : `IORING_OP_${name}`;
}

/** Names of IORING_SETUP_* by bit. */
export const SETUP_FLAGS = [
  "IOPOLL",
  "SQPOLL",
  "SQ_AFF",
  "CQSIZE",
  "CLAMP",
  "ATTACH_WQ",
  "R_DISABLED",
  "SUBMIT_ALL",
  "COOP_TASKRUN",
  "TASKRUN_FLAG",
  "SQE128",
  "CQE32",
  "SINGLE_ISSUER",
  "DEFER_TASKRUN",
  "NO_MMAP",
  "REGISTERED_FD_ONLY",
  "NO_SQARRAY",
  "HYBRID_IOPOLL",
  "CQE_MIXED",
  "SQE_MIXED",
  "SQ_REWIND",
] as const;
export type SetupFlag = (typeof SETUP_FLAGS)[number];

/** Names of IORING_FEAT_* by bit. */
export const FEATURES = [
  "SINGLE_MMAP",
  "NODROP",
  "SUBMIT_STABLE",
  "RW_CUR_POS",
  "CUR_PERSONALITY",
  "FAST_POLL",
  "POLL_32BITS",
  "SQPOLL_NONFIXED",
  "EXT_ARG",
  "NATIVE_WORKERS",
  "RSRC_TAGS",
  "CQE_SKIP",
  "LINKED_FILE",
  "REG_REG_RING",
  "RECVSEND_BUNDLE",
  "MIN_TIMEOUT",
  "RW_ATTR",
  "NO_IOWAIT",
] as const;
export type Feature = (typeof FEATURES)[number];

/** Names of IOSQE_* by bit. */
export const SQE_FLAGS = [
  "FIXED_FILE",
  "IO_DRAIN",
  "IO_LINK",
  "IO_HARDLINK",
  "ASYNC",
  "BUFFER_SELECT",
  "CQE_SKIP_SUCCESS",
] as const;

const CQE_FLAGS: readonly (readonly [number, string])[] = [
  [1 << 0, "BUFFER"],
  [1 << 1, "MORE"],
  [1 << 2, "SOCK_NONEMPTY"],
  [1 << 3, "NOTIF"],
  [1 << 4, "BUF_MORE"],
  [1 << 5, "SKIP"],
  [1 << 15, "32"],
];

/** Bits of SQE.flags and CQE.flags that the picture itself reads. */
export const IOSQE_IO_LINK = 1 << 2;
export const IOSQE_IO_HARDLINK = 1 << 3;
export const CQE_F_BUFFER = 1 << 0;
export const CQE_F_MORE = 1 << 1;
export const CQE_F_NOTIF = 1 << 3;

/** The names of the bits that are set; those without one come last, as one "0x…". */
export function bitNames<T extends string>(mask: number, names: readonly T[]): (T | string)[] {
  let rest = mask >>> 0;
  const out: (T | string)[] = [];
  names.forEach((name, bit) => {
    if ((rest & (1 << bit)) === 0) return;
    out.push(name);
    rest = (rest & ~(1 << bit)) >>> 0;
  });
  if (rest !== 0) out.push(`0x${rest.toString(16)}`);
  return out;
}

function prefixed(names: readonly string[], prefix: string): string {
  return names.map((n) => (n.startsWith("0x") ? n : prefix + n)).join("|") || "0";
}

/** "IOSQE_IO_LINK|IOSQE_ASYNC"; "0" for none. */
export function sqeFlagText(flags: number): string {
  return prefixed(bitNames(flags, SQE_FLAGS), "IOSQE_");
}

/** Names of IORING_CQE_F_*, without the buffer id. */
export function cqeFlagNames(flags: number): string[] {
  let rest = flags & 0xffff;
  const out: string[] = [];
  for (const [bit, name] of CQE_FLAGS) {
    if ((rest & bit) === 0) continue;
    out.push(name);
    rest &= ~bit;
  }
  if (rest !== 0) out.push(`0x${rest.toString(16)}`);
  return out;
}

/** "IORING_CQE_F_BUFFER|IORING_CQE_F_MORE|7<<IORING_CQE_BUFFER_SHIFT". */
export function cqeFlagText(flags: number): string {
  const names = prefixed(cqeFlagNames(flags), "IORING_CQE_F_");
  const id = flags >>> 16;
  if ((flags & CQE_F_BUFFER) === 0 && id === 0) return names;
  return `${names}|${id}<<IORING_CQE_BUFFER_SHIFT`;
}

// errno of Linux on x86-64 and arm64, as far as rings commonly return them.
const ERRNO: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  3: "ESRCH",
  4: "EINTR",
  5: "EIO",
  6: "ENXIO",
  7: "E2BIG",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  14: "EFAULT",
  16: "EBUSY",
  17: "EEXIST",
  18: "EXDEV",
  19: "ENODEV",
  20: "ENOTDIR",
  21: "EISDIR",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  25: "ENOTTY",
  27: "EFBIG",
  28: "ENOSPC",
  29: "ESPIPE",
  30: "EROFS",
  32: "EPIPE",
  36: "ENAMETOOLONG",
  38: "ENOSYS",
  40: "ELOOP",
  61: "ENODATA",
  62: "ETIME",
  75: "EOVERFLOW",
  77: "EBADFD",
  88: "ENOTSOCK",
  89: "EDESTADDRREQ",
  90: "EMSGSIZE",
  95: "EOPNOTSUPP",
  97: "EAFNOSUPPORT",
  98: "EADDRINUSE",
  99: "EADDRNOTAVAIL",
  101: "ENETUNREACH",
  103: "ECONNABORTED",
  104: "ECONNRESET",
  105: "ENOBUFS",
  106: "EISCONN",
  107: "ENOTCONN",
  108: "ESHUTDOWN",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  113: "EHOSTUNREACH",
  114: "EALREADY",
  115: "EINPROGRESS",
  125: "ECANCELED",
};

/** "ECANCELED" of -125; "" of a result that is no error or has no name here. */
export function errnoOf(res: number): string {
  return res < 0 ? (ERRNO[-res] ?? "") : "";
}

/** "12" or "-11 EAGAIN". */
export function resText(res: number): string {
  const name = errnoOf(res);
  return name === "" ? String(res) : `${res} ${name}`;
}

/** user_data for people: small numbers as such, pointers in hex. */
export function dataText(data: bigint): string {
  return data < 1_000_000n ? data.toString() : `0x${data.toString(16)}`;
}

/** user_data where there is little room: "…1fa0" of a pointer. */
export function dataShort(data: bigint): string {
  const s = data.toString();
  return s.length <= 5 ? s : `…${data.toString(16).slice(-4)}`;
}

/** The family of an operation, which the picture colours. */
export type OpFamily = "plain" | "file" | "net" | "wait" | "control";

const FILE =
  /^(READ|WRITE|FSYNC|SYNC_|FALLOCATE|OPENAT|CLOSE|STATX|FADVISE|MADVISE|SPLICE|TEE|FTRUNCATE|PIPE|.*AT$)/;
const NET = /^(SEND|RECV|ACCEPT|CONNECT|SHUTDOWN|SOCKET|BIND|LISTEN)/;
const WAIT = /^(POLL|TIMEOUT|LINK_TIMEOUT|EPOLL|FUTEX|WAITID)/;

export function opFamily(op: number): OpFamily {
  const name = OPS[op];
  if (name === undefined || name === "NOP" || name === "NOP128") return "plain";
  if (NET.test(name)) return "net";
  if (WAIT.test(name)) return "wait";
  if (FILE.test(name)) return "file";
  return "control";
}

function hex(v: bigint): string {
  return v === 0n ? "NULL" : `0x${v.toString(16)}`;
}

function offText(v: bigint): string {
  return v === 0xffff_ffff_ffff_ffffn ? "-1" : v.toString();
}

/** An SQE as strace prints a struct io_uring_sqe. */
export function sqeText(e: SQE): string {
  const parts = [
    `opcode=${opName(e.op)}`,
    `flags=${sqeFlagText(e.flags)}`,
    `ioprio=${e.ioprio === 0 ? "0" : `0x${e.ioprio.toString(16)}`}`,
    `fd=${e.fd}`,
    `off=${offText(e.off)}`,
    `addr=${hex(e.addr)}`,
    `len=${e.len}`,
  ];
  if (e.opFlags !== 0) parts.push(`${opFlagsField(e.op)}=0x${e.opFlags.toString(16)}`);
  parts.push(`user_data=${dataText(e.userData)}`);
  if (e.bufIndex !== 0) parts.push(`${(e.flags & (1 << 5)) !== 0 ? "buf_group" : "buf_index"}=${e.bufIndex}`);
  if (e.spliceFD !== 0) parts.push(`splice_fd_in=${e.spliceFD}`);
  if (e.addr3 !== 0n) parts.push(`addr3=${hex(e.addr3)}`);
  return `{${parts.join(", ")}}`;
}

function opFlagsField(op: number): string {
  const name = OPS[op] ?? "";
  if (/^(READ|WRITE)/.test(name)) return "rw_flags";
  if (/^(SEND|RECV)/.test(name)) return "msg_flags";
  if (/^POLL/.test(name)) return "poll32_events";
  if (/TIMEOUT/.test(name)) return "timeout_flags";
  if (name === "ACCEPT") return "accept_flags";
  if (name === "ASYNC_CANCEL") return "cancel_flags";
  if (/^OPENAT/.test(name)) return "open_flags";
  if (name === "SPLICE" || name === "TEE") return "splice_flags";
  return "op_flags";
}

/** A CQE as strace prints a struct io_uring_cqe. */
export function cqeText(e: Pick<CQE, "userData" | "res" | "flags" | "wide" | "extra">): string {
  const name = errnoOf(e.res);
  const res = name === "" ? String(e.res) : `${e.res} /* ${name} */`;
  const extra = e.wide ? `, big_cqe=[0x${e.extra[0].toString(16)}, 0x${e.extra[1].toString(16)}]` : "";
  return `{user_data=${dataText(e.userData)}, res=${res}, flags=${cqeFlagText(e.flags)}${extra}}`;
}
