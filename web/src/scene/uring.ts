// Model → picture of a ring. The owner stands above and writes from outside of
// the rings, the kernel between them and writes from inside: who may move which
// hand is the lesson. What the tier does not see is hatched, with "?".
import { fillOf, plus, sees, slotOf, type Fill, type RingModel } from "../model/uring";
import { bitNames, dataShort, opFamily, opShort, SETUP_FLAGS, type OpFamily } from "../model/uringnames";
import { RequestFlag, type CQE, type Request, type Ring, type SQE } from "../wire/uring";
import {
  box,
  line,
  paint,
  sector,
  TAU,
  words,
  type Hand,
  type Hatch,
  type Picture,
  type Shape,
  type Target,
  type Tone,
  type Words,
} from "./shapes";
import { grouped, monoWidth, sansWidth } from "./text";
import type { Point, Rect } from "./types";
import { fitting, meet, scaleShape, scaleTarget, signRect, textRect } from "./uringfit";
import {
  LANES,
  lanePoint,
  layoutRing,
  MOST_SLOTS,
  onScreen,
  type LaneName,
  type RingLayout,
  type RingPlace,
} from "./uringlayout";

export { LANES, lanePoint, layoutRing, MOST_SLOTS, onScreen };
export type { LaneName, RingLayout, RingPlace };

const TOKEN_H = 22;
/** Radius below which a hub holds nothing but its count. */
const SMALL_HUB = 40;
/** Slots stand with a hair of paper between them. */
const GAP = 0.012;

/** The words in the picture; everything else in it is kernel names and numbers. */
export interface RingWords {
  application: string;
  kernel: string;
  appWrites: string;
  kernelWrites: string;
  writesSQ: string;
  readsCQ: string;
  pending: string;
  unread: string;
  unknown: string;
  none: string;
  more: string;
  lanes: Record<LaneName, string>;
  lost: string;
  dropped: string;
  enters: string;
  running: string;
  asleep: string;
  broken: string;
  waits: string;
  inFlight: string;
  /** The same in less, for where the first does not fit. */
  brief: BriefWords;
}

export interface BriefWords {
  appWrites: string;
  kernelWrites: string;
  writesSQ: string;
  readsCQ: string;
  unknown: string;
  lanes: Record<LaneName, string>;
  lost: string;
  enters: string;
  broken: string;
  waits: string;
}

export interface RingSceneOptions {
  readonly width: number;
  readonly height: number;
  readonly words: RingWords;
  /** Name of the owner, "labserver". */
  readonly comm: string;
  readonly hovered?: string;
  readonly focused?: string;
  /** The owner sleeps in io_uring_enter until that many CQEs have come; 0 it does not. */
  readonly waitsFor?: number;
}

/** The angle at which the slot of a counter's value begins: slot 0 at twelve o'clock, clockwise. */
export function angleOf(position: number, entries: number): number {
  return -Math.PI / 2 + (TAU * slotOf(position, entries)) / Math.max(1, entries);
}

/** The middle of a slot. */
export function slotPoint(r: RingPlace, position: number): Point {
  const a = angleOf(position, r.entries) + Math.PI / Math.max(1, r.entries);
  const mid = (r.r0 + r.r1) / 2;
  return { x: r.cx + Math.cos(a) * mid, y: r.cy + Math.sin(a) * mid };
}

const FAMILY: Record<OpFamily, { tone: Tone; hatch: Hatch }> = {
  plain: { tone: "soft", hatch: "none" },
  file: { tone: "wait", hatch: "none" },
  net: { tone: "accent", hatch: "none" },
  wait: { tone: "warn", hatch: "none" },
  control: { tone: "ink", hatch: "none" },
};

export function toneOfOp(op: number): Tone {
  return FAMILY[opFamily(op)].tone;
}

/** What stands on a token: "READ #7", with its user_data. */
export function tokenText(op: number, userData: bigint): string {
  return `${opShort(op)} #${dataShort(userData)}`;
}

export function tokenWidth(text: string): number {
  return Math.max(40, monoWidth(text, 11) + 16);
}

interface Frame {
  l: RingLayout;
  m: RingModel;
  ring: Ring;
  fill: Fill;
  o: RingSceneOptions;
  shapes: Shape[];
  targets: Target[];
  /** Words that are drawn last, and only where there is room for them. */
  later: (() => void)[];
  /** The room of the words in the first `measured` shapes. */
  taken: Rect[];
  measured: number;
}

/** Draws words of the second rank, if their place is still free. */
function ifFree(f: Frame, ...all: Words[]): boolean {
  for (const s of f.shapes.slice(f.measured)) {
    const r = textRect(s);
    if (r) f.taken.push(r);
  }
  f.measured = f.shapes.length;
  const free = all.every((w) => {
    const r = textRect(w);
    return !r || (within(f, r) && !f.taken.some((t) => meet(t, r)));
  });
  if (free) f.shapes.push(...all);
  return free;
}

function within(f: Frame, r: Rect): boolean {
  return r.x >= 0 && r.y >= 0 && r.x + r.w <= f.l.width && r.y + r.h <= f.l.height;
}

// ---- the rings ----

interface Slot {
  id: string;
  position: number;
  tone: Tone;
  hatch: Hatch;
  label: string[];
  dash: boolean;
  error: boolean;
}

function slotShape(f: Frame, r: RingPlace, s: Slot): void {
  const n = r.entries;
  const a0 = angleOf(s.position, n) + GAP;
  const a1 = a0 + TAU / n - 2 * GAP;
  const look = { cx: r.cx, cy: r.cy, r0: r.r0 + 1.5, r1: r.r1 - 1.5, a0, a1 };
  f.shapes.push(
    sector({
      ...look,
      key: s.id,
      fill: paint(s.tone, s.error ? 0.72 : 0.8),
      stroke: paint(s.tone),
      width: s.error ? 2.2 : 1.4,
      dash: s.dash,
      hatch: s.hatch,
      hatchTone: s.tone,
    }),
  );
  if (s.error && n <= 32) {
    // A notch at the rim: an error is seen without its colour.
    const am = (a0 + a1) / 2;
    const half = Math.min(0.09, (a1 - a0) / 4);
    f.shapes.push(
      sector({
        ...look,
        key: `${s.id}/notch`,
        r0: r.r1 - 7,
        r1: r.r1 - 1.5,
        a0: am - half,
        a1: am + half,
        fill: paint(s.tone),
      }),
    );
  }
  const mid = slotPoint(r, s.position);
  const arc = ((r.r0 + r.r1) / 2) * (TAU / n);
  const depth = r.r1 - r.r0;
  const room = Math.max(Math.min(arc, depth * 1.5), arc * 0.9);
  const size = arc >= 44 ? 11 : 9.5;
  const fits = s.label.filter((t) => t !== "" && monoWidth(t, size) <= room - 3);
  const line = (t: string, i: number, of: number): Words =>
    words({
      key: `${s.id}/label${i}`,
      x: mid.x,
      y: mid.y + (i - (of - 1) / 2) * (size + 2),
      text: t,
      size,
      font: "mono",
      weight: i === 0 ? 600 : 400,
      tone: i === 0 ? s.tone : "ink",
      align: "middle",
    });
  const both = depth >= 34 && arc >= 30 && fits.length > 1;
  if (!both || !ifFree(f, ...fits.map((t, i) => line(t, i, fits.length)))) {
    if (fits[0] !== undefined) ifFree(f, line(fits[0], 0, 1));
  }
  f.targets.push({
    id: s.id,
    x: mid.x,
    y: mid.y,
    r: Math.min(arc, depth) / 2,
    area: { kind: "sector", ...look },
  });
  if (f.o.focused === s.id || f.o.hovered === s.id) mark(f, { ...look, focused: f.o.focused === s.id });
}

function mark(
  f: Frame,
  at: { cx: number; cy: number; r0: number; r1: number; a0: number; a1: number; focused: boolean },
): void {
  const { focused, ...look } = at;
  const grown = { ...look, r0: look.r0 - 3, r1: look.r1 + 3, a0: look.a0 - 0.02, a1: look.a1 + 0.02 };
  f.shapes.push(sector({ ...grown, stroke: paint("accent"), width: focused ? 2.4 : 1.4, dash: focused }));
}

/** The track of a ring: its slots, or a plain band if they would be too many. */
function track(f: Frame, r: RingPlace, known: boolean): void {
  const n = r.entries;
  const whole = { cx: r.cx, cy: r.cy, r0: r.r0, r1: r.r1, a0: 0, a1: TAU };
  f.shapes.push(
    sector({
      ...whole,
      fill: paint("panel"),
      stroke: paint("line"),
      hatch: known ? "none" : "rising",
      hatchTone: "line",
    }),
  );
  if (n > MOST_SLOTS || n === 0) return;
  for (let i = 0; i < n; i++) {
    const a = angleOf(i, n);
    const c = Math.cos(a);
    const s = Math.sin(a);
    f.shapes.push(
      line({
        x1: r.cx + c * r.r0,
        y1: r.cy + s * r.r0,
        x2: r.cx + c * r.r1,
        y2: r.cy + s * r.r1,
        tone: "line",
      }),
    );
  }
  if (n > 32 || r.r1 < 60) return;
  // Numbers of the slots, small, at the inner rim of free ones and filled ones alike.
  for (let i = 0; i < n; i++) {
    const a = angleOf(i, n) + Math.PI / n;
    const rr = r.r0 + 7;
    if (n > 16 && i % 4 !== 0) continue;
    const number = words({
      x: r.cx + Math.cos(a) * rr,
      y: r.cy + Math.sin(a) * rr,
      text: String(i),
      size: 8.5,
      font: "mono",
      tone: "soft",
      align: "middle",
      alpha: 0.75,
    });
    f.later.push(() => ifFree(f, number));
  }
}

/** A free slot is drawn by its place alone; walked to, it is outlined. */
function focusedFree(f: Frame, r: RingPlace, queue: "sq" | "cq", tail: number, free: number): void {
  const id = f.o.focused ?? "";
  const position = Number(id.slice(3));
  if (!id.startsWith(`${queue}:`) || id.length < 4 || r.entries > MOST_SLOTS) return;
  if (!(plus(position, -tail) < free)) return;
  const a0 = angleOf(position, r.entries) + GAP;
  const look = { cx: r.cx, cy: r.cy, r0: r.r0 + 1.5, r1: r.r1 - 1.5, a0, a1: a0 + TAU / r.entries - 2 * GAP };
  f.targets.push({ id, ...slotPoint(r, position), r: 12, area: { kind: "sector", ...look } });
  mark(f, { ...look, focused: true });
}

/** A run of slots too many to be drawn singly, with its exact count. */
function arc(
  f: Frame,
  r: RingPlace,
  id: string,
  from: number,
  count: number,
  look: { tone: Tone; hatch: Hatch },
): void {
  if (count <= 0) return;
  const shown = Math.min(count, r.entries);
  const a0 = angleOf(from, r.entries);
  const span = Math.max(0.02, (TAU * shown) / r.entries);
  const at = { cx: r.cx, cy: r.cy, r0: r.r0 + 1.5, r1: r.r1 - 1.5, a0, a1: a0 + span };
  f.shapes.push(
    sector({
      ...at,
      key: id,
      fill: paint(look.tone, 0.78),
      stroke: paint(look.tone),
      width: 1.4,
      hatch: look.hatch,
      hatchTone: look.tone,
    }),
  );
  const mid = (r.r0 + r.r1) / 2;
  const am = a0 + span / 2;
  const p = { x: r.cx + Math.cos(am) * mid, y: r.cy + Math.sin(am) * mid };
  const exact = words({
    key: `${id}/count`,
    ...p,
    text: grouped(count),
    size: 11,
    font: "mono",
    weight: 600,
    tone: look.tone,
    align: "middle",
    clear: true,
  });
  f.later.push(() => ifFree(f, exact));
  f.targets.push({ id, ...p, r: 12, area: { kind: "sector", ...at } });
  if (f.o.focused === id || f.o.hovered === id) mark(f, { ...at, focused: f.o.focused === id });
}

function sqSlot(f: Frame, e: SQE | undefined, position: number, taken: boolean): Slot {
  const id = `sq:${position}`;
  if (!e) {
    return { id, position, tone: "soft", hatch: "rising", label: ["?"], dash: true, error: false };
  }
  const bad = sees(f.ring, "sqes") && e.index >= f.ring.sqEntries;
  return {
    id,
    position,
    tone: bad ? "red" : toneOfOp(e.op),
    hatch: taken ? "falling" : "none",
    label: [bad ? `✕ ${e.index}` : opShort(e.op), `#${dataShort(e.userData)}`],
    dash: false,
    error: bad,
  };
}

function cqSlot(e: CQE | undefined, position: number, published: boolean): Slot {
  const id = `cq:${position}`;
  if (!e) return { id, position, tone: "soft", hatch: "rising", label: ["?"], dash: true, error: false };
  const error = e.res < 0;
  return {
    id,
    position,
    tone: error ? "red" : "ready",
    hatch: published ? "none" : "falling",
    label: [`=${error ? `−${-e.res}` : e.res}`, `#${dataShort(e.userData)}`],
    dash: false,
    error,
  };
}

function handsOf(
  f: Frame,
  r: RingPlace,
  names: {
    app: string;
    appAt: number;
    kernel: string;
    kernelAt: number;
    appWord: string;
    kernelWord: string;
  },
): void {
  const reach = r.r1 - r.r0 - 4;
  const common = {
    cx: r.cx,
    cy: r.cy,
    kind: "hand",
    alpha: 1,
    size: r.r0 < SMALL_HUB ? 7 : 10,
    label: "",
  } as const;
  const kernel: Hand = {
    ...common,
    key: names.kernel,
    angle: angleOf(names.kernelAt, r.entries),
    r: r.r0 - 1,
    reach,
    side: -1,
    filled: false,
    tone: "wait",
  };
  const app: Hand = {
    ...common,
    key: names.app,
    angle: angleOf(names.appAt, r.entries),
    r: r.r1 + 2,
    reach,
    side: 1,
    filled: true,
    tone: "accent",
  };
  f.shapes.push(kernel, app);
  // In small pictures the counters say which hand is whose.
  if (f.l.form === "short" || f.l.scale < 1) return;
  f.later.push(() => {
    label(f, app, names.appWord);
    if (r.r0 > 66) label(f, kernel, names.kernelWord);
  });
}

/** Names a hand at its base, if nothing else is written there. */
function label(f: Frame, hand: Hand, text: string): void {
  const named = { ...hand, label: text };
  const own = textRect(named);
  if (!own || !within(f, own)) return;
  if (f.shapes.some((s) => s !== hand && meet(textRect(s) ?? NOWHERE, own))) return;
  f.shapes[f.shapes.indexOf(hand)] = named;
}

const NOWHERE: Rect = { x: -1e6, y: 0, w: 0, h: 0 };

function handSize(r: RingPlace): number {
  return r.r0 < SMALL_HUB ? Math.min(7, r.r0 / 4) : 10;
}

function hub(f: Frame, r: RingPlace, name: string, count: string, saying: readonly string[]): void {
  // In a small hub the kernel's hand needs the room round the count.
  const alone = r.r0 < SMALL_HUB;
  const free = r.r0 - handSize(r) - 4;
  f.shapes.push(
    words({
      x: r.cx,
      y: r.cy - 17,
      text: alone ? "" : name,
      size: 11,
      font: "mono",
      weight: 600,
      tone: "soft",
      align: "middle",
    }),
    words({
      key: `${name}.count`,
      x: r.cx,
      y: r.cy + (alone ? 0 : 1),
      text: count,
      size: alone
        ? Math.min(16, free / Math.hypot(0.3 * count.length, 0.5))
        : Math.min(r.r0 > 50 ? 22 : 16, (1.7 * r.r0) / (0.6 * count.length)),
      font: "mono",
      weight: 600,
      tone: "ink",
      align: "middle",
    }),
  );
  if (alone) return;
  f.later.push(() => {
    // The kernel's hand may point to where the longer words would end.
    const hands = f.shapes.flatMap((x) => (x.kind === "hand" && x.key !== "" ? [signRect(x)] : []));
    const at = { x: r.cx, y: r.cy + 19, size: 10.5, tone: "soft", align: "middle" } as const;
    const clear = saying.filter((text) => {
      const own = textRect(words({ ...at, text }));
      return own !== null && !hands.some((h) => meet(h, own));
    });
    f.shapes.push(words({ ...at, text: fitting(clear, r.r0 * 1.6, at.size) }));
  });
}

function ofAll(word: string, entries: number): string[] {
  return [`${word} / ${grouped(entries)}`, `/ ${grouped(entries)}`];
}

/** A line under a ring, or beside it: a hand's sign, its name, its value, and who writes it. */
function legend(
  f: Frame,
  r: RingPlace,
  row: number,
  at: { name: string; value: string; writers: string[]; tone: Tone; filled: boolean; id: string },
): void {
  const c = r.counters;
  // Where name and value do not fit in one line, the value stands under the name.
  const tall = tallCounters(f, r);
  const y = c.y + row * f.l.line * (tall ? 1.6 : 1) - (tall ? f.l.line * 1.2 : 0);
  const x = c.x;
  f.shapes.push({
    kind: "hand",
    key: "",
    alpha: 1,
    cx: x + 6,
    cy: y,
    angle: 0,
    r: 4,
    reach: 0,
    side: -1,
    size: 7,
    filled: at.filled,
    tone: at.tone,
    label: "",
  });
  const valueX = tall ? x + 18 : x + 18 + monoWidth(at.name, 11.5) + 8;
  const valueW = monoWidth(at.value, 11.5);
  f.shapes.push(
    words({ x: x + 18, y, text: at.name, size: 11.5, font: "mono", weight: 600, tone: at.tone }),
    words({ x: valueX, y: tall ? y + 13 : y, text: at.value, size: 11.5, font: "mono", tone: "ink" }),
  );
  const writer = tall ? "" : fitting(at.writers, c.x + c.w - (valueX + valueW + 10), 11.5);
  if (writer) f.shapes.push(words({ x: valueX + valueW + 10, y, text: writer, size: 11.5, tone: "soft" }));
  const area = { x, y: y - f.l.line / 2, w: c.w - 4, h: f.l.line + (tall ? 11 : 0) };
  f.targets.push({ id: at.id, x: x + 40, y, r: 10, area: { kind: "box", ...area } });
  if (f.o.focused === at.id || f.o.hovered === at.id)
    outlineBox(f, { ...area, x: x - 3, w: area.w + 4 }, at.id);
}

/** The counters of a ring are too long for one line each. */
function tallCounters(f: Frame, r: RingPlace): boolean {
  return (
    f.l.form === "short" && r.counters.w < 18 + monoWidth("sq.tail", 11.5) + 8 + monoWidth("4294967295", 11.5)
  );
}

function outlineBox(f: Frame, r: Rect, id: string): void {
  const focused = f.o.focused === id;
  f.shapes.push(box({ ...r, r: 5, stroke: paint("accent"), width: focused ? 2.2 : 1.4, dash: focused }));
}

function submissionRing(f: Frame): void {
  const { ring, fill, o } = f;
  const r = f.l.sq;
  const heads = sees(ring, "heads");
  const w = o.words;
  track(f, r, heads && !fill.sqBroken);
  hub(
    f,
    r,
    "SQ",
    heads && !fill.sqBroken ? grouped(fill.pending) : "?",
    heads ? ofAll(w.pending, ring.sqEntries) : [w.unknown, w.brief.unknown],
  );
  // Of a queue that holds more than it has entries no slot is to be believed.
  const pending = fill.sqBroken ? 0 : fill.pending;
  if (heads) {
    const rows = new Map(f.m.sqes.map((e) => [e.position, e]));
    if (ring.sqEntries <= MOST_SLOTS) {
      for (let i = 0; i < pending; i++) {
        const position = plus(ring.sqHead, i);
        slotShape(f, r, sqSlot(f, rows.get(position), position, i < fill.taken));
      }
    } else {
      arc(f, r, "sq:taken", ring.sqHead, fill.taken, { tone: "wait", hatch: "falling" });
      arc(f, r, "sq:pending", plus(ring.sqHead, fill.taken), pending - fill.taken, {
        tone: "accent",
        hatch: "none",
      });
    }
    if (!fill.sqBroken) focusedFree(f, r, "sq", ring.sqTail, ring.sqEntries - pending);
    handsOf(f, r, {
      app: "sq.tail",
      appAt: ring.sqTail,
      kernel: "sq.head",
      kernelAt: ring.sqHead,
      appWord: "tail",
      kernelWord: "head",
    });
  }
  legend(f, r, 0, {
    id: "sq.tail",
    name: "sq.tail",
    value: heads ? String(ring.sqTail) : "?",
    writers: [w.appWrites, w.brief.appWrites],
    tone: "accent",
    filled: true,
  });
  legend(f, r, 1, {
    id: "sq.head",
    name: "sq.head",
    value: heads ? String(ring.sqHead) : "?",
    writers: [w.kernelWrites, w.brief.kernelWrites],
    tone: "wait",
    filled: false,
  });
  secondRank(f, r, heads);
}

/** What the kernel has taken but not yet published, and what it refused. */
function secondRank(f: Frame, r: RingPlace, heads: boolean): void {
  const { ring, o } = f;
  const short = f.l.form === "short";
  const c = r.counters;
  const x = c.x + 18;
  const room = c.w - 18;
  const cached = sees(ring, "cached");
  if (!short) {
    const text = `cached_sq_head ${cached ? ring.cachedSQHead : "?"}`;
    f.shapes.push(
      words({
        x,
        y: c.y + 2 * f.l.line,
        text: fitting([text], room, 11.5, "mono"),
        size: 11.5,
        font: "mono",
        tone: cached && ring.cachedSQHead !== ring.sqHead ? "ink" : "soft",
      }),
    );
  }
  const some = ring.sqDropped > 0;
  if (short && !some) return;
  const count = `sq_dropped ${heads ? grouped(ring.sqDropped) : "?"}`;
  const texts = [count, `✕ ${grouped(ring.sqDropped)}`];
  if (some) texts.unshift(`${count} · ${o.words.dropped}`);
  // In the row of the tray beside the other ring.
  const y = short ? f.l.tray.y + f.l.tray.h / 2 + trayDown(f) : c.y + 3 * f.l.line;
  f.shapes.push(
    words({
      x,
      y,
      text: fitting(texts, room, 11.5, "mono"),
      size: 11.5,
      font: "mono",
      weight: some ? 600 : 400,
      tone: some ? "red" : "soft",
    }),
  );
}

/** How far the last row of the counters moves down where those take two lines each. */
function trayDown(f: Frame): number {
  return tallCounters(f, f.l.cq) ? f.l.line * 0.7 : 0;
}

function completionRing(f: Frame): void {
  const { ring, fill, o } = f;
  const r = f.l.cq;
  const heads = sees(ring, "heads");
  const w = o.words;
  track(f, r, heads && !fill.cqBroken);
  hub(
    f,
    r,
    "CQ",
    heads && !fill.cqBroken ? grouped(fill.unread) : "?",
    heads ? ofAll(w.unread, ring.cqEntries) : [w.unknown, w.brief.unknown],
  );
  const unread = fill.cqBroken ? 0 : fill.unread;
  if (heads) {
    const rows = new Map(f.m.cqes.map((e) => [e.position, e]));
    if (ring.cqEntries <= MOST_SLOTS) {
      for (let i = 0; i < unread; i++) {
        const position = plus(ring.cqHead, i);
        slotShape(f, r, cqSlot(rows.get(position), position, true));
      }
      for (let i = 0; i < Math.min(fill.unpublished, ring.cqEntries - unread); i++) {
        const position = plus(ring.cqTail, i);
        slotShape(f, r, cqSlot(rows.get(position), position, false));
      }
    } else {
      arc(f, r, "cq:unread", ring.cqHead, unread, { tone: "ready", hatch: "none" });
      arc(f, r, "cq:unpublished", ring.cqTail, fill.unpublished, { tone: "wait", hatch: "falling" });
    }
    const shown = Math.min(fill.unpublished, ring.cqEntries - unread);
    if (!fill.cqBroken) focusedFree(f, r, "cq", plus(ring.cqTail, shown), ring.cqEntries - unread - shown);
    handsOf(f, r, {
      app: "cq.head",
      appAt: ring.cqHead,
      kernel: "cq.tail",
      kernelAt: ring.cqTail,
      appWord: "head",
      kernelWord: "tail",
    });
  }
  legend(f, r, 0, {
    id: "cq.head",
    name: "cq.head",
    value: heads ? String(ring.cqHead) : "?",
    writers: [w.appWrites, w.brief.appWrites],
    tone: "accent",
    filled: true,
  });
  legend(f, r, 1, {
    id: "cq.tail",
    name: "cq.tail",
    value: heads ? String(ring.cqTail) : "?",
    writers: [w.kernelWrites, w.brief.kernelWrites],
    tone: "wait",
    filled: false,
  });
  tray(f);
}

/** The spill-over tray: completions that found the CQ full. */
function tray(f: Frame): void {
  const { ring, o } = f;
  const t = { ...f.l.tray, y: f.l.tray.y + trayDown(f) };
  const known = sees(ring, "overflow");
  const kept = known ? ring.overflowList : -1;
  const full = kept > 0 || ring.cqOverflow > 0;
  const tone: Tone = full ? "warn" : "line";
  // Open at the top, where the ring spills into it.
  f.shapes.push(
    box({
      x: t.x,
      y: t.y,
      w: t.w,
      h: t.h,
      r: 4,
      fill: full ? paint("warn", 0.88) : null,
      stroke: paint(tone),
      dash: !full,
      hatch: known ? "none" : "rising",
      hatchTone: "line",
    }),
  );
  const count = known ? grouped(kept) : "?";
  const n = grouped(ring.cqOverflow);
  const lost = ring.cqOverflow > 0;
  const texts = [`cq_overflow_list ${count}`, `overflow ${count}`, `↧ ${count}`].flatMap((t) =>
    lost
      ? [`${t} · ${o.words.lost.replace("{n}", n)}`, `${t} · ${o.words.brief.lost.replace("{n}", n)}`]
      : [t],
  );
  const shown = fitting(texts, t.w - 16, 11, "mono");
  f.shapes.push(
    words({
      x: t.x + 8,
      y: t.y + t.h / 2,
      text: shown,
      size: 11,
      font: "mono",
      weight: full ? 600 : 400,
      tone: full ? "warn" : "soft",
      clear: !known,
    }),
  );
  const cell = 9;
  const start = t.x + 8 + monoWidth(shown, 11) + 10;
  const cells = Math.max(0, Math.min(kept, Math.floor((t.x + t.w - 8 - start) / (cell + 3))));
  for (let i = 0; i < cells; i++) {
    f.shapes.push(
      box({
        key: `overflow:${i}`,
        x: start + i * (cell + 3),
        y: t.y + t.h / 2 - 7,
        w: cell,
        h: 14,
        r: 2,
        fill: paint("warn", 0.55),
        stroke: paint("warn"),
      }),
    );
  }
  f.targets.push({ id: "overflow", x: t.x + t.w / 2, y: t.y + t.h / 2, r: 12, area: { kind: "box", ...t } });
  if (f.o.focused === "overflow" || f.o.hovered === "overflow")
    outlineBox(f, { x: t.x - 3, y: t.y - 3, w: t.w + 6, h: t.h + 6 }, "overflow");
}

// ---- the owner ----

/** "SQPOLL | CQSIZE"; "flags 0" for none. */
function setupText(setup: number): string {
  return bitNames(setup, SETUP_FLAGS).join(" | ") || "flags 0";
}

function application(f: Frame): void {
  const { app, sq, cq } = f.l;
  const { ring, o } = f;
  const w = o.words;
  f.shapes.push(
    box({ ...app, r: 9, fill: paint("accent", 0.9), stroke: paint("accent", 0.35), width: 1.2 }),
    words({
      x: app.x + 16,
      y: app.y + app.h / 2,
      text: w.application,
      size: 12,
      weight: 600,
      tone: "accent",
    }),
  );
  let x = app.x + 16 + sansWidth(w.application, 12) + 14;
  const who = `${o.comm || "pid"} ${ring.owner}${ring.owners > 1 ? ` (+${ring.owners - 1})` : ""}`;
  f.shapes.push(words({ x, y: app.y + app.h / 2, text: who, size: 12, font: "mono", tone: "ink" }));
  x += monoWidth(who, 12) + 18;
  const n = String(o.waitsFor ?? 0);
  const end = app.x + app.w - 16;
  const waits = o.waitsFor
    ? fitting([w.waits.replace("{n}", n), w.brief.waits.replace("{n}", n)], end - x, 12)
    : "";
  if (waits) {
    f.shapes.push(
      words({ key: "waits", x, y: app.y + app.h / 2, text: waits, size: 12, tone: "wait", weight: 600 }),
    );
  }
  const flags = fitting(
    [setupText(ring.setup), `flags 0x${ring.setup.toString(16)}`],
    end - x - (waits ? sansWidth(waits, 12) + 24 : 0),
    11,
    "mono",
  );
  f.shapes.push(
    words({ x: end, y: app.y + app.h / 2, text: flags, size: 11, font: "mono", tone: "soft", align: "end" }),
  );
  f.targets.push({
    id: "application",
    x: app.x + 80,
    y: app.y + app.h / 2,
    r: 20,
    area: { kind: "box", ...app },
  });
  if (o.focused === "application" || o.hovered === "application") {
    outlineBox(f, { x: app.x - 2, y: app.y - 2, w: app.w + 4, h: app.h + 4 }, "application");
  }
  // Down into the SQ, up out of the CQ.
  const short = f.l.form === "short";
  const top = app.y + app.h + 3;
  const off = sq.r1 * 0.74;
  const rim = (r: RingPlace): number =>
    Math.max(top + (short ? 9 : 14), r.cy - Math.sqrt(r.r1 ** 2 - off ** 2) - 7);
  const down = sq.cx - off;
  const up = cq.cx + off;
  f.shapes.push(
    line({ x1: down, y1: top, x2: down, y2: rim(sq), tone: "accent", width: 1.6, head: true }),
    line({ x1: up, y1: rim(cq), x2: up, y2: top, tone: "accent", width: 1.6, head: true }),
  );
  beside(f, sq, down, f.fill.sqBroken, [w.writesSQ, w.brief.writesSQ]);
  beside(f, cq, up, f.fill.cqBroken, [w.readsCQ, w.brief.readsCQ]);
}

/** The words beside an arrow: what the owner does there, or that the ring is not to be believed. */
function beside(f: Frame, r: RingPlace, x: number, broken: boolean, texts: readonly string[]): void {
  const { app, kernel } = f.l;
  const w = f.o.words;
  const first = r === f.l.sq;
  const bad = broken && sees(f.ring, "heads");
  const says = bad ? [`✕ ${w.broken}`, `✕ ${w.brief.broken}`] : texts;
  const size = bad ? 11.5 : 11;
  // Towards the kernel, unless there is more room on the other side.
  const inner = (first ? kernel.x - 6 - x : x - (kernel.x + kernel.w + 6)) - 9;
  const outer = (first ? x - app.x : app.x + app.w - x) - 9;
  const out = fitting(says, inner, size) !== says[0] && outer > inner;
  const right = first !== out;
  f.shapes.push(
    words({
      x: right ? x + 9 : x - 9,
      y: app.y + app.h + (f.l.form === "short" ? 11 : 14),
      text: fitting(says, Math.max(inner, out ? outer : 0), size),
      size,
      weight: bad ? 600 : 400,
      tone: bad ? "red" : "accent",
      align: right ? "start" : "end",
      clear: bad,
    }),
  );
}

// ---- the kernel ----

function kernelSide(f: Frame): void {
  const { kernel, sq, cq } = f.l;
  const w = f.o.words;
  const head = kernel.y + (f.l.form === "short" ? 12 : 16);
  const inFlight = [inFlightText(f)];
  f.shapes.push(
    box({ ...kernel, r: 10, fill: paint("panel"), stroke: paint("wait", 0.5), width: 1.2 }),
    words({ x: kernel.x + 14, y: head, text: w.kernel, size: 12, weight: 600, tone: "wait" }),
    words({
      x: kernel.x + kernel.w - 14,
      y: head,
      text: fitting(inFlight, kernel.w - sansWidth(w.kernel, 12) - 44, 11, "mono"),
      size: 11,
      font: "mono",
      tone: "soft",
      align: "end",
    }),
    // Where no hand of eight or sixteen slots ever points.
    line({ ...rimTo(sq, 1, kernel.x - 3), tone: "wait", width: 1.6, head: true }),
    line({ ...rimFrom(cq, kernel.x + kernel.w + 3), tone: "wait", width: 1.6, head: true }),
  );
  thread(f);
  for (const name of LANES) lane(f, name);
}

const RIM = 0.19 * Math.PI;

function rimTo(r: RingPlace, side: 1 | -1, x2: number): { x1: number; y1: number; x2: number; y2: number } {
  const y = r.cy + Math.sin(RIM) * (r.r1 + 5);
  return { x1: r.cx + side * Math.cos(RIM) * (r.r1 + 5), y1: y, x2, y2: y };
}

function rimFrom(r: RingPlace, x1: number): { x1: number; y1: number; x2: number; y2: number } {
  const to = rimTo(r, -1, x1);
  return { x1: to.x2, y1: to.y2, x2: to.x1, y2: to.y1 };
}

function inFlightText(f: Frame): string {
  const n = sees(f.ring, "inFlight") && f.ring.inFlight >= 0 ? grouped(f.ring.inFlight) : "?";
  return `${f.o.words.inFlight} ${n}`;
}

/** The SQPOLL thread, or who else takes SQEs. */
function thread(f: Frame): void {
  const { ring, o } = f;
  const w = o.words;
  const short = f.l.form === "short";
  // In the short form it stands between the name of the kernel and what is in flight.
  const left = short ? sansWidth(w.kernel, 12) + 16 : 0;
  const right = short ? monoWidth(inFlightText(f), 11) + 16 : 0;
  const t = { ...f.l.thread, x: f.l.thread.x + left, w: f.l.thread.w - left - right };
  const sqpoll = (ring.setup & 2) !== 0;
  if (!sqpoll) {
    f.shapes.push(
      words({
        x: t.x + 4,
        y: t.y + t.h / 2,
        text: short ? "" : fitting([w.enters, w.brief.enters], t.w - 8, 11),
        size: 11,
        tone: "soft",
      }),
    );
    return;
  }
  const known = sees(ring, "thread") && ring.threadState !== "unknown";
  const row = f.m.workers.find((x) => x.kind === "sqpoll");
  const name = row?.comm || `iou-sqp-${ring.owner}`;
  const state = !known
    ? "?"
    : ring.threadState === "running"
      ? w.running
      : ring.threadState === "asleep"
        ? w.asleep
        : w.none;
  const cpu = ring.threadCPU >= 0 ? `CPU ${ring.threadCPU}` : "CPU ?";
  threadChip(
    f,
    { x: t.x, y: t.y, w: t.w, h: t.h },
    "thread",
    [`${name} · ${state} · ${cpu}`, `${name} · ${state}`, `${state} · ${cpu}`, state],
    known ? ring.threadState : "unknown",
  );
}

function threadChip(
  f: Frame,
  r: Rect,
  id: string,
  labels: readonly string[],
  state: Ring["threadState"],
): void {
  const running = state === "running";
  const tone: Tone = running ? "ready" : "wait";
  f.shapes.push(
    box({
      ...r,
      key: id,
      r: 5,
      fill: running ? paint("ready", 0.86) : paint("paper"),
      stroke: paint(running ? "ready" : "line"),
      dash: state === "unknown",
      hatch: state === "unknown" ? "rising" : "none",
      hatchTone: "line",
    }),
    box({ x: r.x, y: r.y, w: 4, h: r.h, r: 2, key: `${id}/bar`, fill: paint(tone) }),
    words({
      key: `${id}/label`,
      x: r.x + 11,
      y: r.y + r.h / 2,
      text: fitting(labels, r.w - 18, 11, "mono"),
      size: 11,
      font: "mono",
      tone: "ink",
    }),
  );
  f.targets.push({ id, x: r.x + r.w / 2, y: r.y + r.h / 2, r: r.h / 2, area: { kind: "box", ...r } });
  if (f.o.focused === id || f.o.hovered === id)
    outlineBox(f, { x: r.x - 3, y: r.y - 3, w: r.w + 6, h: r.h + 6 }, id);
}

const LANE_TONE: Record<LaneName, { tone: Tone; hatch: Hatch }> = {
  submitted: { tone: "ready", hatch: "none" },
  armed: { tone: "wait", hatch: "dots" },
  timeout: { tone: "warn", hatch: "level" },
  punted: { tone: "warn", hatch: "rising" },
  taskwork: { tone: "accent", hatch: "upright" },
};

function lane(f: Frame, name: LaneName): void {
  const r = f.l.lanes[name];
  const { o, ring } = f;
  const known = sees(ring, "requests");
  const rows = f.m.requests.filter((q) => q.where === name);
  f.shapes.push(line({ x1: r.x, y1: r.y, x2: r.x + r.w, y2: r.y, tone: "line" }));
  const { tone, hatch } = LANE_TONE[name];
  const short = f.l.form === "short";
  const y = short ? r.y + r.h / 2 : r.y + 13;
  const count = name !== "punted" && known && rows.length > 0 ? grouped(laneCount(f, name, rows.length)) : "";
  let right = r.x + r.w - 2;
  if (name === "punted") right = workerChips(f, r, y);
  else if (count !== "") {
    f.shapes.push(
      words({ x: right, y, text: count, size: 11, font: "mono", weight: 600, tone: "ink", align: "end" }),
    );
    right -= monoWidth(count, 11) + 8;
  }
  const names = [o.words.lanes[name], o.words.brief.lanes[name]];
  // Names, tokens and counts in one line: the names leave the same room in every lane.
  const column = Math.min(r.w * 0.4, 190);
  const label = fitting(names, short ? column - 28 : right - r.x - 26, 11);
  f.shapes.push(
    // A swatch in the lane's pattern: the timeline uses the same.
    box({
      x: r.x + 2,
      y: y - 5,
      w: 14,
      h: 10,
      r: 2,
      fill: paint(tone, 0.7),
      stroke: paint(tone),
      hatch,
      hatchTone: tone,
    }),
    words({ x: r.x + 22, y, text: label, size: 11, tone: "soft" }),
  );
  const free = short
    ? { x: r.x + column, y: r.y + 1, w: Math.max(0, right - r.x - column), h: r.h - 2 }
    : { x: r.x, y: r.y + 22, w: r.w, h: Math.max(0, r.h - 28) };
  if (known) {
    tokens(f, short ? free : r, rows, name);
    return;
  }
  const inner = short ? { ...free, y: free.y + 2, h: free.h - 4 } : free;
  f.shapes.push(
    box({ ...inner, r: 4, hatch: "rising", hatchTone: "line" }),
    words({
      x: inner.x + inner.w / 2,
      y: inner.y + inner.h / 2,
      text: fitting([`? ${o.words.unknown}`, `? ${o.words.brief.unknown}`, "?"], inner.w - 12, 11),
      size: 11,
      tone: "soft",
      align: "middle",
      clear: true,
    }),
  );
}

// The kernel counts armed requests even where it lists only the first of them.
function laneCount(f: Frame, name: LaneName, listed: number): number {
  return name === "armed" ? Math.max(listed, f.ring.armed) : listed;
}

function tokens(f: Frame, r: Rect, rows: readonly Request[], name: LaneName): void {
  const short = f.l.form === "short";
  const h = Math.min(TOKEN_H, r.h - 2);
  const y = short ? r.y + r.h / 2 : r.y + Math.min(r.h - h / 2 - 3, 36);
  const lines = r.h >= 76 && !short ? 2 : 1;
  const end = r.x + r.w - 2;
  let x = r.x + 2;
  let row = 0;
  let shown = 0;
  let previous: { x: number; y: number; linked: boolean } | null = null;
  const total = laneCount(f, name, rows.length);
  for (const q of rows) {
    const label = tokenText(q.op, q.userData);
    const w = tokenWidth(label);
    const last = row === lines - 1;
    const reserve = last && shown + 1 < total ? sansWidth(more(f, total), 11) + 6 : 0;
    if (x + w > end - reserve) {
      if (last) break;
      row++;
      x = r.x + 2;
      previous = null;
      if (x + w > end) break;
    }
    const at = y + row * (TOKEN_H + 6);
    if (previous?.linked) {
      f.shapes.push(line({ x1: previous.x, y1: previous.y, x2: x, y2: at, tone: "ink", width: 2 }));
    }
    token(f, { x, y: at - h / 2, w, h }, q, label);
    previous = { x: x + w, y: at, linked: (q.flags & RequestFlag.linked) !== 0 };
    x += w + 8;
    shown++;
  }
  if (shown < total) {
    const left = grouped(total - shown);
    f.shapes.push(
      words({
        x,
        y: y + row * (TOKEN_H + 6),
        text: fitting([more(f, total - shown), `+${left}`], end - x, 11),
        size: 11,
        tone: "soft",
        weight: 500,
      }),
    );
  }
}

function more(f: Frame, n: number): string {
  return f.o.words.more.replace("{n}", grouped(n));
}

function token(f: Frame, r: Rect, q: Request, label: string): void {
  const id = `req:${q.id}`;
  const tone = toneOfOp(q.op);
  if ((q.flags & RequestFlag.multishot) !== 0) {
    // One request, many completions: a stack.
    f.shapes.push(
      box({
        x: r.x + 3,
        y: r.y - 3,
        w: r.w,
        h: r.h,
        r: 11,
        key: `${id}/stack`,
        fill: paint("paper"),
        stroke: paint(tone, 0.4),
      }),
    );
  }
  f.shapes.push(
    box({ ...r, key: id, r: 11, fill: paint(tone, 0.86), stroke: paint(tone), width: 1.6 }),
    words({
      key: `${id}/label`,
      x: r.x + r.w / 2,
      y: r.y + r.h / 2,
      text: label,
      size: 11,
      font: "mono",
      weight: 600,
      tone,
      align: "middle",
    }),
  );
  f.targets.push({ id, x: r.x + r.w / 2, y: r.y + r.h / 2, r: r.h / 2, area: { kind: "box", ...r } });
  if (f.o.focused === id || f.o.hovered === id)
    outlineBox(f, { x: r.x - 3, y: r.y - 3, w: r.w + 6, h: r.h + 6 }, id);
}

/** The workers of io-wq, from the right; answers with what they leave of the lane. */
function workerChips(f: Frame, r: Rect, y: number): number {
  const known = sees(f.ring, "workers");
  const all = f.m.workers.filter((x) => x.kind !== "sqpoll");
  if (!known) {
    f.shapes.push(
      words({
        x: r.x + r.w - 2,
        y,
        text: "io-wq ?",
        size: 11,
        font: "mono",
        tone: "soft",
        align: "end",
      }),
    );
    return r.x + r.w - 2 - monoWidth("io-wq ?", 11) - 8;
  }
  let right = r.x + r.w;
  const w = r.w >= 300 ? 112 : 64;
  const share = f.l.form === "short" ? 0.3 : 0.5;
  const room = Math.max(0, Math.floor((r.w * share) / (w + 5)));
  const shown = all.slice(0, room);
  const rest = all.length - shown.length;
  if (rest > 0) {
    f.shapes.push(
      words({
        x: right - 2,
        y,
        text: `+${grouped(rest)}`,
        size: 11,
        font: "mono",
        tone: "soft",
        align: "end",
      }),
    );
    right -= monoWidth(`+${grouped(rest)}`, 11) + 8;
  }
  for (const x of shown.reverse()) {
    threadChip(
      f,
      { x: right - w, y: y - 9, w, h: 18 },
      `worker:${x.tid}`,
      [`iou-wrk ${x.tid}`, String(x.tid)],
      x.state,
    );
    right -= w + 5;
  }
  return right - 3;
}

/** How many slots are drawn singly of all there are; null where all are. */
export function drawnSlots(ring: Ring): { drawn: number; all: number } | null {
  const all = ring.sqEntries + ring.cqEntries;
  const drawn =
    (ring.sqEntries <= MOST_SLOTS ? ring.sqEntries : 0) + (ring.cqEntries <= MOST_SLOTS ? ring.cqEntries : 0);
  return drawn === all ? null : { drawn, all };
}

/** The picture of a ring. Nothing is drawn before the first frame. */
export function buildRingScene(m: RingModel, options: RingSceneOptions): Picture {
  const { width, height } = options;
  if (!m.ring) return { width, height, shapes: [], targets: [] };
  const l = layoutRing(width, height, m.ring.sqEntries, m.ring.cqEntries);
  const f: Frame = {
    l,
    m,
    ring: m.ring,
    fill: fillOf(m.ring),
    o: options,
    shapes: [],
    targets: [],
    later: [],
    taken: [],
    measured: 0,
  };
  application(f);
  kernelSide(f);
  submissionRing(f);
  completionRing(f);
  for (const draw of f.later) draw();
  if (l.scale === 1) return { width, height, shapes: f.shapes, targets: f.targets };
  return {
    width,
    height,
    shapes: f.shapes.map((s) => scaleShape(s, l.scale)),
    targets: f.targets.map((t) => scaleTarget(t, l.scale)),
  };
}
