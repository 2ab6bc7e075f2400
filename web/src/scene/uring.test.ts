import { describe, expect, test } from "vitest";
import { assembleLives } from "../model/uringlives";
import { life, request, ring, ringModel, SEEN_ALL, sqe } from "../testing/rings";
import { busyRing as busy, ringOptions as options } from "../testing/ringscenes";
import { Seen } from "../wire/uring";
import { targetAt, turn, type Hand, type Picture, type Shape } from "./shapes";
import { ShapeMotion } from "./shapetween";
import { buildRingScene, drawnSlots, layoutRing, slotPoint } from "./uring";
import { findUserData, idsOf, isFree, parseUserData, ringAriaRows, walkRing } from "./uringnav";
import { buildTimeline, longestOf, shortTime, timelineRows, timelineScale } from "./uringtimeline";

const texts = (p: Picture): string[] => p.shapes.flatMap((s) => (s.kind === "words" ? [s.text] : []));
const hand = (p: Picture, key: string): Hand | undefined =>
  p.shapes.find((s): s is Hand => s.kind === "hand" && s.key === key);

/** A scene in few words, to be read in a snapshot. */
function brief(s: Shape): string {
  const at = (...v: number[]): string => v.map((x) => Math.round(x)).join(" ");
  switch (s.kind) {
    case "sector":
      return `sector ${s.key} ${s.fill?.tone ?? "-"} ${s.hatch} ${((s.a0 * 180) / Math.PI).toFixed(0)}..${((s.a1 * 180) / Math.PI).toFixed(0)}`;
    case "hand":
      return `hand ${s.key} ${s.side > 0 ? "outside" : "inside"} ${((turn(s.angle) * 180) / Math.PI).toFixed(0)} ${s.label}`;
    case "box":
      return `box ${s.key} ${at(s.x, s.y, s.w, s.h)} ${s.hatch}`;
    case "line":
      return `line ${at(s.x1, s.y1, s.x2, s.y2)}`;
    case "words":
      return `"${s.text}" ${at(s.x, s.y)} ${s.tone}`;
  }
}

describe("the picture of a ring", () => {
  test("is the one that was looked at", () => {
    expect(
      buildRingScene(busy, options())
        .shapes.filter((s) => s.key !== "")
        .map(brief),
    ).toMatchSnapshot();
  });

  test("puts the owner's hands outside and the kernel's inside", () => {
    const p = buildRingScene(busy, options());
    expect([hand(p, "sq.tail")?.side, hand(p, "cq.head")?.side]).toEqual([1, 1]);
    expect([hand(p, "sq.head")?.side, hand(p, "cq.tail")?.side]).toEqual([-1, -1]);
    expect(hand(p, "sq.tail")?.filled).toBe(true);
    expect(hand(p, "sq.head")?.filled).toBe(false);
  });

  test("draws each pending SQE and unread CQE in its slot, errors by sign and shape too", () => {
    const p = buildRingScene(busy, options());
    const slots = p.shapes.flatMap((s) => (s.kind === "sector" && /^[sc]q:\d+$/.test(s.key) ? [s.key] : []));
    expect(slots).toEqual(["sq:6", "sq:7", "sq:8", "sq:9", "cq:14", "cq:15", "cq:16"]);
    expect(texts(p)).toContain("=−125");
    expect(texts(p)).toContain("✕ 9"); // an index past the end
    expect(p.shapes.some((s) => s.key === "cq:15/notch")).toBe(true);
    expect(p.shapes.some((s) => s.key === "cq:16/notch")).toBe(false);
    expect(p.shapes.find((s) => s.key === "sq:6")).toMatchObject({ hatch: "falling" }); // taken, not published
  });

  test("says what the tier does not see, and never draws it as nothing", () => {
    const blind = ringModel({ ring: ring({ seen: Seen.heads, sqTail: 2, overflowList: 0, inFlight: -1 }) });
    const p = buildRingScene(blind, options());
    expect(texts(p)).toContain("cq_overflow_list ?");
    expect(texts(p)).toContain("in flight ?");
    expect(texts(p).filter((t) => t === "? not seen")).toHaveLength(5);
    expect(
      p.shapes
        .filter((s) => s.kind === "sector" && s.key.startsWith("sq:"))
        .map((s) => (s as { hatch: string }).hatch),
    ).toEqual(["rising", "rising"]);
    const nothing = buildRingScene(ringModel({ ring: ring({ seen: 0 }) }), options());
    expect(hand(nothing, "sq.tail")).toBeUndefined();
    expect(texts(nothing).filter((t) => t === "?").length).toBeGreaterThanOrEqual(6);
  });

  test("draws large rings as arcs with exact counts, and says so", () => {
    const r = ring({
      sqEntries: 4096,
      cqEntries: 8192,
      sqHead: 4000,
      cachedSQHead: 4000,
      sqTail: 4000 + 300,
      cqTail: 8192,
    });
    const p = buildRingScene(ringModel({ ring: r }), options());
    expect(texts(p)).toContain("300");
    expect(texts(p)).toContain("8,192");
    expect(drawnSlots(r)).toEqual({ drawn: 0, all: 12_288 });
    expect(drawnSlots(ring())).toBeNull();
  });

  test("survives what a scribbling owner writes", () => {
    for (const change of [
      { sqTail: 900 },
      { sqHead: 0xffffffff },
      { sqEntries: 0 },
      { cqEntries: 0 },
      { sqEntries: 7, sqTail: 3 },
    ]) {
      const p = buildRingScene(ringModel({ ring: ring(change) }), options());
      expect(p.shapes.every((s) => !("x" in s) || Number.isFinite(s.x))).toBe(true);
    }
    expect(texts(buildRingScene(ringModel({ ring: ring({ sqTail: 900 }) }), options())).join()).toContain(
      "more than there are",
    );
  });

  test.each([
    [560, 380],
    [880, 420],
    [1520, 800],
  ])("keeps everything within %d × %d", (width, height) => {
    const l = layoutRing(width, height, 8, 16);
    expect(l.sq.cx - l.sq.r1).toBeGreaterThan(0);
    expect(l.cq.cx + l.cq.r1).toBeLessThan(l.width);
    expect(l.kernel.x).toBeGreaterThan(l.sq.cx + l.sq.r1);
    expect(l.kernel.x + l.kernel.w).toBeLessThan(l.cq.cx - l.cq.r1);
    expect(l.kernel.y + l.kernel.h).toBeLessThanOrEqual(l.height);
  });

  test("has a target under each slot and token", () => {
    const p = buildRingScene(busy, options());
    const l = layoutRing(880, 520, 8, 16);
    const at = slotPoint(l.sq, 7);
    expect(targetAt(p, at.x, at.y)?.id).toBe("sq:7");
    const token = p.targets.find((t) => t.id === "req:41")!;
    expect(targetAt(p, token.x, token.y)?.id).toBe("req:41");
    expect(targetAt(p, 2, 2)).toBeNull();
  });

  test("tells who waits in io_uring_enter, and of the thread", () => {
    expect(texts(buildRingScene(busy, options({ waitsFor: 3 })))).toContain("waits for 3");
    const sqpoll = ringModel({
      ring: ring({ setup: 2, threadState: "asleep", threadCPU: 1, threadPID: 4300 }),
    });
    expect(texts(buildRingScene(sqpoll, options()))).toContain("iou-sqp-4211 · asleep · CPU 1");
    const unseen = ringModel({ ring: ring({ setup: 2, seen: SEEN_ALL & ~Seen.thread }) });
    expect(texts(buildRingScene(unseen, options()))).toContain("iou-sqp-4211 · ? · CPU ?");
  });
});

describe("motion", () => {
  test("takes hands forward only, tokens from where they come, and ends in the picture", () => {
    const motion = new ShapeMotion(false);
    const a = buildRingScene(ringModel({ ring: ring({ sqTail: 7 }) }), options());
    const b = buildRingScene(
      ringModel({ ring: ring({ sqTail: 9, requests: 1 }), requests: [request(1)] }),
      options(),
    );
    motion.to(a, 0);
    motion.to(b, 1000, { enters: new Map([["req:1", { x: 100, y: 100 }]]) });
    const angles = [1000, 1100, 1200, 1400].map((t) => hand(motion.at(t)!, "sq.tail")!.angle);
    expect(angles).toEqual([...angles].sort((x, y) => x - y));
    const token = motion.at(1000)!.shapes.find((s) => s.key === "req:1");
    expect(token?.kind === "box" && Math.abs(token.x + token.w / 2 - 100) < 1).toBe(true);
    expect(motion.moving(1200)).toBe(true);
    expect(motion.at(2000)).toBe(b);
  });

  test("is none where motion is reduced", () => {
    const motion = new ShapeMotion(true);
    const a = buildRingScene(busy, options());
    motion.to(a, 0);
    expect(motion.at(0)).toBe(a);
    expect(motion.moving(0)).toBe(false);
  });
});

describe("walking and finding", () => {
  test("goes along a part and on to the next that holds something", () => {
    expect(idsOf(busy, "kernel")).toEqual(["req:41", "req:42"]);
    expect(walkRing(busy, "", "next")).toBe("sq:6");
    expect(walkRing(busy, "sq:6", "next")).toBe("sq:7");
    expect(walkRing(busy, "sq:9", "after")).toBe("req:42");
    expect(walkRing(busy, "cq:14", "before")).toBe("req:41");
    expect(walkRing(busy, "gone:1", "next")).toBe("sq:6");
  });

  test("goes on to free slots, which have an index and an outline", () => {
    const m = ringModel({
      ring: ring({ sqEntries: 4, sqHead: 5, sqTail: 7, cqEntries: 128 }),
      sqes: [sqe(5), sqe(6)],
    });
    expect(idsOf(m, "sq")).toEqual(["sq:5", "sq:6", "sq:7", "sq:8"]);
    expect(walkRing(m, "sq:6", "next")).toBe("sq:7");
    expect(walkRing(m, "sq:8", "next")).toBe("");
    expect(isFree(m, "sq:6")).toBe(false);
    expect(isFree(m, "sq:7")).toBe(true);
    expect(idsOf(m, "cq")).toEqual([]); // too many to be drawn one by one
    const row = ringAriaRows(m, "sq:7").find((r) => r.id === "sq:7");
    expect(row).toMatchObject({ slot: 3, text: "" });
    const at = (focused: string) => buildRingScene(m, { ...options(), focused }).targets.map((t) => t.id);
    expect(at("sq:7")).toContain("sq:7");
    expect(at("sq:9")).not.toContain("sq:9");
    expect(at("")).not.toContain("sq:7");
  });

  test("finds user_data wherever it is", () => {
    expect(findUserData(busy, 41n)).toEqual(["req:41"]);
    expect(findUserData(busy, 15n)).toEqual(["cq:14"]);
    expect(parseUserData("0xff")).toBe(255n);
    expect(parseUserData("18446744073709551616")).toBeNull();
    expect(parseUserData("x")).toBeNull();
  });

  test("tells a screen reader of at most 200 rows, true counts said", () => {
    const many = ringModel({
      ring: ring({ sqEntries: 512, sqTail: 400 }),
      sqes: Array.from({ length: 400 }, (_, i) => sqe(i)),
    });
    const rows = ringAriaRows(many, "sq:399");
    expect(rows.length).toBeLessThanOrEqual(200);
    expect(rows.find((r) => r.part === "sq")?.count).toBe(400);
    expect(rows.some((r) => r.id === "sq:399")).toBe(true);
  });
});

describe("the timeline", () => {
  const lives = assembleLives([
    life(1, "submit", { request: 1, time: 1000, sqeFlags: 4 }),
    life(2, "submit", { request: 2, time: 2000 }),
    life(3, "link", { request: 2, time: 2100 }),
    life(4, "complete", { request: 1, time: 21_000 }),
    life(5, "complete", { request: 2, time: 30_000, res: -125 }),
    life(6, "submit", { request: 3, time: 40_000 }),
  ]);

  test("stands newest first, and a chain together", () => {
    expect(timelineRows(lives).map((r) => [r.life.request, r.depth, r.lead])).toEqual([
      [3, 0, 0],
      [1, 0, 0],
      [2, 1, 1000],
    ]);
  });

  test("draws bars, links and errors, and only the rows in view", () => {
    const rows = timelineRows(lives);
    const o = { width: 800, height: 300, scroll: 0, log: true, now: 50_000, hovered: "", focused: "" };
    const p = buildTimeline(rows, o);
    expect(p.targets.map((t) => t.id)).toEqual(["r3", "r1", "r2"]);
    expect(texts(p)).toContain("−125");
    expect(p.shapes.some((s) => s.kind === "line" && s.head)).toBe(true);
    expect(buildTimeline(rows, { ...o, scroll: 5000 }).targets).toEqual([]);
  });

  test("has a scale in both ways", () => {
    const rows = timelineRows(lives);
    expect(longestOf(rows, 50_000)).toBe(29_000);
    for (const log of [true, false]) {
      const s = timelineScale(1e9, 100, 500, log);
      expect(s.at(0)).toBe(100);
      expect(s.at(1e9)).toBeCloseTo(600);
      expect(s.at(5e8)).toBeGreaterThan(s.at(1e8));
    }
    expect([500, 1500, 12_000, 3.1e6, 2.44e9].map(shortTime)).toEqual([
      "500 ns",
      "1.5 µs",
      "12 µs",
      "3.1 ms",
      "2.4 s",
    ]);
  });
});
