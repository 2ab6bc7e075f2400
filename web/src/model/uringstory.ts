// What happened between two frames, one step at a time, for slow motion. Each
// step has the picture after it; the last step of a frame is the frame itself.
import type { CQE, Life, Place, Request, Ring, SQE } from "../wire/uring";
import { RequestFlag } from "../wire/uring";
import { between, plus, sees, slotOf, type RingModel } from "./uring";
import { CQE_F_MORE } from "./uringnames";

export type Step =
  /** The owner wrote an SQE and moved sq.tail. Seen by its effect: its moment is not known. */
  | { readonly kind: "queue"; readonly position: number; readonly sqe: SQE | null }
  /** The kernel took SQEs; told by the counters where there are no events. */
  | { readonly kind: "take"; readonly position: number; readonly count: number }
  /** The kernel posted a CQE; likewise. `kept`: it had waited on cq_overflow_list. */
  | { readonly kind: "post"; readonly position: number; readonly cqe: CQE | null; readonly kept: boolean }
  /** The owner read a CQE and moved cq.head. */
  | { readonly kind: "reap"; readonly position: number; readonly cqe: CQE | null }
  /** position: the SQE that was taken, or the CQE that was posted; -1 otherwise. */
  | { readonly kind: "life"; readonly life: Life; readonly position: number }
  /** More than can be told one by one. */
  | { readonly kind: "many"; readonly count: number };

export interface Told {
  readonly step: Step;
  readonly model: RingModel;
}

/** Above this a frame is told as one step. */
const MOST_STEPS = 256;

function ringWith(m: RingModel, change: Partial<Ring>): RingModel {
  return m.ring ? { ...m, ring: { ...m.ring, ...change } } : m;
}

/** An SQE as far as the event of its submission tells. */
function sqeOf(l: Life, position: number, entries: number): SQE {
  return {
    position,
    index: slotOf(position, entries),
    op: l.op,
    flags: l.sqeFlags,
    ioprio: 0,
    fd: l.fd,
    off: 0n,
    addr: 0n,
    len: 0,
    opFlags: 0,
    userData: l.userData,
    bufIndex: 0,
    wide: false,
    spliceFD: 0,
    addr3: 0n,
  };
}

function cqeOf(l: Life, position: number): CQE {
  return { position, res: l.res, userData: l.userData, flags: l.cqeFlags, wide: false, extra: [0n, 0n] };
}

const MOVES: Partial<Record<Life["what"], Place>> = { arm: "armed", punt: "punted", taskwork: "taskwork" };

function place(m: RingModel, l: Life, where: Place): RingModel {
  const id = l.request;
  const known = m.requests.find((r) => r.id === id);
  const seen = where === "armed" ? RequestFlag.seenArmed : where === "punted" ? RequestFlag.seenPunted : 0;
  if (!known) {
    const fresh: Request = {
      id,
      op: l.op,
      where,
      flags: seen,
      since: l.submitAt !== 0 ? l.submitAt : l.time,
      userData: l.userData,
      moved: l.time,
      fd: l.fd,
      posted: 0,
    };
    return { ...m, requests: [...m.requests, fresh] };
  }
  return {
    ...m,
    requests: m.requests.map((r) =>
      r.id === id ? { ...r, where, moved: l.time, flags: r.flags | seen } : r,
    ),
  };
}

/** The picture after one event, and the position it is about. */
export function afterLife(m: RingModel, l: Life): { model: RingModel; position: number } {
  const ring = m.ring;
  if (!ring) return { model: m, position: -1 };
  const where = MOVES[l.what];
  if (where) return { model: place(m, l, where), position: -1 };
  if (l.what === "submit") {
    const position = ring.sqHead;
    const next = ringWith(
      { ...m, sqes: m.sqes.filter((e) => e.position !== position) },
      {
        sqHead: plus(position, 1),
        cachedSQHead: plus(position, 1),
        // Written and taken within one frame: the tail was there first.
        sqTail: between(position, ring.sqTail) === 0 ? plus(position, 1) : ring.sqTail,
        submitted: ring.submitted + 1,
        inFlight: ring.inFlight < 0 ? -1 : ring.inFlight + 1,
        requests: ring.requests + 1,
      },
    );
    return { model: place(next, l, "submitted"), position };
  }
  if (l.what === "complete") {
    const stays = (l.cqeFlags & CQE_F_MORE) !== 0;
    const requests = stays
      ? m.requests.map((r) =>
          r.id === l.request
            ? { ...r, posted: r.posted + 1, where: "armed" as const, flags: r.flags | RequestFlag.multishot }
            : r,
        )
      : m.requests.filter((r) => r.id !== l.request);
    const held = stays
      ? {}
      : {
          inFlight: ring.inFlight < 0 ? -1 : Math.max(0, ring.inFlight - 1),
          requests: Math.max(0, ring.requests - 1),
        };
    const full = between(ring.cqHead, ring.cqTail) >= ring.cqEntries;
    if (full) {
      const change = { ...held, overflowList: ring.overflowList + 1, completed: ring.completed + 1 };
      return { model: ringWith({ ...m, requests }, change), position: -1 };
    }
    const position = ring.cqTail;
    const change = {
      ...held,
      cqTail: plus(position, 1),
      cachedCQTail: plus(position, 1),
      completed: ring.completed + 1,
    };
    const next = ringWith({ ...m, requests, cqes: [...m.cqes, cqeOf(l, position)] }, change);
    return { model: next, position };
  }
  return { model: m, position: -1 };
}

function queued(m: RingModel, sqe: SQE | null, position: number): RingModel {
  const sqes = sqe ? [...m.sqes.filter((e) => e.position !== position), sqe] : m.sqes;
  return ringWith({ ...m, sqes }, { sqTail: plus(position, 1) });
}

function reaped(m: RingModel, position: number): RingModel {
  return ringWith(
    { ...m, cqes: m.cqes.filter((e) => e.position !== position) },
    { cqHead: plus(position, 1) },
  );
}

// What no event told: where there are none, or some were lost, and when what
// was kept on cq_overflow_list is moved in, which is no event.
function counted(after: RingModel, now: () => RingModel, push: (step: Step, model: RingModel) => void): void {
  const b = after.ring;
  const m = now();
  if (!b || !m.ring) return;
  const head = m.ring.sqHead;
  const count = between(head, b.sqHead);
  if (count > 0 && count <= b.sqEntries) {
    const sqes = m.sqes.filter((e) => between(head, e.position) >= count);
    push(
      { kind: "take", position: head, count },
      ringWith({ ...m, sqes }, { sqHead: b.sqHead, cachedSQHead: b.cachedSQHead }),
    );
  }
  const tail = m.ring.cqTail;
  const posted = between(tail, b.cqTail);
  if (posted > MOST_STEPS) return;
  const kept = m.ring.overflowList > b.overflowList;
  for (let i = 0; i < posted; i++) {
    const before = now();
    const position = plus(tail, i);
    const cqe = after.cqes.find((e) => e.position === position) ?? null;
    const overflowList = Math.max(b.overflowList, (before.ring?.overflowList ?? 0) - (kept ? 1 : 0));
    push(
      { kind: "post", position, cqe, kept },
      ringWith(
        { ...before, cqes: cqe ? [...before.cqes, cqe] : before.cqes },
        { cqTail: plus(position, 1), cachedCQTail: plus(position, 1), overflowList },
      ),
    );
  }
}

/**
 * The steps from one whole picture to the next. The order of the kernel's
 * events is the kernel's; writes of the owner to shared memory have no time,
 * and stand where they must have been at the latest.
 */
export function stepsBetween(before: RingModel, after: RingModel, news: readonly Life[]): Told[] {
  const a = before.ring;
  const b = after.ring;
  if (!a || !b || before.generation !== after.generation) return [];
  const queuedCount = between(a.sqTail, b.sqTail);
  const reapedCount = between(a.cqHead, b.cqHead);
  const events = news.filter((l) => l.what !== "unknown");
  const total = events.length + queuedCount + reapedCount;
  if (total === 0 && between(a.sqHead, b.sqHead) === 0 && between(a.cqTail, b.cqTail) === 0) return [];
  if (total > MOST_STEPS) return [{ step: { kind: "many", count: total }, model: after }];

  const out: Told[] = [];
  let m: RingModel = { ...before, time: after.time, sequence: after.sequence, truth: after.truth, lives: [] };
  const push = (step: Step, model: RingModel): void => {
    m = model;
    out.push({ step, model });
  };
  const submits = events.filter((l) => l.what === "submit");
  const pendingOf = new Map(after.sqes.map((e) => [e.position, e]));
  const queue = (position: number): void => {
    const taken = submits[between(a.sqHead, position)];
    const sqe = pendingOf.get(position) ?? (taken ? sqeOf(taken, position, a.sqEntries) : null);
    push({ kind: "queue", position, sqe }, queued(m, sqe, position));
  };
  // Those that the kernel has taken since must have been written before.
  let written = 0;
  const lastTaken = between(a.sqTail, b.sqHead);
  const takenOfNew = lastTaken <= queuedCount ? lastTaken : 0;
  while (written < takenOfNew && between(m.ring!.sqHead, m.ring!.sqTail) < a.sqEntries) {
    queue(plus(a.sqTail, written++));
  }
  if (sees(b, "lives")) {
    for (const l of events) {
      if (l.what === "submit" && written < takenOfNew && between(m.ring!.sqHead, m.ring!.sqTail) === 0) {
        queue(plus(a.sqTail, written++));
      }
      const next = afterLife(m, l);
      push({ kind: "life", life: l, position: next.position }, next.model);
    }
  }
  counted(after, () => m, push);
  for (let i = 0; i < reapedCount; i++) {
    const position = plus(a.cqHead, i);
    const cqe = m.cqes.find((e) => e.position === position) ?? null;
    push({ kind: "reap", position, cqe }, reaped(m, position));
  }
  while (written < queuedCount) queue(plus(a.sqTail, written++));
  const last = out.pop();
  if (last) out.push({ step: last.step, model: after });
  return out;
}

/**
 * The steps told so far and those still to be told. `at` is the one shown; -1
 * before the first. Holds no clock.
 */
export class Story {
  private told: Told[] = [];
  private cursor = -1;
  /** Steps that came faster than they could be told. */
  skipped = 0;

  constructor(
    private readonly waiting = 64,
    private readonly past = 256,
  ) {}

  get current(): Told | null {
    return this.told[this.cursor] ?? null;
  }

  /** Steps that wait to be told. */
  get ahead(): number {
    return this.told.length - 1 - this.cursor;
  }

  get behind(): number {
    return Math.max(0, this.cursor);
  }

  /** `follow`: nobody is watching step by step, the newest is the one shown. */
  add(steps: readonly Told[], after: RingModel, follow: boolean): void {
    this.told.push(...steps);
    const last = this.told.at(-1);
    // What changed without a step (a thread, a counter) belongs to the newest picture.
    if (steps.length === 0 && last && last.model.generation === after.generation) {
      this.told[this.told.length - 1] = { step: last.step, model: after };
    }
    if (follow) this.cursor = this.told.length - 1;
    else if (this.ahead > this.waiting) {
      const jump = this.ahead - this.waiting;
      this.cursor += jump;
      this.skipped += jump;
    }
    const drop = this.cursor - this.past;
    if (drop > 0) {
      this.told.splice(0, drop);
      this.cursor -= drop;
    }
  }

  /** The next step; null if there is none yet. */
  next(): Told | null {
    if (this.ahead <= 0) return null;
    this.cursor++;
    return this.current;
  }

  previous(): Told | null {
    if (this.cursor <= 0) return null;
    this.cursor--;
    return this.current;
  }

  /** Tell no more of what waits. */
  catchUp(): void {
    this.cursor = this.told.length - 1;
  }

  clear(): void {
    this.told = [];
    this.cursor = -1;
  }
}
