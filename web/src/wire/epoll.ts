// Rows of an epoll frame, field by field as internal/kernelviz/wire/epoll.go
// lays them out.
import { FrameError, KIND_EPOLL, parseHeader, u64, type Header } from "./header";
import { bytes, rows, sectionsByType, text, truthRow, type Truth } from "./rows";

export type { Truth } from "./rows";

/** Section types of an epoll frame. */
export const SectionType = {
  truth: 1,
  instance: 2,
  node: 3,
  gone: 4,
  ready: 5,
  overflow: 6,
  waiter: 7,
  file: 8,
  transition: 9,
  glyph: 10,
} as const;

/** struct eventpoll as a whole. */
export interface Instance {
  readonly id: number;
  readonly items: number;
  /** 0 if this kernel has none. */
  readonly refcount: number;
  /** Node id; 0 if empty or not drawn singly. */
  readonly root: number;
  readonly leftmost: number;
  /** Levels. */
  readonly depth: number;
  /** Black nodes on every path, leaf included. */
  readonly blackHeight: number;
  readonly ready: number;
  readonly overflow: number;
  readonly waiters: number;
  readonly pollWaiters: number;
  /** A scan holds the ready list. */
  readonly scanning: boolean;
  /** The shape is unknown (fdinfo tier): nodes have no links. */
  readonly membership: boolean;
  /** ep->mtx was held. */
  readonly locked: boolean;
  /** The lists could not be read whole. */
  readonly tearing: boolean;
  readonly red: number;
  readonly delivering: number;
}

/** Bits of NodeRow.flags and GlyphRow.flags. */
export const NodeFlag = {
  /** Else red. */
  black: 1,
  /** Linked into rdllist. */
  ready: 2,
  /** Linked into ovflist. */
  overflow: 4,
  /** Linked while a scan has the list. */
  delivering: 8,
  /** No watched process has this fd open on this file any more. */
  orphan: 16,
} as const;

/** One struct epitem. Ids start at 1, are stable while the item lives and never reused; 0 is none. */
export interface NodeRow {
  readonly id: number;
  readonly parent: number;
  readonly left: number;
  readonly right: number;
  /** File id: the first half of the key. */
  readonly file: number;
  /** The second half. */
  readonly fd: number;
  /** event.events, the private bits included. */
  readonly events: number;
  /** Bits of NodeFlag. */
  readonly flags: number;
  /** event.data, the user's. */
  readonly data: bigint;
  /** Pid of a process that has the fd open on the file; 0 unknown or none. */
  readonly owner: number;
  /** Instance id if the file is an epoll instance. */
  readonly nested: number;
}

/** One place in rdllist or ovflist. */
export interface ListRow {
  readonly node: number;
  readonly fd: number;
}

/** One wait_queue_entry of ep->wq. */
export interface WaiterRow {
  readonly tid: number;
  readonly pid: number;
  readonly exclusive: boolean;
  /** CLOCK_MONOTONIC when first seen waiting, ns. */
  readonly since: number;
  readonly comm: string;
}

/** What a watched file is; the number of FileRow.type. */
export const FILE_TYPES = [
  "unknown",
  "socket",
  "pipe",
  "eventfd",
  "timerfd",
  "signalfd",
  "epoll",
  "inotify",
  "pidfd",
  "io_uring",
  "tty",
  "other",
] as const;
export type FileType = (typeof FILE_TYPES)[number];

/** One struct file. */
export interface FileRow {
  readonly id: number;
  readonly type: FileType;
  /** AF_UNIX 1, AF_INET 2, AF_INET6 10, AF_NETLINK 16. */
  readonly family: number;
  /** SOCK_STREAM 1, SOCK_DGRAM 2, ... */
  readonly sock: number;
  /** TCP_ESTABLISHED 1 ... TCP_LISTEN 10. */
  readonly state: number;
  readonly lport: number;
  readonly rport: number;
  /** References to the file; 0 unknown. */
  readonly refs: number;
  /** 16 bytes; an IPv4 address stands in the first four. */
  readonly laddr: Uint8Array;
  readonly raddr: Uint8Array;
  readonly inode: bigint;
  readonly nested: number;
  /** IPPROTO_*. */
  readonly proto: number;
  /** Path of a unix socket, or dentry name. */
  readonly name: string;
}

/** Bits of TransitionRow.what. */
export const Transition = {
  /** The list got a new tail: fd, node. */
  ready: 1,
  /** The list became empty. */
  emptied: 2,
  scan: 4,
  scanEnd: 8,
  /** A thread went to sleep in wq. */
  sleep: 16,
  /** wq became empty. */
  wakeup: 32,
  /** An item went to ovflist. */
  overflow: 64,
} as const;

/** A change of lists or wait queue between snapshots. */
export interface TransitionRow {
  /** CLOCK_MONOTONIC, ns. */
  readonly time: number;
  /** Node id of the new tail; 0 if none or not known. */
  readonly node: number;
  /** Its fd; -1 if none. */
  readonly fd: number;
  readonly tid: number;
  /** Bits of Transition. */
  readonly what: number;
  readonly cause: "sys_exit" | "sched_waking" | "callback" | "unknown";
  /** Counted in the kernel; a gap is a loss. */
  readonly seq: number;
}

/** One node, or one subtree too narrow to show its nodes. x is the in-order rank, y the depth. */
export interface GlyphRow {
  /** Node id; of the subtree's root if count > 1. */
  readonly id: number;
  /** Node id of the parent glyph; 0 at the root or outside the viewport. */
  readonly parent: number;
  /** In-order rank of the node, or of the subtree's leftmost node. */
  readonly rank: number;
  /** 1, or the exact number of nodes in the subtree. */
  readonly count: number;
  readonly red: number;
  readonly ready: number;
  /** 0 at the root of the tree. */
  readonly depth: number;
  /** Levels; 1 for a single node. */
  readonly height: number;
  readonly fd: number;
  readonly events: number;
  readonly flags: number;
  /** In-order rank of the parent; meaningless at the root. */
  readonly parentRank: number;
  readonly file: number;
  /** In-order rank of the subtree's root; equals rank if count is 1. */
  readonly rootRank: number;
  readonly nested: number;
}

/**
 * A decoded epoll frame. In a key frame an absent section is an empty one; in
 * a delta frame an absent list is unchanged, which is why lists may be null.
 */
export interface EpollFrame {
  readonly header: Header;
  readonly truth: Truth | null;
  readonly instance: Instance | null;
  /** Upserts by id. */
  readonly nodes: readonly NodeRow[] | null;
  /** Ids of nodes that went. */
  readonly gone: readonly number[] | null;
  readonly ready: readonly ListRow[] | null;
  readonly overflow: readonly ListRow[] | null;
  readonly waiters: readonly WaiterRow[] | null;
  /** Upserts by id. */
  readonly files: readonly FileRow[] | null;
  readonly transitions: readonly TransitionRow[] | null;
  readonly glyphs: readonly GlyphRow[] | null;
}

const ROW_SIZE: Record<number, number> = {
  [SectionType.truth]: 88,
  [SectionType.instance]: 64,
  [SectionType.node]: 48,
  [SectionType.gone]: 8,
  [SectionType.ready]: 8,
  [SectionType.overflow]: 8,
  [SectionType.waiter]: 40,
  [SectionType.file]: 88,
  [SectionType.transition]: 32,
  [SectionType.glyph]: 56,
};

const CAUSES = ["sys_exit", "sched_waking", "callback"] as const;

function instanceRow(v: DataView, at: number): Instance {
  return {
    id: v.getUint32(at, true),
    items: v.getUint32(at + 4, true),
    refcount: v.getUint32(at + 8, true),
    root: v.getUint32(at + 12, true),
    leftmost: v.getUint32(at + 16, true),
    depth: v.getUint16(at + 20, true),
    blackHeight: v.getUint16(at + 22, true),
    ready: v.getUint32(at + 24, true),
    overflow: v.getUint32(at + 28, true),
    waiters: v.getUint32(at + 32, true),
    pollWaiters: v.getUint32(at + 36, true),
    scanning: v.getUint8(at + 40) === 1,
    membership: v.getUint8(at + 41) === 1,
    locked: v.getUint8(at + 42) === 1,
    tearing: v.getUint8(at + 43) === 1,
    red: v.getUint32(at + 44, true),
    delivering: v.getUint32(at + 48, true),
  };
}

function nodeRow(v: DataView, at: number): NodeRow {
  return {
    id: v.getUint32(at, true),
    parent: v.getUint32(at + 4, true),
    left: v.getUint32(at + 8, true),
    right: v.getUint32(at + 12, true),
    file: v.getUint32(at + 16, true),
    fd: v.getInt32(at + 20, true),
    events: v.getUint32(at + 24, true),
    flags: v.getUint32(at + 28, true),
    data: v.getBigUint64(at + 32, true),
    owner: v.getUint32(at + 40, true),
    nested: v.getUint32(at + 44, true),
  };
}

function goneRow(v: DataView, at: number): number {
  return v.getUint32(at, true);
}

function listRow(v: DataView, at: number): ListRow {
  return { node: v.getUint32(at, true), fd: v.getInt32(at + 4, true) };
}

function waiterRow(v: DataView, at: number): WaiterRow {
  return {
    tid: v.getUint32(at, true),
    pid: v.getUint32(at + 4, true),
    exclusive: (v.getUint32(at + 8, true) & 1) !== 0,
    since: u64(v, at + 16),
    comm: text(v, at + 24, 16),
  };
}

function fileRow(v: DataView, at: number): FileRow {
  return {
    id: v.getUint32(at, true),
    type: FILE_TYPES[v.getUint8(at + 4)] ?? "unknown",
    family: v.getUint8(at + 5),
    sock: v.getUint8(at + 6),
    state: v.getUint8(at + 7),
    lport: v.getUint16(at + 8, true),
    rport: v.getUint16(at + 10, true),
    refs: v.getUint32(at + 12, true),
    laddr: bytes(v, at + 16, 16),
    raddr: bytes(v, at + 32, 16),
    inode: v.getBigUint64(at + 48, true),
    nested: v.getUint32(at + 56, true),
    proto: v.getUint8(at + 60),
    name: text(v, at + 64, 24),
  };
}

function transitionRow(v: DataView, at: number): TransitionRow {
  return {
    time: u64(v, at),
    node: v.getUint32(at + 8, true),
    fd: v.getInt32(at + 12, true),
    tid: v.getUint32(at + 16, true),
    what: v.getUint16(at + 20, true),
    cause: CAUSES[v.getUint8(at + 22)] ?? "unknown",
    seq: u64(v, at + 24),
  };
}

function glyphRow(v: DataView, at: number): GlyphRow {
  return {
    id: v.getUint32(at, true),
    parent: v.getUint32(at + 4, true),
    rank: v.getUint32(at + 8, true),
    count: v.getUint32(at + 12, true),
    red: v.getUint32(at + 16, true),
    ready: v.getUint32(at + 20, true),
    depth: v.getUint16(at + 24, true),
    height: v.getUint16(at + 26, true),
    fd: v.getInt32(at + 28, true),
    events: v.getUint32(at + 32, true),
    flags: v.getUint32(at + 36, true),
    parentRank: v.getUint32(at + 40, true),
    file: v.getUint32(at + 44, true),
    rootRank: v.getUint32(at + 48, true),
    nested: v.getUint32(at + 52, true),
  };
}

/** Decodes one binary message. The result shares no memory with it. Throws FrameError. */
export function decodeEpoll(frame: ArrayBuffer): EpollFrame {
  const v = new DataView(frame);
  const header = parseHeader(v);
  if (header.kind !== KIND_EPOLL) {
    throw new FrameError("kind", `frame of kind ${header.kind}, an epoll frame has ${KIND_EPOLL}`);
  }
  const byType = sectionsByType(v, header, ROW_SIZE);
  return {
    header,
    truth: rows(v, byType.get(SectionType.truth), truthRow)?.[0] ?? null,
    instance: rows(v, byType.get(SectionType.instance), instanceRow)?.[0] ?? null,
    nodes: rows(v, byType.get(SectionType.node), nodeRow),
    gone: rows(v, byType.get(SectionType.gone), goneRow),
    ready: rows(v, byType.get(SectionType.ready), listRow),
    overflow: rows(v, byType.get(SectionType.overflow), listRow),
    waiters: rows(v, byType.get(SectionType.waiter), waiterRow),
    files: rows(v, byType.get(SectionType.file), fileRow),
    transitions: rows(v, byType.get(SectionType.transition), transitionRow),
    glyphs: rows(v, byType.get(SectionType.glyph), glyphRow),
  };
}
