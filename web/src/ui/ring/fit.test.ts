import { describe, expect, test } from "vitest";
import first from "../../i18n/en.json";
import rest from "../../i18n/en.more.json";
import zh from "../../i18n/zh.json";
import type { RingModel } from "../../model/uring";
import { cqe, request, ring, ringModel, SEEN_ALL, sqe } from "../../testing/rings";
import { busyRing } from "../../testing/ringscenes";
import { ringWords } from "./scenewords";
import { Seen, type Request, type Worker } from "../../wire/uring";
import { targetAt, type Picture } from "../../scene/shapes";
import type { Rect } from "../../scene/types";
import {
  buildRingScene,
  LANES,
  lanePoint,
  layoutRing,
  onScreen,
  type RingSceneOptions,
} from "../../scene/uring";
import { fitting, meet, signRect, textRect } from "../../scene/uringfit";

const en = { ...first, ...rest };
const words = { en: ringWords((key) => en[key]), zh: ringWords((key) => zh[key]) };

/** Every lane holds requests, more of them than have room. */
const crowded: Request[] = LANES.flatMap((where, lane) =>
  Array.from({ length: 12 }, (_, i) => request(100 * lane + i + 1, { where, op: 6 })),
);
const worker = (tid: number): Worker => ({
  tid,
  cpu: 0,
  time: 0,
  kind: "bounded",
  state: "running",
  comm: "iou-wrk-4211",
});

const models: Record<string, RingModel> = {
  fresh: ringModel({ ring: ring() }),
  busy: busyRing,
  crowded: ringModel({
    ring: ring({
      setup: 0x2 | 0x8,
      threadState: "running",
      threadCPU: 12,
      threadPID: 4_194_303,
      sqHead: 4_294_967_290,
      cachedSQHead: 4_294_967_291,
      sqTail: 2,
      cqHead: 4_294_967_280,
      cqTail: 0,
      overflowList: 12_345,
      cqOverflow: 4_321,
      sqDropped: 77,
      requests: 60,
      armed: 5000,
      inFlight: 5060,
    }),
    sqes: Array.from({ length: 8 }, (_, i) => sqe((4_294_967_290 + i) % 2 ** 32)),
    cqes: Array.from({ length: 16 }, (_, i) => cqe(4_294_967_280 + i, { res: -125 })),
    requests: crowded,
    workers: [1001, 1002, 1003, 1004, 1005, 1006].map(worker),
  }),
  unseen: ringModel({ ring: ring({ seen: 0, inFlight: -1, setup: 2 }) }),
  noRequests: ringModel({ ring: ring({ seen: SEEN_ALL & ~Seen.requests & ~Seen.workers }) }),
  scribbled: ringModel({ ring: ring({ sqTail: 900, cqTail: 12_000 }) }),
  large: ringModel({
    ring: ring({ sqEntries: 4096, cqEntries: 8192, sqHead: 9, cachedSQHead: 40, sqTail: 4000, cqTail: 8192 }),
  }),
  halves: ringModel({ ring: ring({ sqEntries: 64, cqEntries: 128, sqTail: 64, cqTail: 100 }) }),
};

const inside = (r: Rect, p: Picture): boolean =>
  r.x >= -0.5 && r.y >= -0.5 && r.x + r.w <= p.width + 0.5 && r.y + r.h <= p.height + 0.5;

/** What is wrong with a picture, in words. */
function faults(p: Picture): string[] {
  const texts = p.shapes.flatMap((s) => {
    const rect = textRect(s);
    return rect ? [{ rect, text: s.kind === "words" ? s.text : s.kind === "hand" ? s.label : "" }] : [];
  });
  const found = texts.filter((t) => !inside(t.rect, p)).map((t) => `"${t.text}" is outside`);
  texts.forEach((a, i) => {
    for (const b of texts.slice(i + 1)) {
      if (meet(a.rect, b.rect)) found.push(`"${a.text}" lies on "${b.text}"`);
    }
  });
  for (const h of p.shapes) {
    if (h.kind !== "hand" || h.key === "") continue;
    const sign = signRect(h);
    if (!inside(sign, p)) found.push(`the hand ${h.key} is outside`);
    for (const t of texts) if (meet(t.rect, sign)) found.push(`the hand ${h.key} lies on "${t.text}"`);
  }
  for (const t of texts) if (t.text.endsWith("…")) found.push(`"${t.text}" is cut`);
  for (const s of p.shapes) {
    const rect =
      s.kind === "box"
        ? s
        : s.kind === "sector"
          ? { x: s.cx - s.r1, y: s.cy - s.r1, w: 2 * s.r1, h: 2 * s.r1 }
          : s.kind === "line"
            ? {
                x: Math.min(s.x1, s.x2),
                y: Math.min(s.y1, s.y2),
                w: Math.abs(s.x1 - s.x2),
                h: Math.abs(s.y1 - s.y2),
              }
            : null;
    if (rect && !inside(rect, p)) found.push(`${s.kind} ${s.key} is outside`);
    if (s.kind === "box" && (s.w < 0 || s.h < 0)) found.push(`box ${s.key} is turned inside out`);
  }
  return found;
}

describe.each(["en", "zh"] as const)("in %s, from 480 × 150 to 1600 × 900, no words meet", (lang) => {
  test.each(Object.keys(models))("%s", (name) => {
    const wrong: string[] = [];
    for (let width = 480; width <= 1600; width += 56) {
      for (let height = 150; height <= 900; height += 34) {
        for (const waitsFor of [0, 12]) {
          const o: RingSceneOptions = { width, height, words: words[lang], comm: "labserver", waitsFor };
          const found = faults(buildRingScene(models[name]!, o));
          wrong.push(...found.slice(0, 3).map((f) => `${width}×${height}: ${f}`));
        }
      }
    }
    expect(wrong.slice(0, 25)).toEqual([]);
  });
});

test("no hand points into words, wherever it stands", () => {
  const wrong: string[] = [];
  for (let i = 0; i < 16; i++) {
    const m = ringModel({ ring: ring({ sqHead: i, sqTail: i + 3, cqHead: i, cqTail: i + 5 }) });
    for (const [width, height] of [
      [480, 220],
      [769, 163],
      [880, 278],
      [929, 287],
      [880, 458],
      [1040, 558],
      [1600, 900],
    ] as const) {
      const p = buildRingScene(m, { width, height, words: words.en, comm: "labserver" });
      wrong.push(...faults(p).map((f) => `${width}×${height} at ${i}: ${f}`));
    }
  }
  expect(wrong.slice(0, 25)).toEqual([]);
});

describe("a small window", () => {
  const options = (width: number, height: number): RingSceneOptions => ({
    width,
    height,
    words: words.en,
    comm: "owner",
  });

  test("has its lanes in one line each, and their names in it", () => {
    const p = buildRingScene(busyRing, options(860, 260));
    const l = layoutRing(860, 260, 8, 16);
    expect(l.form).toBe("short");
    const texts = p.shapes.flatMap((s) => (s.kind === "words" ? [s] : []));
    for (const name of LANES) {
      const r = l.lanes[name];
      const label = texts.find((t) => t.text !== "" && t.y > r.y && t.y < r.y + r.h && t.x === r.x + 22);
      expect(label?.text).toBeOneOf([words.en.lanes[name], words.en.brief.lanes[name]]);
    }
    expect(texts.some((t) => t.text.startsWith("cached_sq_head"))).toBe(false);
    expect(texts.some((t) => t.text.startsWith("sq_dropped 1"))).toBe(true);
    const none = buildRingScene(models["fresh"]!, options(860, 260));
    expect(none.shapes.some((s) => s.kind === "words" && s.text.startsWith("sq_dropped"))).toBe(false);
  });

  test("keeps all four counters with their values", () => {
    for (const [width, height] of [
      [480, 220],
      [640, 220],
      [860, 300],
      [980, 420],
    ] as const) {
      const p = buildRingScene(busyRing, options(width, height));
      const texts = p.shapes.flatMap((s) => (s.kind === "words" ? [s.text] : []));
      expect(texts).toEqual(
        expect.arrayContaining(["sq.tail", "10", "sq.head", "6", "cq.head", "14", "cq.tail", "17"]),
      );
    }
  });

  test("is scaled as a whole, targets too", () => {
    const p = buildRingScene(busyRing, options(480, 300));
    const l = layoutRing(480, 300, 8, 16);
    expect(l.scale).toBeLessThan(1);
    const token = p.targets.find((t) => t.id === "req:41")!;
    expect(targetAt(p, token.x, token.y)?.id).toBe("req:41");
    expect(onScreen(l, lanePoint(l, "armed")).y).toBeCloseTo(token.y, 0);
  });
});

test("the longest words that fit are taken, never cut ones", () => {
  expect(fitting(["a long label", "short"], 200, 11)).toBe("a long label");
  expect(fitting(["a long label", "short"], 40, 11)).toBe("short");
  expect(fitting(["a long label", "short"], 4, 11)).toBe("");
});
