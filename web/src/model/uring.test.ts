import { describe, expect, test } from "vitest";
import { ringGoldenBytes } from "../testing/ringgolden";
import { cqe, life, request, ring, ringModel, sqe, writeRingFrame } from "../testing/rings";
import { between, EMPTY_RING, fillOf, LifeLog, plus, RingPast, RingStream, slotOf } from "./uring";
import { assembleLives, timeIn } from "./uringlives";
import { cqeText, dataShort, opName, opShort, resText, sqeText } from "./uringnames";
import { Story, stepsBetween } from "./uringstory";

describe("counters", () => {
  test("wrap at 2^32", () => {
    expect(between(4_294_967_294, 1)).toBe(3);
    expect(plus(4_294_967_295, 2)).toBe(1);
    expect(slotOf(4_294_967_294, 8)).toBe(6);
    expect(slotOf(9, 0)).toBe(0);
  });

  test("tell what is pending, taken, unread and unpublished", () => {
    const r = ring({
      sqHead: 4_294_967_294,
      cachedSQHead: 4_294_967_295,
      sqTail: 1,
      cqHead: 20,
      cqTail: 22,
      cachedCQTail: 23,
    });
    expect(fillOf(r)).toEqual({
      pending: 3,
      taken: 1,
      unread: 2,
      unpublished: 1,
      sqBroken: false,
      cqBroken: false,
    });
    expect(fillOf(ring({ sqHead: 3, sqTail: 900 })).sqBroken).toBe(true);
    // Without the kernel's cached words nothing is said of what was taken.
    expect(fillOf(ring({ sqTail: 2, cachedSQHead: 1, seen: 1 })).taken).toBe(0);
  });
});

describe("a stream", () => {
  test("of the golden frames: lists are replaced whole, or stay", () => {
    const s = new RingStream();
    expect(s.push(ringGoldenBytes("key")).model.sqes).toHaveLength(3);
    const d = s.push(ringGoldenBytes("delta"));
    expect(d.problem).toBeNull();
    expect(d.model.sqes).toEqual([]);
    expect(d.model.cqes).toHaveLength(3);
    expect(d.model.workers).toHaveLength(2); // not in the delta
    const torn = s.push(ringGoldenBytes("torn"));
    expect(torn.model.truth?.whole).toBe(false);
    expect(torn.model.ring?.gone).toBe(true);
    expect(torn.model.cqes).toHaveLength(3);
  });

  test("asks for a key frame after a gap and counts what is missing", () => {
    const s = new RingStream();
    expect(s.push(writeRingFrame({ sequence: 1, ring: ring() })).needKey).toBe(true); // no base
    s.push(writeRingFrame({ sequence: 2, flags: 1, ring: ring() }));
    const late = s.push(writeRingFrame({ sequence: 5, ring: ring({ sqTail: 1 }) }));
    expect(late).toMatchObject({ needKey: true, skipped: 2 });
    expect(s.model.ring?.sqTail).toBe(0);
    expect(s.push(writeRingFrame({ sequence: 6, flags: 1, ring: ring({ sqTail: 2 }) })).needKey).toBe(false);
    expect(s.skipped).toBe(2);
  });

  test("tells each event once, and counts those that never came", () => {
    const s = new RingStream();
    s.push(writeRingFrame({ sequence: 1, flags: 1, ring: ring(), lives: [life(1, "submit")] }));
    const again = writeRingFrame({
      sequence: 2,
      flags: 1,
      ring: ring(),
      lives: [life(1, "submit"), life(4, "complete")],
    });
    expect(s.push(again).news.map((l) => l.seq)).toEqual([4]);
    expect(s.lost).toBe(2);
  });

  test("goes back over the last minute", () => {
    const s = new RingStream();
    const past = new RingPast();
    for (let i = 0; i < 5; i++) {
      const frame = writeRingFrame({
        sequence: i + 1,
        flags: i === 0 ? 1 : 0,
        ring: ring({ sqTail: i }),
        sqes: [sqe(i)],
      });
      past.push(frame, s.push(frame), i * 100);
    }
    expect(past.seek(210)?.ring?.sqTail).toBe(2);
    expect(past.step(1)?.ring?.sqTail).toBe(3);
  });
});

test("a log of events is bounded in number and in time", () => {
  const log = new LifeLog(3, 1);
  log.add(
    [1, 2, 3, 4].map((n) => life(n, "submit", { time: n * 1e8 })),
    4e8,
  );
  expect(log.lives.map((l) => l.seq)).toEqual([2, 3, 4]);
  log.add([], 1.35e9);
  expect(log.lives.map((l) => l.seq)).toEqual([4]);
});

describe("names", () => {
  test("are those of the kernel and of strace", () => {
    expect(opShort(22)).toBe("READ");
    expect(opShort(255)).toBe("?");
    expect(opName(200)).toContain("0xc8");
    expect(resText(-11)).toBe("-11 EAGAIN");
    expect(dataShort(0x7f0012345678n)).toBe("…5678");
    expect(
      sqeText(sqe(0, { op: 22, flags: 4, fd: 5, off: 2n ** 64n - 1n, addr: 0x7f00n, len: 64, userData: 3n })),
    ).toBe(
      "{opcode=IORING_OP_READ, flags=IOSQE_IO_LINK, ioprio=0, fd=5, off=-1, addr=0x7f00, len=64, user_data=3}",
    );
    expect(cqeText(cqe(0, { res: -125, userData: 7n, flags: (3 << 16) | 3 }))).toBe(
      "{user_data=7, res=-125 /* ECANCELED */, flags=IORING_CQE_F_BUFFER|IORING_CQE_F_MORE|3<<IORING_CQE_BUFFER_SHIFT}",
    );
  });
});

describe("lives", () => {
  test("of a read that must wait: inline, armed, task work, done", () => {
    const [l] = assembleLives([
      life(1, "submit", { time: 1000 }),
      life(2, "arm", { time: 3000 }),
      life(3, "taskwork", { time: 9000 }),
      life(4, "complete", { time: 10_000, res: 64 }),
    ]);
    expect(timeIn(l!, 0)).toEqual({ inline: 2000, waiting: 0, armed: 6000, punted: 0, taskwork: 1000 });
    expect(l).toMatchObject({ done: true, end: 10_000, multishot: false, whole: true });
    expect(l!.marks).toEqual([{ kind: "complete", time: 10_000, res: 64, flags: 0 }]);
  });

  test("of a multishot request stay, with a mark for each CQE", () => {
    const [l] = assembleLives([
      life(1, "submit"),
      life(2, "arm"),
      life(3, "complete", { cqeFlags: 2 }),
      life(4, "taskwork"),
      life(5, "complete", { cqeFlags: 2 }),
    ]);
    expect(l).toMatchObject({ done: false, end: null, multishot: true });
    expect(l!.marks).toHaveLength(2);
    expect(l!.spans.at(-1)).toMatchObject({ place: "armed", to: null });
  });

  test("of a chain know what they follow, and an ended chain does not go on", () => {
    const lives = assembleLives([
      life(1, "submit", { request: 1, sqeFlags: 4 }),
      life(2, "submit", { request: 2 }),
      life(3, "submit", { request: 3 }),
    ]);
    expect(lives.map((l) => l.follows)).toEqual(["", "r1", ""]);
  });

  test("without ids: the same user_data again is another request", () => {
    const anon = { request: 0, userData: 9n };
    const lives = assembleLives([
      life(1, "submit", anon),
      life(2, "complete", anon),
      life(3, "submit", anon),
      life(4, "complete", { ...anon, res: -9 }),
    ]);
    expect(lives).toHaveLength(2);
    expect(new Set(lives.map((l) => l.key)).size).toBe(2);
    expect(lives[1]!.marks[0]!.res).toBe(-9);
  });

  test("that began before the first event begin where the kernel says", () => {
    const [l] = assembleLives(
      [life(7, "complete", { time: 5000, submitAt: 2000, op: 255 })],
      [request(1, { op: 13 })],
    );
    expect(l).toMatchObject({ start: 2000, op: 13 });
    expect(timeIn(l!, 0).inline).toBe(3000);
  });
});

describe("a story", () => {
  const before = ringModel();

  test("tells one NOP from tail to head, and ends in the frame itself", () => {
    const after = ringModel({
      sequence: 2,
      ring: ring({ sqHead: 1, sqTail: 1, cqHead: 1, cqTail: 1, submitted: 1, completed: 1 }),
    });
    const told = stepsBetween(before, after, [
      life(1, "submit", { op: 0, userData: 1n }),
      life(2, "complete", { op: 0, userData: 1n }),
    ]);
    expect(told.map((t) => (t.step.kind === "life" ? t.step.life.what : t.step.kind))).toEqual([
      "queue",
      "submit",
      "complete",
      "reap",
    ]);
    expect(told[0]!.model.ring).toMatchObject({ sqHead: 0, sqTail: 1, cqTail: 0 });
    expect(told[0]!.model.sqes.map((e) => e.userData)).toEqual([1n]);
    expect(told[1]!.model.ring).toMatchObject({ sqHead: 1, sqTail: 1 });
    expect(told[1]!.model.requests.map((r) => r.where)).toEqual(["submitted"]);
    expect(told[2]!.model.requests).toEqual([]);
    expect(told[2]!.model.cqes.map((e) => e.userData)).toEqual([1n]);
    expect(told[3]!.model).toBe(after);
  });

  test("takes pending SQEs from the frame, and those taken meanwhile from their events", () => {
    const after = ringModel({
      ring: ring({ sqHead: 1, sqTail: 2 }),
      sqes: [sqe(1, { op: 13, userData: 8n })],
      requests: [request(1)],
    });
    const told = stepsBetween(before, after, [life(1, "submit", { userData: 7n })]);
    const queued = told.flatMap((t) => (t.step.kind === "queue" ? [t.step.sqe?.userData] : []));
    expect(queued).toEqual([7n, 8n]);
  });

  test("without events tells what the counters tell", () => {
    const seen = 0x7ff & ~(1 << 9);
    const a = ringModel({ ring: ring({ seen, sqTail: 2 }), sqes: [sqe(0), sqe(1)] });
    const b = ringModel({
      ring: ring({ seen, sqHead: 2, sqTail: 2, cqTail: 1 }),
      cqes: [cqe(0, { res: 5 })],
    });
    expect(stepsBetween(a, b, []).map((t) => t.step.kind)).toEqual(["take", "post"]);
  });

  test("of a full CQ fills the tray instead", () => {
    const full = ringModel({
      ring: ring({ cqEntries: 2, cqTail: 2 }),
      cqes: [cqe(0), cqe(1)],
      requests: [request(1)],
    });
    const after = ringModel({
      ring: ring({ cqEntries: 2, cqTail: 2, overflowList: 1 }),
      cqes: [cqe(0), cqe(1)],
    });
    const told = stepsBetween(full, { ...after, sequence: 2 }, [life(1, "complete"), life(2, "overflow")]);
    expect(told[0]!.step).toMatchObject({ kind: "life", position: -1 });
    expect(told[0]!.model.ring).toMatchObject({ overflowList: 1, cqTail: 2 });
  });

  test("tells of what was kept and is moved in, which is no event", () => {
    const a = ringModel({ ring: ring({ cqHead: 4, cqTail: 8, overflowList: 2 }) });
    const b = ringModel({ ring: ring({ cqHead: 4, cqTail: 10 }), cqes: [cqe(8), cqe(9)], sequence: 2 });
    const told = stepsBetween(a, b, []);
    expect(told.map((t) => t.step)).toMatchObject([
      { kind: "post", position: 8, kept: true },
      { kind: "post", position: 9, kept: true },
    ]);
    expect(told[0]!.model.ring).toMatchObject({ cqTail: 9, overflowList: 1 });
  });

  test("tells too much as one step, and nothing of a quiet frame", () => {
    const busy = ringModel({ ring: ring({ sqTail: 5000, sqHead: 5000 }) });
    expect(stepsBetween(before, busy, []).map((t) => t.step.kind)).toEqual(["many"]);
    expect(stepsBetween(before, ringModel({ sequence: 9 }), [])).toEqual([]);
    expect(stepsBetween(EMPTY_RING, before, [])).toEqual([]);
  });

  test("skips what comes faster than it can be told, and says how much", () => {
    const story = new Story(4, 8);
    const step = { step: { kind: "take", position: 0, count: 1 } as const, model: before };
    story.add([step], before, true);
    story.add(
      Array.from({ length: 10 }, () => step),
      before,
      false,
    );
    expect(story.ahead).toBe(4);
    expect(story.skipped).toBe(6);
    while (story.next()) expect(story.ahead).toBeLessThan(4);
    expect(story.previous()).not.toBeNull();
    expect(story.ahead).toBe(1);
  });
});
