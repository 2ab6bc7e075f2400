// One io_uring instance as the page holds it: frames in, whole pictures out.
import { decodeRing, Seen, type CQE, type Life, type Request, type Resource } from "../wire/uring";
import type { Ring, RingFrame, SQE, Worker } from "../wire/uring";
import { Flag } from "../wire/header";
import type { Truth } from "../wire/rows";
import { Past, type Kind } from "./past";

/** A whole picture. The lists are as the kernel had them, in order of position. */
export interface RingModel {
  readonly generation: number;
  readonly sequence: number;
  /** CLOCK_MONOTONIC of the kernel read, ns. */
  readonly time: number;
  readonly flags: number;
  readonly truth: Truth | null;
  readonly ring: Ring | null;
  readonly sqes: readonly SQE[];
  readonly cqes: readonly CQE[];
  readonly requests: readonly Request[];
  readonly workers: readonly Worker[];
  readonly resources: readonly Resource[];
  /** Of the frame that made this picture. */
  readonly lives: readonly Life[];
}

export const EMPTY_RING: RingModel = {
  generation: 0,
  sequence: 0,
  time: 0,
  flags: 0,
  truth: null,
  ring: null,
  sqes: [],
  cqes: [],
  requests: [],
  workers: [],
  resources: [],
  lives: [],
};

/** From head to tail, modulo 2^32: how many entries lie between two counters. */
export function between(head: number, tail: number): number {
  return (tail - head) >>> 0;
}

/** a counter plus n, modulo 2^32. */
export function plus(counter: number, n: number): number {
  return (counter + n) >>> 0;
}

/** The slot of a counter's value; rings have a power of two of entries. */
export function slotOf(position: number, entries: number): number {
  if (entries <= 0) return 0;
  return (entries & (entries - 1)) === 0 ? (position & (entries - 1)) >>> 0 : position % entries;
}

/** Whether the tier sees that part of the ring. */
export function sees(ring: Ring | null, what: keyof typeof Seen): boolean {
  return ring !== null && (ring.seen & Seen[what]) !== 0;
}

/** What the counters of both rings say. */
export interface Fill {
  /** SQEs between sq.head and sq.tail; more than the entries if the words are scribbled. */
  readonly pending: number;
  /** Of them taken by the kernel and not published in sq.head yet. */
  readonly taken: number;
  /** CQEs between cq.head and cq.tail. */
  readonly unread: number;
  /** CQEs written by the kernel and not published in cq.tail yet. */
  readonly unpublished: number;
  /** Nothing of a queue that holds more than it has entries is to be believed. */
  readonly sqBroken: boolean;
  readonly cqBroken: boolean;
}

export function fillOf(r: Ring): Fill {
  const pending = between(r.sqHead, r.sqTail);
  const unread = between(r.cqHead, r.cqTail);
  const cached = (r.seen & Seen.cached) !== 0;
  const taken = cached ? between(r.sqHead, r.cachedSQHead) : 0;
  const unpublished = cached ? between(r.cqTail, r.cachedCQTail) : 0;
  return {
    pending,
    taken: taken <= pending ? taken : 0,
    unread,
    unpublished: unpublished <= r.cqEntries ? unpublished : 0,
    sqBroken: pending > r.sqEntries,
    cqBroken: unread > r.cqEntries,
  };
}

export type RingProblem = { code: "no-base" | "generation" | "gap"; message: string };

/** The picture after one frame. With a problem it is the old one, and a key frame is to be asked for. */
export function applyRing(
  model: RingModel,
  frame: RingFrame,
): { model: RingModel; problem: RingProblem | null } {
  const h = frame.header;
  const key = (h.flags & Flag.key) !== 0;
  const ring = frame.ring ?? model.ring;
  if (!key && model.ring === null) {
    return { model, problem: { code: "no-base", message: "a change came before the first whole picture" } };
  }
  if (!key && h.generation !== model.generation) {
    const message = `generation ${h.generation} after ${model.generation} without a key frame`;
    return { model, problem: { code: "generation", message } };
  }
  const list = <T>(next: readonly T[] | null, now: readonly T[]): readonly T[] => next ?? (key ? [] : now);
  return {
    model: {
      generation: h.generation,
      sequence: h.sequence,
      time: h.time,
      flags: h.flags,
      truth: frame.truth ?? model.truth,
      ring,
      sqes: list(frame.sqes, model.sqes),
      cqes: list(frame.cqes, model.cqes),
      requests: list(frame.requests, model.requests),
      workers: list(frame.workers, model.workers),
      resources: list(frame.resources, model.resources),
      lives: frame.lives ?? [],
    },
    problem: null,
  };
}

export interface RingApplied {
  readonly frame: RingFrame;
  readonly before: RingModel;
  readonly model: RingModel;
  /** Events that were not told before. */
  readonly news: readonly Life[];
  /** Ask the server for a key frame. */
  readonly needKey: boolean;
  readonly problem: RingProblem | null;
  /** Frames missed just before this one. */
  readonly skipped: number;
}

/** Applies frames of one topic, in the order they come. */
export class RingStream {
  model: RingModel = EMPTY_RING;
  /** Frames missed since the beginning, by gaps in the sequence. */
  skipped = 0;
  /** Events missing between those that came, by gaps in their count. */
  lost = 0;
  private lastSequence = -1;
  private lastGeneration = -1;
  private lastLife = -1;

  /** Throws FrameError; the model is then as before. */
  push(buffer: ArrayBuffer): RingApplied {
    const frame = decodeRing(buffer);
    const h = frame.header;
    const key = (h.flags & Flag.key) !== 0;
    let skipped = 0;
    let jumped = false;
    if (this.lastSequence >= 0 && h.generation === this.lastGeneration) {
      const step = (h.sequence - this.lastSequence) | 0; // the sequence wraps at 2^32
      jumped = step !== 1;
      if (step > 1) skipped = step - 1;
    }
    if (h.generation !== this.lastGeneration) this.lastLife = -1;
    this.lastSequence = h.sequence;
    this.lastGeneration = h.generation;
    this.skipped += skipped;

    const before = this.model;
    if (jumped && !key) {
      const problem: RingProblem = {
        code: "gap",
        message: `${skipped} frames are missing before this change`,
      };
      return { frame, before, model: before, news: [], needKey: true, problem, skipped };
    }
    const { model, problem } = applyRing(before, frame);
    if (problem) return { frame, before, model: before, news: [], needKey: true, problem, skipped };
    this.model = model;
    return { frame, before, model, news: this.newLives(model.lives), needKey: false, problem, skipped };
  }

  // A key frame repeats the events of the last second.
  private newLives(lives: readonly Life[]): Life[] {
    const news: Life[] = [];
    for (const l of lives) {
      if (l.seq <= this.lastLife) continue;
      if (this.lastLife >= 0) this.lost += l.seq - this.lastLife - 1;
      this.lastLife = l.seq;
      news.push(l);
    }
    return news;
  }
}

/** The latest events, in order: at most 4,096 of the last minute. */
export class LifeLog {
  lives: readonly Life[] = [];

  constructor(
    private readonly most = 4096,
    private readonly seconds = 60,
  ) {}

  add(news: readonly Life[], now: number): void {
    const oldest = now - this.seconds * 1e9;
    const stale = this.lives.length > 0 && this.lives[0]!.time < oldest;
    if (news.length === 0 && !stale) return;
    const all = [...this.lives, ...news].slice(-this.most);
    this.lives = stale ? all.filter((l) => l.time >= oldest) : all;
  }
}

const kind: Kind<RingModel, RingFrame> = {
  apply: (model, frame) => applyRing(model, decodeRing(frame)).model,
  bytes: (m) => (m.sqes.length + m.cqes.length + m.requests.length + m.resources.length) * 160,
  changed: (f) =>
    f.sqes !== null ||
    f.cqes !== null ||
    f.requests !== null ||
    f.workers !== null ||
    f.resources !== null ||
    (f.lives?.length ?? 0) > 0,
};

/** The last minute of a ring. */
export class RingPast extends Past<RingModel, RingFrame> {
  constructor(opts: { seconds?: number; bytes?: number } = {}) {
    super(kind, opts);
  }
}
