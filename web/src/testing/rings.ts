// Rings for tests: models in rows, and frames of them, apart from the Go that
// writes the real ones; the golden files hold both to the same bytes.
import { EMPTY_RING, type RingModel } from "../model/uring";
import { HEADER_SIZE, KIND_URING, MAGIC, SECTION_SIZE, VERSION } from "../wire/header";
import {
  LIFE_EVENTS,
  PLACES,
  RingSection,
  THREAD_STATES,
  type CQE,
  type Life,
  type Request,
  type Ring,
  type SQE,
} from "../wire/uring";

export const SEEN_ALL = 0x7ff;

export function ring(change: Partial<Ring> = {}): Ring {
  const base: Ring = {
    id: 1,
    sqEntries: 8,
    cqEntries: 16,
    setup: 0,
    sqHead: 0,
    sqTail: 0,
    cqHead: 0,
    cqTail: 0,
    cachedSQHead: 0,
    cachedCQTail: 0,
    sqFlags: 0,
    cqFlags: 0,
    sqDropped: 0,
    cqOverflow: 0,
    overflowList: 0,
    inFlight: 0,
    seen: SEEN_ALL,
    requests: 0,
    armed: 0,
    files: 0,
    buffers: 0,
    threadPID: 0,
    threadCPU: -1,
    threadIdle: 0,
    threadTotal: 0,
    threadWork: 0,
    owner: 4211,
    owners: 1,
    threadState: "none",
    gone: false,
    submitted: 0,
    completed: 0,
    features: 0,
    allocated: 0,
  };
  const made = { ...base, ...change };
  return {
    ...made,
    cachedSQHead: change.cachedSQHead ?? made.sqHead,
    cachedCQTail: change.cachedCQTail ?? made.cqTail,
  };
}

export function sqe(position: number, change: Partial<SQE> = {}): SQE {
  return {
    position,
    index: position & 7,
    op: 0,
    flags: 0,
    ioprio: 0,
    fd: -1,
    off: 0n,
    addr: 0n,
    len: 0,
    opFlags: 0,
    userData: BigInt(position + 1),
    bufIndex: 0,
    wide: false,
    spliceFD: 0,
    addr3: 0n,
    ...change,
  };
}

export function cqe(position: number, change: Partial<CQE> = {}): CQE {
  return {
    position,
    res: 0,
    userData: BigInt(position + 1),
    flags: 0,
    wide: false,
    extra: [0n, 0n],
    ...change,
  };
}

export function request(id: number, change: Partial<Request> = {}): Request {
  return {
    id,
    op: 22,
    where: "armed",
    flags: 0,
    since: 1_000_000,
    userData: BigInt(id),
    moved: 1_000_000,
    fd: 5,
    posted: 0,
    ...change,
  };
}

export function life(seq: number, what: Life["what"], change: Partial<Life> = {}): Life {
  return {
    seq,
    time: 1_000_000 + seq * 10_000,
    userData: 1n,
    request: 1,
    res: 0,
    cqeFlags: 0,
    tid: 4211,
    what,
    op: 22,
    sqeFlags: 0,
    by: "thread",
    fd: 5,
    submitAt: 0,
    ...change,
  };
}

export function ringModel(change: Partial<RingModel> & { ring?: Ring } = {}): RingModel {
  return { ...EMPTY_RING, generation: 1, sequence: 1, time: 10_000_000, ring: ring(), ...change };
}

export interface TestRingFrame {
  sequence: number;
  generation?: number;
  /** Bits of Flag; 1 is a key frame. */
  flags?: number;
  time?: number;
  ring?: Ring;
  sqes?: readonly SQE[];
  cqes?: readonly CQE[];
  requests?: readonly Request[];
  lives?: readonly Life[];
  topic?: number;
}

interface Part {
  type: number;
  size: number;
  count: number;
  write: (v: DataView, i: number) => void;
}

export function writeRingFrame(f: TestRingFrame): ArrayBuffer {
  const parts: Part[] = [];
  const r = f.ring;
  if (r) {
    parts.push({
      type: RingSection.ring,
      size: 144,
      count: 1,
      write: (v) => {
        const words = [
          r.id,
          r.sqEntries,
          r.cqEntries,
          r.setup,
          r.sqHead,
          r.sqTail,
          r.cqHead,
          r.cqTail,
          r.cachedSQHead,
          r.cachedCQTail,
          r.sqFlags,
          r.cqFlags,
          r.sqDropped,
          r.cqOverflow,
          r.overflowList,
          r.inFlight,
          r.seen,
          r.requests,
          r.armed,
          r.files,
          r.buffers,
          r.threadPID,
          r.threadCPU,
          r.threadIdle,
        ];
        words.forEach((w, i) => v.setUint32(i * 4, w >>> 0, true));
        v.setUint32(112, r.owner, true);
        v.setUint16(116, r.owners, true);
        v.setUint8(118, THREAD_STATES.indexOf(r.threadState));
        v.setUint8(119, r.gone ? 1 : 0);
        v.setBigUint64(120, BigInt(r.submitted), true);
        v.setBigUint64(128, BigInt(r.completed), true);
      },
    });
  }
  const list = <T>(
    type: number,
    size: number,
    rows: readonly T[] | undefined,
    write: (v: DataView, row: T) => void,
  ) => {
    if (rows) parts.push({ type, size, count: rows.length, write: (v, i) => write(v, rows[i]!) });
  };
  list(RingSection.sqe, 64, f.sqes, (v, e) => {
    v.setUint32(0, e.position, true);
    v.setUint32(4, e.index, true);
    v.setUint8(8, e.op);
    v.setUint8(9, e.flags);
    v.setInt32(12, e.fd, true);
    v.setBigUint64(40, e.userData, true);
  });
  list(RingSection.cqe, 40, f.cqes, (v, e) => {
    v.setUint32(0, e.position, true);
    v.setInt32(4, e.res, true);
    v.setBigUint64(8, e.userData, true);
    v.setUint32(16, e.flags, true);
  });
  list(RingSection.request, 40, f.requests, (v, q) => {
    v.setUint32(0, q.id, true);
    v.setUint8(4, q.op);
    v.setUint8(5, PLACES.indexOf(q.where));
    v.setUint8(6, q.flags);
    v.setBigUint64(8, BigInt(q.since), true);
    v.setBigUint64(16, q.userData, true);
    v.setBigUint64(24, BigInt(q.moved), true);
    v.setInt32(32, q.fd, true);
    v.setUint32(36, q.posted, true);
  });
  list(RingSection.life, 56, f.lives, (v, l) => {
    v.setBigUint64(0, BigInt(l.seq), true);
    v.setBigUint64(8, BigInt(l.time), true);
    v.setBigUint64(16, l.userData, true);
    v.setUint32(24, l.request, true);
    v.setInt32(28, l.res, true);
    v.setUint32(32, l.cqeFlags, true);
    v.setUint32(36, l.tid, true);
    v.setUint8(40, l.what === "unknown" ? 99 : LIFE_EVENTS.indexOf(l.what) + 1);
    v.setUint8(41, l.op);
    v.setUint8(42, l.sqeFlags);
    v.setInt32(44, l.fd, true);
    v.setBigUint64(48, BigInt(l.submitAt), true);
  });
  const bytes = parts.reduce((n, p) => n + SECTION_SIZE + p.size * p.count, HEADER_SIZE);
  const buffer = new ArrayBuffer(bytes);
  const v = new DataView(buffer);
  v.setUint32(0, MAGIC, true);
  v.setUint8(4, VERSION);
  v.setUint8(5, KIND_URING);
  v.setUint16(6, f.flags ?? 0, true);
  v.setUint32(8, f.topic ?? 7, true);
  v.setUint32(12, f.generation ?? 1, true);
  v.setUint32(16, f.sequence, true);
  v.setUint32(
    20,
    parts.reduce((n, p) => n + Math.max(1, p.count), 0),
    true,
  );
  v.setBigUint64(24, BigInt(f.time ?? 1_000_000_000 + f.sequence * 33_000_000), true);
  let at = HEADER_SIZE;
  for (const p of parts) {
    v.setUint16(at, p.type, true);
    v.setUint16(at + 2, p.size, true);
    v.setUint32(at + 4, p.count, true);
    at += SECTION_SIZE;
    for (let i = 0; i < p.count; i++) {
      p.write(new DataView(buffer, at, p.size), i);
      at += p.size;
    }
  }
  return buffer;
}
