// What happened between two frames, one step at a time, for slow motion. Each
// step has the picture after it; the last step of a frame is the frame itself.
import type { CQE, Life, Place, Request, Ring, SQE } from "../wire/uring";
import { RequestFlag, Seen } from "../wire/uring";
import { between, fillOf, plus, sees, slotOf, type RingModel } from "./uring";
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

/** What a skipped step was. */
export type Skipped = Exclude<Step["kind"], "life"> | Life["what"];

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
const OP_TIMEOUT = 11;

/** Where a multishot request is after a CQE with F_MORE: it waits again. */
function waiting(op: number): Place {
  return op === OP_TIMEOUT ? "timeout" : "armed";
}

function withRequests(m: RingModel, requests: readonly Request[]): RingModel {
  const count = (list: readonly Request[]): number => list.filter((r) => r.where === "armed").length;
  const armed = Math.max(0, (m.ring?.armed ?? 0) + count(requests) - count(m.requests));
  return ringWith({ ...m, requests }, { armed });
}

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
    return withRequests(m, [...m.requests, fresh]);
  }
  return withRequests(
    m,
    m.requests.map((r) => (r.id === id ? { ...r, where, moved: l.time, flags: r.flags | seen } : r)),
  );
}

// A CQE with F_MORE leaves its request where it waits; any other ends it.
function completed(m: RingModel, l: Life): RingModel {
  const ring = m.ring!;
  if ((l.cqeFlags & CQE_F_MORE) !== 0) {
    const again = { where: waiting(l.op), moved: l.time };
    return withRequests(
      m,
      m.requests.map((r) =>
        r.id === l.request
          ? { ...r, ...again, posted: r.posted + 1, flags: r.flags | RequestFlag.multishot }
          : r,
      ),
    );
  }
  const change = {
    inFlight: ring.inFlight < 0 ? -1 : Math.max(0, ring.inFlight - 1),
    requests: Math.max(0, ring.requests - 1),
  };
  return withRequests(
    ringWith(m, change),
    m.requests.filter((r) => r.id !== l.request),
  );
}

// The next CQE is posted; null where it is not known.
function appended(m: RingModel, cqe: CQE | null): RingModel {
  const ring = m.ring!;
  const cqTail = plus(ring.cqTail, 1);
  return ringWith(
    { ...m, cqes: cqe ? [...m.cqes, cqe] : m.cqes },
    { cqTail, cachedCQTail: cqTail, completed: ring.completed + 1 },
  );
}

function kept(m: RingModel, l: Life): RingModel {
  return ringWith(completed(m, l), { overflowList: m.ring!.overflowList + 1 });
}

function posted(m: RingModel, l: Life): RingModel {
  return appended(completed(m, l), cqeOf(l, m.ring!.cqTail));
}

function taken(m: RingModel, l: Life): RingModel {
  const ring = m.ring!;
  const sqHead = plus(ring.sqHead, 1);
  const next = ringWith(
    { ...m, sqes: m.sqes.filter((e) => e.position !== ring.sqHead) },
    {
      sqHead,
      cachedSQHead: sqHead,
      submitted: ring.submitted + 1,
      inFlight: ring.inFlight < 0 ? -1 : ring.inFlight + 1,
      requests: ring.requests + 1,
    },
  );
  return place(next, l, "submitted");
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

/** The words of a ring that both sides write. */
type Words = Pick<Ring, "sqHead" | "sqTail" | "cqHead" | "cqTail">;

// How far a counter is from its goal; 0 if it is there, or past it.
function left(now: number, goal: number): number {
  const n = between(now, goal);
  return n < 2 ** 31 ? n : 0;
}

function same(a: Words, b: Words): boolean {
  return a.sqHead === b.sqHead && a.sqTail === b.sqTail && a.cqHead === b.cqHead && a.cqTail === b.cqTail;
}

function broken(m: RingModel): boolean {
  if (!m.ring) return true;
  const fill = fillOf(m.ring);
  return fill.sqBroken || fill.cqBroken || m.truth?.whole === false;
}

/** What a frame gives to be told. */
export interface Telling {
  readonly steps: readonly Told[];
  /** The picture after them; behind the frame as long as events of it are missing. */
  readonly end: RingModel;
}

/**
 * Tells frames one step at a time. The order of the kernel's events is the
 * kernel's; writes of the owner to shared memory have no time, and stand where
 * they must have been at the latest.
 *
 * A frame is not one instant: the server takes the events first, then reads the
 * kernel's side, then the words in shared memory. What the words say and no
 * event has told is therefore left for the next frame, and an event that the
 * words do not know yet is held back likewise. So no counter goes back, and
 * none shows what was only true later.
 */
export class Teller {
  private base: RingModel | null = null;
  /** Events to be told with the next frame. */
  private held: Life[] = [];
  /** The frame before: by now all events of its words have come. */
  private due: Ring | null = null;
  /** Events of before that are in the base already. */
  private since = 0;
  /** Requests whose latest event was a CQE with F_MORE. */
  private readonly again = new Set<number>();

  tell(before: RingModel, after: RingModel, news: readonly Life[]): Telling {
    const b = after.ring;
    const known = this.base;
    const base = known && known.sequence === before.sequence && known.generation === before.generation;
    if (!base) this.held = [];
    const from = base ? known : before;
    const a = from.ring;
    if (
      !a ||
      !b ||
      from.generation !== after.generation ||
      a.sqEntries !== b.sqEntries ||
      a.cqEntries !== b.cqEntries ||
      broken(from) ||
      broken(after)
    ) {
      return this.jump(after, []);
    }
    const lives = sees(b, "lives");
    const events = [...this.held, ...news].filter((l) => l.what !== "unknown" && l.time >= this.since);
    const moved = between(a.sqTail, b.sqTail) + between(a.cqHead, b.cqHead);
    const most = Math.max(events.length, between(a.sqHead, b.sqHead), between(a.cqTail, b.cqTail));
    if (most + moved > MOST_STEPS) {
      return this.jump(after, [{ step: { kind: "many", count: most + moved }, model: after }]);
    }
    const due = lives ? (base ? (this.due ?? a) : a) : b;
    const telling = new FrameTelling(from, after, events, this.held.length, due);
    telling.run();
    for (const t of telling.out) {
      if (t.step.kind !== "life" || t.step.life.request === 0) continue;
      const { request, what, cqeFlags } = t.step.life;
      if (what === "complete" && (cqeFlags & CQE_F_MORE) !== 0) this.again.add(request);
      else this.again.delete(request);
    }
    this.held = telling.held;
    // An overflow moves no word: what is read of the list is right once it stays.
    const rests = events.length === 0 && this.due?.overflowList === b.overflowList;
    const end = this.settle(telling.model, after, !lives || rests);
    this.due = b;
    this.since = 0;
    this.base = end;
    const steps = telling.out;
    const last = steps.pop();
    if (last) steps.push({ step: last.step, model: end });
    return { steps, end };
  }

  /** What came before is not told any more. */
  private jump(after: RingModel, steps: readonly Told[]): Telling {
    this.base = after;
    this.held = [];
    this.due = after.ring;
    this.since = after.time;
    this.again.clear();
    return { steps, end: after };
  }

  // The frame itself where all of it is told, else what is told of it.
  private settle(m: RingModel, after: RingModel, rests: boolean): RingModel {
    const a = m.ring!;
    const b = after.ring!;
    if (!same(a, b) || this.held.length > 0 || (!rests && a.overflowList !== b.overflowList)) {
      return { ...m, truth: after.truth, workers: after.workers, resources: after.resources };
    }
    const there = new Set(after.requests.map((r) => r.id));
    for (const id of this.again) if (!there.has(id)) this.again.delete(id);
    if (!after.requests.some((r) => r.where === "taskwork" && this.again.has(r.id))) return after;
    // Its task work was done with the CQE.
    return withRequests(
      after,
      after.requests.map((r) =>
        r.where === "taskwork" && this.again.has(r.id) ? { ...r, where: waiting(r.op) } : r,
      ),
    );
  }
}

class FrameTelling {
  readonly out: Told[] = [];
  readonly held: Life[] = [];
  model: RingModel;
  private readonly goal: Ring;
  private readonly lives: boolean;
  private readonly first: number;
  private readonly submits: readonly Life[];
  private readonly rows: ReadonlyMap<number, SQE>;
  private readonly counted = new Set<Life>();

  constructor(
    before: RingModel,
    private readonly after: RingModel,
    private readonly events: readonly Life[],
    /** So many of the events were held back once already. */
    private readonly late: number,
    private readonly due: Words,
  ) {
    this.goal = after.ring!;
    this.lives = sees(this.goal, "lives");
    const ring = before.ring!;
    this.first = ring.sqHead;
    this.submits = events.filter((l) => l.what === "submit");
    this.rows = new Map(after.sqes.map((e) => [e.position, e]));
    this.model = { ...before, time: after.time, sequence: after.sequence, truth: after.truth, lives: [] };
    // Without events nobody knows when in between the list grew.
    if (!this.lives && ring.overflowList < this.goal.overflowList) {
      this.model = ringWith(this.model, { seen: ring.seen & ~Seen.overflow });
    }
  }

  private get ring(): Ring {
    return this.model.ring!;
  }

  run(): void {
    if (this.lives) this.tellEvents();
    this.take(this.due.sqHead);
    this.post(this.due.cqTail);
    this.reap(this.goal.cqHead);
    while (this.queue());
  }

  private push(step: Step, model: RingModel): void {
    this.model = model;
    this.out.push({ step, model });
  }

  private tellEvents(): void {
    const { events } = this;
    for (let i = 0; i < events.length; i++) {
      const l = events[i]!;
      if (this.tellEvent(l, i)) continue;
      if (i < this.late) continue; // no word ever told of it
      this.held.push(...events.slice(i));
      return;
    }
  }

  // False where the words do not know of it yet.
  private tellEvent(l: Life, i: number): boolean {
    const where = MOVES[l.what];
    if (where) return this.event(l, -1, place(this.model, l, where));
    switch (l.what) {
      case "submit": {
        const position = this.ring.sqHead;
        if (left(position, this.goal.sqHead) === 0) return false;
        if (this.pending === 0) this.write(this.runOf(i, "submit"));
        if (this.pending === 0) return false;
        return this.event(l, position, taken(this.model, l));
      }
      case "complete": {
        if (this.isKept(l, i)) {
          this.counted.add(l);
          return this.event(l, -1, kept(this.model, l));
        }
        while (this.movedFirst(l)) this.postNext();
        const position = this.ring.cqTail;
        if (left(position, this.goal.cqTail) === 0) return false;
        if (this.unread >= this.goal.cqEntries) this.reap(this.goal.cqHead, this.runOf(i, "complete"));
        return this.event(l, position, posted(this.model, l));
      }
      case "overflow": {
        const told = [...this.counted].find((c) => c.userData === l.userData && c.request === l.request);
        if (told) return this.counted.delete(told);
        return this.event(l, -1, kept(this.model, l));
      }
      default:
        return this.event(l, -1, this.model);
    }
  }

  private event(life: Life, position: number, model: RingModel): true {
    this.push({ kind: "life", life, position }, model);
    return true;
  }

  /** How many events of that kind follow on each other: one call of the kernel, as far as can be told. */
  private runOf(i: number, what: "submit" | "complete"): number {
    let n = 0;
    for (let k = i; k < this.events.length; k++) {
      const l = this.events[k]!;
      if (l.what === what) n++;
      else if (what === "complete" || !ISSUES.has(l.what)) break;
    }
    return n;
  }

  private get pending(): number {
    return between(this.ring.sqHead, this.ring.sqTail);
  }

  private get unread(): number {
    return between(this.ring.cqHead, this.ring.cqTail);
  }

  // Some kernels tell of a completion, and then that its CQE found the CQ full.
  private isKept(l: Life, i: number): boolean {
    if (this.ring.overflowList === 0 && this.unread < this.goal.cqEntries) return false;
    const next = this.events.slice(i + 1).find((e) => e.userData === l.userData && e.request === l.request);
    return next?.what === "overflow" && next.res === l.res && next.cqeFlags === l.cqeFlags;
  }

  // The frame has another CQE where this one would go: one that had been kept.
  private movedFirst(l: Life): boolean {
    const { ring } = this;
    if (ring.overflowList === 0 || left(ring.cqTail, this.goal.cqTail) === 0) return false;
    const row = this.after.cqes.find((e) => e.position === ring.cqTail);
    return row !== undefined && row.userData !== l.userData;
  }

  private write(most: number, blind = false): void {
    for (let i = 0; i < most; i++) if (!this.queue(blind)) return;
  }

  // The next SQE that the owner wrote. False if there is none, or no room for it.
  private queue(blind = false): boolean {
    const position = this.ring.sqTail;
    if (left(position, this.goal.sqTail) === 0 || this.pending >= this.goal.sqEntries) return false;
    const l = this.submits[between(this.first, position)];
    const sqe = this.rows.get(position) ?? (l ? sqeOf(l, position, this.goal.sqEntries) : null);
    // Taken since, and its event, which says what it was, is still to come.
    const coming = left(position, this.due.sqHead) === 0 && left(position, this.goal.sqHead) > 0;
    if (!sqe && coming && !blind) return false;
    this.push({ kind: "queue", position, sqe }, queued(this.model, sqe, position));
    return true;
  }

  // SQEs that were taken and of which no event told: there are none, some were
  // lost, or their index was bad.
  private take(due: number): void {
    const dropped = Math.max(0, this.goal.sqDropped - this.ring.sqDropped);
    let n = Math.max(
      left(this.ring.sqHead, due),
      Math.min(dropped, left(this.ring.sqHead, this.goal.sqHead)),
    );
    if (this.held.some((l) => l.what === "submit")) n = 0;
    while (n > 0) {
      if (this.pending === 0) this.write(n, true);
      const count = Math.min(n, this.pending);
      if (count === 0) return;
      n -= count;
      const { sqHead } = this.ring;
      const sqes = this.model.sqes.filter((e) => between(sqHead, e.position) >= count);
      const head = plus(sqHead, count);
      const counters = n === 0 ? { sqDropped: this.goal.sqDropped } : {};
      this.push(
        { kind: "take", position: sqHead, count },
        ringWith(
          { ...this.model, sqes },
          { sqHead: head, cachedSQHead: head, submitted: this.ring.submitted + count, ...counters },
        ),
      );
    }
  }

  // CQEs of which no event told; those that are moved in from cq_overflow_list never have one.
  private post(due: number): void {
    const moved = this.held.length > 0 ? 0 : Math.max(0, this.ring.overflowList - this.goal.overflowList);
    const n = Math.max(
      left(this.ring.cqTail, due),
      Math.min(moved, left(this.ring.cqTail, this.goal.cqTail)),
    );
    for (let i = 0; i < n; i++) this.postNext();
  }

  private postNext(): void {
    if (this.unread >= this.goal.cqEntries) this.reap(this.goal.cqHead, 1);
    const { ring } = this;
    const position = ring.cqTail;
    const cqe = this.after.cqes.find((e) => e.position === position) ?? null;
    const wasKept = ring.overflowList > 0 && ring.overflowList > this.goal.overflowList;
    const next = appended(this.model, cqe);
    const overflowList = ring.overflowList - (wasKept ? 1 : 0);
    this.push({ kind: "post", position, cqe, kept: wasKept }, ringWith(next, { overflowList }));
  }

  private reap(goal: number, most = Infinity): void {
    for (let i = 0; i < most && left(this.ring.cqHead, goal) > 0 && this.unread > 0; i++) {
      const position = this.ring.cqHead;
      const cqe = this.model.cqes.find((e) => e.position === position) ?? null;
      this.push({ kind: "reap", position, cqe }, reaped(this.model, position));
    }
  }
}

/** What the kernel does with an SQE while it takes the others of a call. */
const ISSUES: ReadonlySet<Life["what"]> = new Set(["arm", "punt", "link", "defer", "fail"]);

/** The steps between two frames that stand alone. */
export function stepsBetween(before: RingModel, after: RingModel, news: readonly Life[]): readonly Told[] {
  return new Teller().tell(before, after, news).steps;
}

/**
 * The steps told so far and those still to be told. `at` is the one shown; -1
 * before the first. Holds no clock.
 */
export class Story {
  private told: Told[] = [];
  private cursor = -1;
  /** Steps that came faster than they could be told, by what they were. */
  readonly skippedOf = new Map<Skipped, number>();

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

  get skipped(): number {
    let n = 0;
    for (const k of this.skippedOf.values()) n += k;
    return n;
  }

  /**
   * `follow`: nobody is watching step by step, the newest is the one shown.
   * True if the step that is to be shown is another now.
   */
  add(steps: readonly Told[], after: RingModel, follow: boolean): boolean {
    for (const t of steps) this.append(t);
    const last = this.told.at(-1);
    // What changed without a step (a thread, a counter) belongs to the newest picture.
    if (steps.length === 0 && last && last.model.generation === after.generation) {
      this.told[this.told.length - 1] = { step: last.step, model: after };
    }
    let jumped = false;
    if (follow) this.cursor = this.told.length - 1;
    else if (this.ahead > this.waiting) {
      // The last that is skipped has the picture that all of them lead to.
      const to = this.told.length - 1 - this.waiting;
      for (const t of this.told.slice(this.cursor + 1, to + 1)) {
        const what = t.step.kind === "life" ? t.step.life.what : t.step.kind;
        this.skippedOf.set(what, (this.skippedOf.get(what) ?? 0) + 1);
      }
      this.cursor = to;
      jumped = true;
    }
    const drop = this.cursor - this.past;
    if (drop > 0) {
      this.told.splice(0, drop);
      this.cursor -= drop;
    }
    return jumped;
  }

  // At full speed frame after frame is too much: those that wait are one step.
  private append(t: Told): void {
    const last = this.told.at(-1);
    if (t.step.kind === "many" && last?.step.kind === "many" && this.ahead > 0) {
      this.told.pop();
      this.told.push({ step: { kind: "many", count: last.step.count + t.step.count }, model: t.model });
    } else this.told.push(t);
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

  /** Tell no more of what waits, and count what is skipped anew. */
  catchUp(): void {
    this.cursor = this.told.length - 1;
    this.skippedOf.clear();
  }

  clear(): void {
    this.told = [];
    this.cursor = -1;
  }
}
