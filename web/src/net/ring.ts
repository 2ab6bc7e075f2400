// The ring puppet: what it knows of itself, and what it can be asked to do.

import { bool, list, num, obj, or, str, type Decoded } from "./shape";

const queued = obj({ user_data: num, what: or(str, ""), fd: or(num, -1) });
const inflight = obj({ user_data: num, what: or(str, ""), fd: or(num, -1), multishot: or(bool, false) });

const puppetRing = obj({
  fd: num,
  sq_entries: or(num, 0),
  cq_entries: or(num, 0),
  flags: list(str),
  sq_tail: or(num, 0),
  cq_head: or(num, 0),
  /** SQEs behind sq.tail that no io_uring_enter has taken. */
  queued: list(queued),
  /** Taken, and the last CQE not reaped yet. */
  inflight: list(inflight),
  reaped: or(num, 0),
  lost: or(num, 0),
  dropped: or(num, 0),
  /** What op scribble wrote over; "" if nothing is. */
  scribbled: or(str, ""),
});
export type PuppetRing = Decoded<typeof puppetRing>;

const ringFd = obj({ fd: num, kind: or(str, ""), peer: or(num, 0), readable: or(bool, false) });
export type RingFd = Decoded<typeof ringFd>;

export const ringState = obj({
  rings: list(puppetRing),
  fds: list(ringFd),
  threads: list(obj({ thread: num, tid: or(num, 0), waiting: or(num, 0) })),
  surprises: or(num, 0),
});
/** What the ring puppet knows by having done it, never read from the kernel. */
export type RingState = Decoded<typeof ringState>;

export const ringFileKinds = ["eventfd", "pipe", "unix", "tcp", "listener", "file"] as const;
export type RingFileKind = (typeof ringFileKinds)[number];

export const queueKinds = [
  "nop",
  "read",
  "write",
  "poll",
  "poll_multi",
  "timeout",
  "accept",
  "accept_multi",
  "send",
  "recv",
  "recv_multi",
  "cancel",
  "link_timeout",
  "splice",
  "send_zc",
] as const;
export type QueueKind = (typeof queueKinds)[number];

/** Options of an SQE, as names of IOSQE_* in lower case. */
export const queueOptions = ["link", "hardlink", "drain", "async", "skip", "fixed", "select"] as const;
export type QueueOption = (typeof queueOptions)[number];

export type QueueAction = {
  op: "queue";
  ring: number;
  what: QueueKind;
  n?: number;
  fd?: number;
  len?: number;
  ms?: number;
  target?: number;
  /** Slot of a registered buffer. */
  buffer?: number;
  /** Of a splice: where it writes. */
  to?: number;
  user_data?: number;
} & Partial<Record<QueueOption, boolean>>;

export type RingAction =
  | { op: "setup"; entries: number; cq_entries?: number; flags: string[]; idle?: number }
  | { op: "make"; what: RingFileKind; n: number }
  | QueueAction
  | { op: "submit"; ring: number; n?: number; wait?: number; thread?: number }
  | { op: "reap"; ring: number; n?: number }
  | { op: "flush" | "wakeup" | "bad_index" | "mend"; ring: number }
  | { op: "overflow"; ring: number; extra: number }
  | { op: "register"; ring: number; what: "files" | "buffers" | "buf_ring"; n: number }
  | { op: "unregister"; ring: number; what: "files" | "buffers" | "buf_ring" }
  | { op: "scribble"; ring: number; what: "sq.tail" | "cq.head" | "sqe" }
  | { op: "ready" | "drain" | "close" | "connect"; fd: number }
  | { op: "write" | "read"; fd: number; n: number };
