// Rows of an io_uring frame, field by field as internal/kernelviz/wire/uring.go
// lays them out.
import { FrameError, KIND_URING, parseHeader, u64, type Header } from "./header";
import { rows, sectionsByType, text, truthRow, TRUTH_ROW_SIZE, type Truth } from "./rows";

/** Section types of an io_uring frame. */
export const RingSection = {
  truth: 1,
  ring: 20,
  sqe: 21,
  cqe: 22,
  request: 23,
  worker: 24,
  resource: 25,
  life: 26,
} as const;

/** What of a ring its tier can see: bits of Ring.seen. What is not seen is unknown, never nothing. */
export const Seen = {
  heads: 1 << 0,
  sqes: 1 << 1,
  cqes: 1 << 2,
  cached: 1 << 3,
  requests: 1 << 4,
  thread: 1 << 5,
  workers: 1 << 6,
  resources: 1 << 7,
  overflow: 1 << 8,
  lives: 1 << 9,
  inFlight: 1 << 10,
} as const;

/** Bits of Ring.sqFlags: IORING_SQ_*. */
export const SQFlag = { needWakeup: 1, cqOverflow: 2, taskrun: 4 } as const;

/** What a kernel thread does; the number of a state byte. */
export const THREAD_STATES = ["none", "running", "asleep", "unknown"] as const;
export type ThreadState = (typeof THREAD_STATES)[number];

/** struct io_ring_ctx as a whole. */
export interface Ring {
  readonly id: number;
  readonly sqEntries: number;
  readonly cqEntries: number;
  /** IORING_SETUP_* it was made with. */
  readonly setup: number;
  /** io_rings.sq.head, written by the kernel; as all four, a counter modulo 2^32. */
  readonly sqHead: number;
  /** Written by the owner. */
  readonly sqTail: number;
  /** Written by the owner. */
  readonly cqHead: number;
  /** Written by the kernel. */
  readonly cqTail: number;
  /** SQEs that the kernel has taken, published in sq.head or not. */
  readonly cachedSQHead: number;
  readonly cachedCQTail: number;
  /** Bits of SQFlag. */
  readonly sqFlags: number;
  readonly cqFlags: number;
  readonly sqDropped: number;
  /** Completions lost for good. */
  readonly cqOverflow: number;
  /** Completions kept until there is room. */
  readonly overflowList: number;
  /** -1 unknown. */
  readonly inFlight: number;
  /** Bits of Seen. */
  readonly seen: number;
  readonly requests: number;
  readonly armed: number;
  readonly files: number;
  readonly buffers: number;
  /** SQPOLL thread; 0 none. */
  readonly threadPID: number;
  /** -1 unknown. */
  readonly threadCPU: number;
  /** ms that it spins before it sleeps. */
  readonly threadIdle: number;
  /** µs it has run for, and of them with work. */
  readonly threadTotal: number;
  readonly threadWork: number;
  readonly owner: number;
  readonly owners: number;
  readonly threadState: ThreadState;
  /** The owner unmapped or scribbled the ring. */
  readonly gone: boolean;
  readonly submitted: number;
  readonly completed: number;
  /** IORING_FEAT_*; 0 unknown. */
  readonly features: number;
  readonly allocated: number;
}

/** A struct io_uring_sqe that the kernel has not taken yet. */
export interface SQE {
  /** Value of the counter: sq.head ≤ position < sq.tail (mod 2^32). */
  readonly position: number;
  /** Where it lies in the SQE array; entries or more: a bad index. */
  readonly index: number;
  readonly op: number;
  readonly flags: number;
  readonly ioprio: number;
  readonly fd: number;
  readonly off: bigint;
  readonly addr: bigint;
  readonly len: number;
  readonly opFlags: number;
  readonly userData: bigint;
  readonly bufIndex: number;
  readonly wide: boolean;
  readonly spliceFD: number;
  readonly addr3: bigint;
}

/** A struct io_uring_cqe that the owner has not read yet. */
export interface CQE {
  readonly position: number;
  /** Result, or -errno. */
  readonly res: number;
  readonly userData: bigint;
  readonly flags: number;
  readonly wide: boolean;
  readonly extra: readonly [bigint, bigint];
}

/** Where a request is; the number of RequestRow.where. */
export const PLACES = ["submitted", "armed", "punted", "taskwork", "timeout"] as const;
export type Place = (typeof PLACES)[number];

/** Bits of Request.flags. */
export const RequestFlag = { multishot: 1, linked: 2, seenArmed: 4, seenPunted: 8 } as const;

/** A struct io_kiocb that the kernel holds. */
export interface Request {
  /** Never used again within a watch. */
  readonly id: number;
  readonly op: number;
  readonly where: Place;
  readonly flags: number;
  /** CLOCK_MONOTONIC, ns. */
  readonly since: number;
  readonly userData: bigint;
  /** When it came to `where`. */
  readonly moved: number;
  /** -1 unknown. */
  readonly fd: number;
  /** CQEs that it has posted already. */
  readonly posted: number;
}

/** Kinds of a worker; the number of WorkerRow.kind. */
export const WORKER_KINDS = ["sqpoll", "bounded", "unbounded", "iowq"] as const;
export type WorkerKind = (typeof WORKER_KINDS)[number];

/** A kernel thread that works for the ring's owner. */
export interface Worker {
  readonly tid: number;
  readonly kind: WorkerKind;
  readonly state: ThreadState;
  readonly cpu: number;
  /** CPU time, ns. */
  readonly time: number;
  readonly comm: string;
}

/** A registered file or buffer. */
export interface Resource {
  readonly slot: number;
  readonly kind: "file" | "buffer";
  readonly addr: bigint;
  readonly len: number;
  readonly name: string;
}

/** What happened to a request; the number of LifeRow.what, from 1. */
export const LIFE_EVENTS = [
  "submit",
  "arm",
  "punt",
  "taskwork",
  "complete",
  "overflow",
  "fail",
  "link",
  "defer",
  "cqwait",
  "localwork",
] as const;
export type LifeEvent = (typeof LIFE_EVENTS)[number] | "unknown";

/** Op of a life whose operation is not known. */
export const OP_UNKNOWN = 255;

/** One event in the life of a request. */
export interface Life {
  /** Counted in the kernel for this ring; a gap is a loss. */
  readonly seq: number;
  readonly time: number;
  readonly userData: bigint;
  /** 0 unknown. */
  readonly request: number;
  readonly res: number;
  readonly cqeFlags: number;
  readonly tid: number;
  readonly what: LifeEvent;
  readonly op: number;
  readonly sqeFlags: number;
  /** Which thread ran. */
  readonly by: "thread" | "worker" | "sqpoll";
  readonly fd: number;
  /** CLOCK_MONOTONIC of the submission; 0 unknown. */
  readonly submitAt: number;
}

/**
 * A decoded io_uring frame. Lists are whole where they are present; in a delta
 * frame an absent one is unchanged. Lives are those since the base.
 */
export interface RingFrame {
  readonly header: Header;
  readonly truth: Truth | null;
  readonly ring: Ring | null;
  readonly sqes: readonly SQE[] | null;
  readonly cqes: readonly CQE[] | null;
  readonly requests: readonly Request[] | null;
  readonly workers: readonly Worker[] | null;
  readonly resources: readonly Resource[] | null;
  readonly lives: readonly Life[] | null;
}

const SIZES: Readonly<Record<number, number>> = {
  [RingSection.truth]: TRUTH_ROW_SIZE,
  [RingSection.ring]: 144,
  [RingSection.sqe]: 64,
  [RingSection.cqe]: 40,
  [RingSection.request]: 40,
  [RingSection.worker]: 40,
  [RingSection.resource]: 48,
  [RingSection.life]: 56,
};

function stateOf(n: number): ThreadState {
  return THREAD_STATES[n] ?? "unknown";
}

function ringRow(v: DataView, at: number): Ring {
  const u32 = (offset: number): number => v.getUint32(at + offset, true);
  return {
    id: u32(0),
    sqEntries: u32(4),
    cqEntries: u32(8),
    setup: u32(12),
    sqHead: u32(16),
    sqTail: u32(20),
    cqHead: u32(24),
    cqTail: u32(28),
    cachedSQHead: u32(32),
    cachedCQTail: u32(36),
    sqFlags: u32(40),
    cqFlags: u32(44),
    sqDropped: u32(48),
    cqOverflow: u32(52),
    overflowList: u32(56),
    inFlight: v.getInt32(at + 60, true),
    seen: u32(64),
    requests: u32(68),
    armed: u32(72),
    files: u32(76),
    buffers: u32(80),
    threadPID: u32(84),
    threadCPU: v.getInt32(at + 88, true),
    threadIdle: u32(92),
    threadTotal: u64(v, at + 96),
    threadWork: u64(v, at + 104),
    owner: u32(112),
    owners: v.getUint16(at + 116, true),
    threadState: stateOf(v.getUint8(at + 118)),
    gone: v.getUint8(at + 119) === 1,
    submitted: u64(v, at + 120),
    completed: u64(v, at + 128),
    features: u32(136),
    allocated: u32(140),
  };
}

function sqeRow(v: DataView, at: number): SQE {
  return {
    position: v.getUint32(at, true),
    index: v.getUint32(at + 4, true),
    op: v.getUint8(at + 8),
    flags: v.getUint8(at + 9),
    ioprio: v.getUint16(at + 10, true),
    fd: v.getInt32(at + 12, true),
    off: v.getBigUint64(at + 16, true),
    addr: v.getBigUint64(at + 24, true),
    len: v.getUint32(at + 32, true),
    opFlags: v.getUint32(at + 36, true),
    userData: v.getBigUint64(at + 40, true),
    bufIndex: v.getUint16(at + 48, true),
    wide: v.getUint8(at + 50) === 1,
    spliceFD: v.getInt32(at + 52, true),
    addr3: v.getBigUint64(at + 56, true),
  };
}

function cqeRow(v: DataView, at: number): CQE {
  return {
    position: v.getUint32(at, true),
    res: v.getInt32(at + 4, true),
    userData: v.getBigUint64(at + 8, true),
    flags: v.getUint32(at + 16, true),
    wide: v.getUint32(at + 20, true) === 1,
    extra: [v.getBigUint64(at + 24, true), v.getBigUint64(at + 32, true)],
  };
}

function requestRow(v: DataView, at: number): Request {
  return {
    id: v.getUint32(at, true),
    op: v.getUint8(at + 4),
    where: PLACES[v.getUint8(at + 5)] ?? "submitted",
    flags: v.getUint8(at + 6),
    since: u64(v, at + 8),
    userData: v.getBigUint64(at + 16, true),
    moved: u64(v, at + 24),
    fd: v.getInt32(at + 32, true),
    posted: v.getUint32(at + 36, true),
  };
}

function workerRow(v: DataView, at: number): Worker {
  return {
    tid: v.getUint32(at, true),
    kind: WORKER_KINDS[v.getUint8(at + 4)] ?? "iowq",
    state: stateOf(v.getUint8(at + 5)),
    cpu: v.getInt32(at + 8, true),
    time: u64(v, at + 16),
    comm: text(v, at + 24, 16),
  };
}

function resourceRow(v: DataView, at: number): Resource {
  return {
    slot: v.getUint32(at, true),
    kind: v.getUint8(at + 4) === 1 ? "buffer" : "file",
    addr: v.getBigUint64(at + 8, true),
    len: u64(v, at + 16),
    name: text(v, at + 24, 24),
  };
}

const BY = ["thread", "worker", "sqpoll"] as const;

function lifeRow(v: DataView, at: number): Life {
  return {
    seq: u64(v, at),
    time: u64(v, at + 8),
    userData: v.getBigUint64(at + 16, true),
    request: v.getUint32(at + 24, true),
    res: v.getInt32(at + 28, true),
    cqeFlags: v.getUint32(at + 32, true),
    tid: v.getUint32(at + 36, true),
    what: LIFE_EVENTS[v.getUint8(at + 40) - 1] ?? "unknown",
    op: v.getUint8(at + 41),
    sqeFlags: v.getUint8(at + 42),
    by: BY[v.getUint8(at + 43)] ?? "thread",
    fd: v.getInt32(at + 44, true),
    submitAt: u64(v, at + 48),
  };
}

/** Decodes one binary message. The result shares no memory with it. Throws FrameError. */
export function decodeRing(frame: ArrayBuffer): RingFrame {
  const v = new DataView(frame);
  const header = parseHeader(v);
  if (header.kind !== KIND_URING) {
    throw new FrameError("kind", `frame of kind ${header.kind}, an io_uring frame has ${KIND_URING}`);
  }
  const byType = sectionsByType(v, header, SIZES);
  return {
    header,
    truth: rows(v, byType.get(RingSection.truth), truthRow)?.[0] ?? null,
    ring: rows(v, byType.get(RingSection.ring), ringRow)?.[0] ?? null,
    sqes: rows(v, byType.get(RingSection.sqe), sqeRow),
    cqes: rows(v, byType.get(RingSection.cqe), cqeRow),
    requests: rows(v, byType.get(RingSection.request), requestRow),
    workers: rows(v, byType.get(RingSection.worker), workerRow),
    resources: rows(v, byType.get(RingSection.resource), resourceRow),
    lives: rows(v, byType.get(RingSection.life), lifeRow),
  };
}
