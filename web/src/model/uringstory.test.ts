// What slow motion shows must have been so. The kernel below is only a test's:
// it counts as io_uring does, and its frames are read as the server reads them,
// the events first, then the kernel's side, then the words in shared memory.
import { describe, expect, test } from "vitest";
import type { CQE, Life, Request, SQE } from "../wire/uring";
import { cqe, life, request, ring, ringModel, sqe } from "../testing/rings";
import { between, EMPTY_RING, type RingModel } from "./uring";
import { CQE_F_MORE } from "./uringnames";
import { Story, Teller, type Told } from "./uringstory";

/** Numbers that are the same each time. */
function dice(seed: number): (n: number) => number {
  let s = seed * 2_654_435_761 + 1;
  return (n) => {
    s = (Math.imul(s, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((s / 2 ** 32) * n);
  };
}

class TestKernel {
  sqHead = 0;
  sqTail = 0;
  cqHead = 0;
  cqTail = 0;
  kept: CQE[] = [];
  sqes: SQE[] = [];
  cqes: CQE[] = [];
  requests: Request[] = [];
  events: Life[] = [];
  submitted = 0;
  completed = 0;
  /** sq.head, cq.tail and cq_overflow_list after each event. */
  readonly states = new Set<string>(["0 0 0"]);
  private seq = 0;
  private data = 0n;
  private taken: SQE[] = [];
  private readonly start: number;

  constructor(
    readonly sqEntries: number,
    readonly cqEntries: number,
    /** Tells of a completion before that of its overflow, as 6.1 does. */
    readonly both: boolean,
    start = 0,
  ) {
    this.start = start;
    this.sqHead = this.sqTail = this.cqHead = this.cqTail = start >>> 0;
    this.note();
  }

  get time(): number {
    return 1_000_000 + this.seq * 10_000 - 5000;
  }

  private note(): void {
    this.states.add(`${this.sqHead} ${this.cqTail} ${this.kept.length}`);
  }

  private tell(
    what: Life["what"],
    q: Pick<Request, "id" | "op" | "userData">,
    change: Partial<Life> = {},
  ): void {
    this.events.push(life(this.seq++, what, { request: q.id, op: q.op, userData: q.userData, ...change }));
  }

  queue(op: number): void {
    if (between(this.sqHead, this.sqTail) >= this.sqEntries) return;
    this.sqes.push(sqe(this.sqTail, { op, userData: ++this.data }));
    this.sqTail = (this.sqTail + 1) >>> 0;
  }

  take(): void {
    const e = this.sqes.shift();
    if (!e) return;
    this.sqHead = (this.sqHead + 1) >>> 0;
    this.submitted++;
    const q = request(Number(e.userData), { op: e.op, userData: e.userData, where: "submitted" });
    this.requests.push(q);
    this.tell("submit", q);
    this.note();
    if (e.op !== 0) this.move(q.id, "armed", "arm");
    else this.taken.push(e);
  }

  private move(id: number, where: Request["where"], what: Life["what"]): void {
    this.requests = this.requests.map((r) => (r.id === id ? { ...r, where } : r));
    this.tell(
      what,
      this.requests.find((r) => r.id === id)!,
    );
  }

  /** NOPs complete at the end of the call that took them. */
  finish(): void {
    const e = this.taken.shift();
    if (e) this.complete(Number(e.userData), 0);
  }

  wake(more: boolean): void {
    const q = this.requests.find((r) => r.where === "armed");
    if (!q) return;
    this.move(q.id, "taskwork", "taskwork");
    this.complete(q.id, more ? CQE_F_MORE : 0);
  }

  private complete(id: number, flags: number): void {
    const q = this.requests.find((r) => r.id === id)!;
    const row = cqe(this.cqTail, { userData: q.userData, flags });
    this.requests =
      flags === 0
        ? this.requests.filter((r) => r.id !== id)
        : this.requests.map((r) => (r.id === id ? { ...r, where: "armed" } : r));
    const full = this.kept.length > 0 || between(this.cqHead, this.cqTail) >= this.cqEntries;
    if (full) this.kept.push(row);
    else {
      this.cqes.push(row);
      this.cqTail = (this.cqTail + 1) >>> 0;
      this.completed++;
    }
    if (!full || this.both) this.tell("complete", q, { cqeFlags: flags });
    if (full) this.tell("overflow", q, { cqeFlags: flags });
    this.note();
  }

  flush(): void {
    while (this.kept.length > 0 && between(this.cqHead, this.cqTail) < this.cqEntries) {
      this.cqes.push({ ...this.kept.shift()!, position: this.cqTail });
      this.cqTail = (this.cqTail + 1) >>> 0;
      this.completed++;
      this.note();
    }
  }

  reap(): void {
    if (this.cqes.shift()) this.cqHead = (this.cqHead + 1) >>> 0;
  }

  get multishot(): boolean {
    return this.requests.some((r) => r.op === 13);
  }

  /** Reads a frame while `between` goes on between its three parts. */
  frame(sequence: number, goOn: () => void): { model: RingModel; news: Life[] } {
    const news = this.events;
    this.events = [];
    goOn();
    const { requests } = this;
    const overflowList = this.kept.length;
    const { submitted, completed } = this;
    goOn();
    const r = ring({
      sqEntries: this.sqEntries,
      cqEntries: this.cqEntries,
      sqHead: this.sqHead,
      sqTail: this.sqTail,
      cqHead: this.cqHead,
      cqTail: this.cqTail,
      overflowList,
      requests: requests.length,
      inFlight: requests.length,
      armed: requests.filter((q) => q.where === "armed").length,
      submitted,
      completed,
    });
    const model = ringModel({
      sequence,
      time: this.time,
      ring: r,
      sqes: [...this.sqes],
      cqes: [...this.cqes],
      requests: [...requests],
    });
    return { model, news };
  }

  get from(): number {
    return this.start >>> 0;
  }
}

/** One thing that owner or kernel does. */
function act(k: TestKernel, roll: (n: number) => number, flushes: boolean): void {
  switch (roll(9)) {
    case 0:
    case 1:
      return k.queue(0);
    case 2:
      return k.queue(roll(4) === 0 ? 13 : 0);
    case 3:
    case 4:
      return k.take();
    case 5:
    case 6:
      return k.finish();
    case 7:
      return roll(2) === 0 ? k.wake(roll(2) === 0) : k.reap();
    default:
      return flushes ? k.flush() : k.reap();
  }
}

// What is moved in from cq_overflow_list is no event: where it stood among them is
// not known, so the very state is asked for only where nothing is moved.
function checkPicture(k: TestKernel, m: RingModel, last: RingModel | null, exact: boolean): void {
  const r = m.ring!;
  const pending = between(r.sqHead, r.sqTail);
  const wrong: string[] = [];
  if (pending > r.sqEntries) wrong.push(`${pending} pending`);
  if (between(r.cqHead, r.cqTail) > r.cqEntries) wrong.push("more unread than entries");
  if (r.overflowList < 0) wrong.push(`cq_overflow_list ${r.overflowList}`);
  if (m.sqes.length > pending) wrong.push("more SQEs than are pending");
  const p = last?.ring;
  if (p) {
    for (const word of ["sqHead", "sqTail", "cqHead", "cqTail"] as const) {
      if (between(p[word], r[word]) >= 2 ** 31) wrong.push(`${word} went back`);
    }
    if (r.submitted < p.submitted || r.completed < p.completed) wrong.push("a count went back");
    const state = `${r.sqHead} ${r.cqTail} ${r.overflowList}`;
    if (exact && !k.states.has(state)) wrong.push(`${state} never was`);
  }
  expect(wrong).toEqual([]);
}

/** Words of a step and its picture are of one moment. */
function checkStep(t: Told): void {
  const { step } = t;
  const r = t.model.ring!;
  const next = "position" in step ? (step.position + 1) >>> 0 : 0;
  if (step.kind === "queue") expect(r.sqTail).toBe(next);
  if (step.kind === "reap") expect(r.cqHead).toBe(next);
  if (step.kind === "post") expect(r.cqTail).toBe(next);
  if (step.kind !== "life" || step.position < 0) return;
  expect(step.life.what === "submit" ? r.sqHead : r.cqTail).toBe(next);
}

const shapes = [
  { name: "as 6.18 tells it", both: false, start: 0 },
  { name: "as 6.1 tells it", both: true, start: 0 },
  { name: "over the wrap of the counters", both: false, start: -9 },
];

describe.each(shapes)("random rings, $name", ({ both, start }) => {
  test.each([false, true])("show only what was (skipping: %s)", (skipping) => {
    let steps = 0;
    let skipped = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const roll = dice(seed);
      const k = new TestKernel(4, 4 << roll(2), both, start);
      const flushes = seed % 2 === 0;
      const teller = new Teller();
      const story = new Story(skipping ? 6 : 10_000);
      let before: RingModel = EMPTY_RING;
      let shown: RingModel | null = null;
      const show = (t: Told | null): void => {
        if (!t) return;
        checkStep(t);
        checkPicture(k, t.model, shown, !flushes);
        shown = t.model;
      };
      for (let i = 1; i <= 40; i++) {
        for (let n = roll(25); n > 0; n--) act(k, roll, flushes);
        const quick = roll(3) === 0;
        const { model, news } = k.frame(i, () => {
          for (let n = quick && i > 1 ? roll(6) : 0; n > 0; n--) act(k, roll, flushes);
        });
        const told = teller.tell(before, model, news);
        steps += told.steps.length;
        const at = story.current;
        if (story.add(told.steps, told.end, before.ring === null)) show(story.current);
        else if (!at) show(story.current);
        for (let n = skipping ? roll(8) : 100; n > 0; n--) show(story.next());
        before = model;
      }
      // At rest nothing is left behind.
      for (let i = 41; i <= 43; i++) {
        const { model, news } = k.frame(i, () => undefined);
        const told = teller.tell(before, model, news);
        if (i === 43) {
          const { sequence, ...rest } = told.end;
          expect({ ...rest, sequence }).toEqual(model);
        }
        before = model;
      }
      skipped += story.skipped;
    }
    expect(steps).toBeGreaterThan(1000);
    expect(skipped > 0).toBe(skipping);
  });
});

test("of single-shot requests no more are completed than were taken", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const roll = dice(seed + 1000);
    const k = new TestKernel(8, 16, false);
    const teller = new Teller();
    let before: RingModel = EMPTY_RING;
    for (let i = 1; i <= 30; i++) {
      const some = (): void => {
        for (let n = roll(12); n > 0; n--) [() => k.queue(0), () => k.take(), () => k.finish()][roll(3)]!();
      };
      some();
      const { model, news } = k.frame(i, i > 1 ? some : () => undefined);
      for (const { model: m } of teller.tell(before, model, news).steps) {
        expect(m.ring!.cqTail + m.ring!.overflowList).toBeLessThanOrEqual(m.ring!.sqHead);
      }
      before = model;
    }
  }
});

describe("a frame that is not one instant", () => {
  const start = ringModel({ ring: ring({ sqEntries: 4, cqEntries: 2 }) });
  const two = [life(1, "submit", { op: 0 }), life(2, "submit", { op: 0, request: 2, userData: 2n })];
  const rest = [
    life(3, "complete", { op: 0 }),
    life(4, "complete", { op: 0, request: 2, userData: 2n }),
    life(5, "submit", { op: 0, request: 3, userData: 3n }),
    life(6, "overflow", { op: 0, request: 3, userData: 3n }),
  ];

  test("leaves what no event has told for the next", () => {
    const teller = new Teller();
    const words = { sqEntries: 4, cqEntries: 2, sqHead: 3, sqTail: 3, cqTail: 2, submitted: 3, completed: 2 };
    // Its words and its overflow list are already of the end.
    const early = ringModel({
      sequence: 2,
      ring: ring({ ...words, overflowList: 1 }),
      cqes: [cqe(0), cqe(1)],
    });
    const first = teller.tell(start, early, two);
    expect(first.end.ring).toMatchObject({ sqHead: 2, cqTail: 0, overflowList: 0 });
    expect(first.steps.some((t) => t.step.kind === "queue" && t.step.sqe === null)).toBe(false);
    const late = { ...early, sequence: 3 };
    const second = teller.tell(early, late, rest);
    expect(second.steps.map((t) => (t.step.kind === "life" ? t.step.life.what : t.step.kind))).toEqual([
      "complete",
      "complete",
      "queue",
      "submit",
      "overflow",
    ]);
    expect(second.steps.map((t) => t.model.ring!.overflowList)).toEqual([0, 0, 0, 0, 1]);
    expect(second.end).toBe(late);
  });

  test("tells by the counters what no event ever comes for", () => {
    const teller = new Teller();
    const taken = ringModel({ sequence: 2, ring: ring({ sqHead: 1, sqTail: 1, sqDropped: 1 }) });
    const told = teller.tell(ringModel(), taken, []);
    expect(told.steps.map((t) => t.step.kind)).toEqual(["queue", "take"]);
    expect(told.steps.map((t) => t.model.ring!.sqDropped)).toEqual([0, 1]);
    const lost = ringModel({ sequence: 3, ring: ring({ sqHead: 3, sqTail: 3, sqDropped: 1 }) });
    expect(teller.tell(taken, lost, []).end.ring!.sqHead).toBe(1);
    const again = teller.tell(lost, { ...lost, sequence: 4 }, []);
    expect(again.end.ring!.sqHead).toBe(3);
  });

  test("without events the list's length is unknown until the end", () => {
    const seen = 0x7ff & ~(1 << 9);
    const a = ringModel({ ring: ring({ seen, sqTail: 3, cqEntries: 2 }) });
    const b = ringModel({
      sequence: 2,
      ring: ring({ seen, sqHead: 3, sqTail: 3, cqTail: 2, cqEntries: 2, overflowList: 1 }),
    });
    const { steps } = new Teller().tell(a, b, []);
    expect(steps.map((t) => (t.model.ring!.seen & (1 << 8)) !== 0)).toEqual([false, false, true]);
  });
});

test("frames that are too much for steps are one while they wait", () => {
  const story = new Story();
  const many = (count: number): Told => ({
    step: { kind: "many", count },
    model: ringModel({ sequence: count }),
  });
  story.add([many(300)], many(300).model, true);
  for (const n of [400, 500, 600]) story.add([many(n)], many(n).model, false);
  expect(story.ahead).toBe(1);
  expect(story.next()).toMatchObject({ step: { count: 1500 }, model: { sequence: 600 } });
  expect(story.skipped).toBe(0);
});

test("a CQE with F_MORE leaves its request where it waits, whatever the frame says", () => {
  const teller = new Teller();
  const armed = request(1, { op: 13, where: "armed", flags: 1 });
  const before = ringModel({ requests: [armed] });
  const stuck = ringModel({
    sequence: 2,
    ring: ring({ cqTail: 1 }),
    cqes: [cqe(0, { flags: CQE_F_MORE })],
    requests: [{ ...armed, where: "taskwork", posted: 1 }],
  });
  const more = { op: 13, cqeFlags: CQE_F_MORE };
  const told = teller.tell(before, stuck, [life(1, "taskwork", more), life(2, "complete", more)]);
  expect(told.steps.map((t) => t.model.requests[0]!.where)).toEqual(["taskwork", "armed"]);
  const still = { ...stuck, sequence: 3 };
  expect(teller.tell(stuck, still, []).end.requests[0]!.where).toBe("armed");
  // The next task work is shown again.
  const next = teller.tell(still, { ...still, sequence: 4 }, [life(3, "taskwork", more)]);
  expect(next.end.requests[0]!.where).toBe("taskwork");
});
