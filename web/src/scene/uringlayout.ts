// Where the parts of a ring's picture stand. There are two forms: the full one,
// and a short one for low windows, whose lanes take one line each. Smaller than
// the smallest of its form, a picture is scaled as a whole.
import type { Place } from "../wire/uring";
import type { Point, Rect } from "./types";

/** Rings of at most this many entries are drawn slot by slot. */
export const MOST_SLOTS = 64;

/** Lanes of the kernel side, from the top: what follows on another stands under it. */
export const LANES = [
  "submitted",
  "armed",
  "taskwork",
  "timeout",
  "punted",
] as const satisfies readonly Place[];
export type LaneName = (typeof LANES)[number];

/** Where one ring stands. */
export interface RingPlace {
  readonly cx: number;
  readonly cy: number;
  readonly r0: number;
  readonly r1: number;
  readonly entries: number;
  /** Left edge and width of its column. */
  readonly x: number;
  readonly w: number;
  /** Its counters: left edge, width, and the middle of the first line. */
  readonly counters: { readonly x: number; readonly y: number; readonly w: number };
}

export interface RingLayout {
  readonly form: "full" | "short";
  /** The size that it is laid out for; it is shown `scale` times as large. */
  readonly width: number;
  readonly height: number;
  readonly scale: number;
  readonly sq: RingPlace;
  readonly cq: RingPlace;
  readonly app: Rect;
  readonly kernel: Rect;
  readonly lanes: Readonly<Record<LaneName, Rect>>;
  readonly thread: Rect;
  readonly tray: Rect;
  /** px from one counter to the next. */
  readonly line: number;
}

const FULL = { w: 640, h: 460 };
const SHORT = { w: 640, h: 160 };
/** Below the picture, where it is said how many slots are drawn. */
const FOOT = 18;

function within(v: number, lo: number, hi: number): number {
  return Math.max(lo, Math.min(v, hi));
}

/** Where everything stands in a picture of that size; nothing depends on what is in the rings. */
export function layoutRing(width: number, height: number, sqEntries: number, cqEntries: number): RingLayout {
  const foot = sqEntries > MOST_SLOTS || cqEntries > MOST_SLOTS ? FOOT : 0;
  const scaleOf = (least: { w: number; h: number }): number =>
    Math.min(1, width / least.w, height / (least.h + foot));
  const full = scaleOf(FULL);
  const short = scaleOf(SHORT);
  // What is scaled less is read more easily.
  const scale = Math.max(full, short);
  const at = { w: width / scale, h: height / scale - foot, sqEntries, cqEntries };
  const l = full >= short ? fullForm(at) : shortForm(at);
  return { ...l, width: width / scale, height: height / scale, scale };
}

/** The same in pixels of the window, for what moves over the picture. */
export function onScreen(l: RingLayout, p: Point): Point {
  return { x: p.x * l.scale, y: p.y * l.scale };
}

interface Room {
  w: number;
  h: number;
  sqEntries: number;
  cqEntries: number;
}
type Form = Omit<RingLayout, "width" | "height" | "scale">;

function laneRects(kernel: Rect, head: number, foot: number): Record<LaneName, Rect> {
  const h = (kernel.h - head - foot) / LANES.length;
  return Object.fromEntries(
    LANES.map((name, i) => [name, { x: kernel.x + 10, y: kernel.y + head + i * h, w: kernel.w - 20, h }]),
  ) as Record<LaneName, Rect>;
}

function fullForm(room: Room): Form {
  const pad = 20;
  const line = 20;
  const app = { x: pad, y: 14, w: room.w - 2 * pad, h: 44 };
  const colW = within(room.w * 0.3, 190, 460);
  const ringTop = app.y + app.h + 30;
  const free = room.h - 10 - (4 * line + 10) - ringTop;
  const r1 = within(Math.min(colW / 2 - 30, free / 2 - 26), 44, 230);
  const cy = ringTop + 24 + Math.max(r1, (free - 40) / 2);
  const y = cy + r1 + 44;
  const cqX = room.w - pad - colW;
  const at = (x: number, entries: number): RingPlace => ({
    cx: x + colW / 2,
    cy,
    r0: r1 * 0.58,
    r1,
    entries,
    x,
    w: colW,
    counters: { x: x + 4, y, w: colW - 4 },
  });
  const kernel = {
    x: pad + colW + 14,
    y: app.y + app.h + 26,
    w: cqX - 14 - (pad + colW + 14),
    h: room.h - 12 - (app.y + app.h + 26),
  };
  return {
    form: "full",
    sq: at(pad, room.sqEntries),
    cq: at(cqX, room.cqEntries),
    app,
    kernel,
    lanes: laneRects(kernel, 56, 10), // its name, and the thread or who enters
    thread: { x: kernel.x + 10, y: kernel.y + 28, w: kernel.w - 20, h: 22 },
    tray: { x: cqX + 4, y: y + 2 * line + 2, w: colW - 8, h: 28 },
    line,
  };
}

function shortForm(room: Room): Form {
  const pad = 12;
  const rim = 14; // round a ring: a hand's sign
  const line = 18;
  // Between the lowest and a comfortable height the margins grow.
  const ease = within((room.h - SHORT.h) / 60, 0, 1);
  const margin = 4 + 4 * ease;
  const app = { x: pad, y: margin, w: room.w - 2 * pad, h: 22 + 6 * ease };
  const top = app.y + app.h + 18 + 4 * ease; // the arrows and their words
  const bottom = room.h - margin;
  const counters = 3 * line + 4;
  // The counters stand beside the rings, or under them where those come out larger so.
  const side = within(room.w * 0.13, 96, 156);
  const spare = room.w - 2 * pad - 20 - Math.max(210, room.w * 0.3); // beside the kernel
  const beside = within(Math.min(spare / 4 - side / 2 - rim, (bottom - top) / 2 - rim), 30, 200);
  const below = Math.min(spare / 4 - rim, (bottom - top - counters) / 2 - rim, 200);
  const under = below > beside + 2;
  const r1 = under ? below : beside;
  const ringW = 2 * (r1 + rim);
  const colW = under ? Math.max(ringW, Math.min(spare / 2, 200)) : side + ringW;
  const free = bottom - top - (under ? counters : 0);
  const cy = top + free / 2;
  const cqX = room.w - pad - colW;
  const ySide = cy - line - 8;
  const yUnder = top + free + line / 2;
  const sq: RingPlace = {
    cx: under ? pad + colW / 2 : pad + side + ringW / 2,
    cy,
    r0: r1 * (r1 < 60 ? 0.62 : 0.56),
    r1,
    entries: room.sqEntries,
    x: pad,
    w: colW,
    counters: { x: pad, y: under ? yUnder : ySide, w: under ? colW : side },
  };
  const cq: RingPlace = {
    ...sq,
    cx: under ? cqX + colW / 2 : cqX + ringW / 2,
    entries: room.cqEntries,
    x: cqX,
    counters: {
      x: under ? cqX : cqX + ringW,
      y: sq.counters.y,
      w: sq.counters.w,
    },
  };
  const kernel = {
    x: pad + colW + 10,
    y: app.y + app.h + margin,
    w: cqX - 10 - (pad + colW + 10),
    h: bottom - (app.y + app.h + margin),
  };
  return {
    form: "short",
    sq,
    cq,
    app,
    kernel,
    lanes: laneRects(kernel, 23, 2),
    thread: { x: kernel.x + 10, y: kernel.y + 2, w: kernel.w - 20, h: 20 },
    tray: { x: cq.counters.x, y: cq.counters.y + 1.5 * line + 1, w: cq.counters.w, h: 20 },
    line,
  };
}

/** The middle of a lane, where what passes it without staying is seen. */
export function lanePoint(l: RingLayout, name: LaneName): Point {
  const r = l.lanes[name];
  return { x: r.x + r.w / 2, y: r.y + (l.form === "short" ? r.h / 2 : Math.min(r.h - 14, 34)) };
}
