// Lives of requests as bars: one row each, from the moment the kernel took the
// SQE (or, in a chain, its first one) to its last CQE.
import { timeIn, type RequestLife, type SpanPlace } from "../model/uringlives";
import { dataShort, opShort } from "../model/uringnames";
import {
  box,
  line,
  paint,
  words,
  type Hatch,
  type Picture,
  type Shape,
  type Target,
  type Tone,
} from "./shapes";
import { monoWidth } from "./text";

export const ROW_H = 24;
export const AXIS_H = 34;
const LABEL_W = 176;
const END = 78; // px for the total at the right

export const SPAN_LOOK: Record<SpanPlace, { tone: Tone; hatch: Hatch }> = {
  inline: { tone: "ready", hatch: "none" },
  waiting: { tone: "soft", hatch: "falling" },
  armed: { tone: "wait", hatch: "dots" },
  punted: { tone: "warn", hatch: "rising" },
  taskwork: { tone: "accent", hatch: "upright" },
};

export interface TimelineOptions {
  readonly width: number;
  readonly height: number;
  readonly scroll: number;
  readonly log: boolean;
  /** CLOCK_MONOTONIC of the picture, ns: what lasts is drawn up to it. */
  readonly now: number;
  readonly hovered: string;
  readonly focused: string;
}

/** A row: a life, and where it begins on the axis. */
export interface TimelineRow {
  readonly life: RequestLife;
  /** ns from the beginning of its chain. */
  readonly lead: number;
  /** How far it is down a chain. */
  readonly depth: number;
}

/** Newest first; what follows in a chain stands under what it waits for. */
export function timelineRows(lives: readonly RequestLife[]): TimelineRow[] {
  const byKey = new Map(lives.map((l) => [l.key, l]));
  const after = new Map<string, RequestLife>();
  for (const l of lives) if (l.follows && byKey.has(l.follows)) after.set(l.follows, l);
  const out: TimelineRow[] = [];
  const firsts = lives.filter((l) => !l.follows || !byKey.has(l.follows));
  for (const first of [...firsts].sort((a, b) => b.start - a.start)) {
    let depth = 0;
    const seen = new Set<string>();
    for (let l: RequestLife | undefined = first; l && !seen.has(l.key); l = after.get(l.key)) {
      seen.add(l.key);
      out.push({ life: l, lead: l.start - first.start, depth: depth++ });
    }
  }
  return out;
}

/** "840 ns", "12 µs", "3.1 ms", "2.4 s". */
export function shortTime(ns: number): string {
  if (ns < 1000) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(ns < 1e4 ? 1 : 0)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(ns < 1e7 ? 1 : 0)} ms`;
  return `${(ns / 1e9).toFixed(1)} s`;
}

/** px of a time on the axis. */
export interface Scale {
  readonly at: (ns: number) => number;
  readonly ticks: readonly { ns: number; label: string }[];
}

export function timelineScale(longest: number, from: number, width: number, log: boolean): Scale {
  const most = Math.max(1000, longest);
  if (log) {
    const top = Math.log10(1 + most / 1000);
    const at = (ns: number): number => from + (width * Math.log10(1 + Math.max(0, ns) / 1000)) / top;
    const ticks: { ns: number; label: string }[] = [{ ns: 0, label: "0" }];
    for (let ns = 1000; ns <= most; ns *= 10) ticks.push({ ns, label: shortTime(ns) });
    return { at, ticks };
  }
  const at = (ns: number): number => from + (width * Math.max(0, ns)) / most;
  const rough = most / Math.max(2, Math.floor(width / 110));
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * unit).find((k) => k >= rough) ?? rough;
  const ticks: { ns: number; label: string }[] = [];
  for (let ns = 0; ns <= most; ns += step) ticks.push({ ns, label: ns === 0 ? "0" : shortTime(ns) });
  return { at, ticks };
}

export function longestOf(rows: readonly TimelineRow[], now: number): number {
  return rows.reduce((most, r) => Math.max(most, r.lead + ((r.life.end ?? now) - r.life.start)), 0);
}

/** The rows in view; the whole list is AXIS_H + rows · ROW_H tall. */
export function buildTimeline(rows: readonly TimelineRow[], o: TimelineOptions): Picture {
  const shapes: Shape[] = [];
  const targets: Target[] = [];
  const plotW = Math.max(60, o.width - LABEL_W - END - 24);
  const scale = timelineScale(longestOf(rows, o.now), LABEL_W + 12, plotW, o.log);
  for (const t of scale.ticks) {
    const x = scale.at(t.ns);
    shapes.push(line({ x1: x, y1: AXIS_H - 6, x2: x, y2: o.height, tone: "line" }));
  }
  const first = Math.max(0, Math.floor(o.scroll / ROW_H));
  const last = Math.min(rows.length, Math.ceil((o.scroll + o.height - AXIS_H) / ROW_H) + 1);
  const placed = new Map<string, { x: number; y: number }>();
  for (let i = first; i < last; i++) {
    const r = rows[i]!;
    const y = AXIS_H + i * ROW_H - o.scroll + ROW_H / 2;
    const end = row(shapes, r, y, scale, o);
    placed.set(r.life.key, { x: end, y });
    const before = placed.get(r.life.follows);
    if (before) {
      // The link: from the end of the one before down to this one.
      const x = scale.at(r.lead);
      shapes.push(
        line({ x1: before.x, y1: before.y + 6, x2: before.x, y2: y, tone: "ink", width: 1.4 }),
        line({
          x1: before.x,
          y1: y,
          x2: Math.max(x, before.x + 5),
          y2: y,
          tone: "ink",
          width: 1.4,
          head: true,
        }),
      );
    }
    const area = { x: 0, y: y - ROW_H / 2, w: o.width, h: ROW_H };
    targets.push({ id: r.life.key, x: LABEL_W + 20, y, r: ROW_H / 2, area: { kind: "box", ...area } });
    if (o.focused === r.life.key || o.hovered === r.life.key) {
      shapes.push(
        box({
          x: 6,
          y: area.y + 1,
          w: o.width - 12,
          h: ROW_H - 2,
          r: 5,
          stroke: paint("accent"),
          width: 1.6,
          dash: o.focused === r.life.key,
        }),
      );
    }
  }
  // The axis lies over what scrolls under it.
  shapes.push(
    box({ x: 0, y: 0, w: o.width, h: AXIS_H - 6, fill: paint("paper") }),
    line({ x1: 0, y1: AXIS_H - 6, x2: o.width, y2: AXIS_H - 6, tone: "line" }),
  );
  let free = -Infinity;
  for (const t of scale.ticks) {
    const x = scale.at(t.ns);
    const half = monoWidth(t.label, 11) / 2;
    if (x - half < free) continue;
    free = x + half + 10;
    shapes.push(words({ x, y: 14, text: t.label, size: 11, font: "mono", tone: "soft", align: "middle" }));
  }
  return { width: o.width, height: o.height, shapes, targets };
}

/** Draws one life; returns where its bar ends. */
function row(shapes: Shape[], r: TimelineRow, y: number, scale: Scale, o: TimelineOptions): number {
  const { life } = r;
  const label = `${opShort(life.op)} #${dataShort(life.userData)}${life.fd >= 0 ? ` fd ${life.fd}` : ""}`;
  shapes.push(
    words({
      x: 18 + Math.min(3, r.depth) * 10,
      y,
      text: label,
      size: 11.5,
      font: "mono",
      weight: 500,
      tone: "ink",
    }),
    line({ x1: 12, y1: y + ROW_H / 2, x2: o.width - 12, y2: y + ROW_H / 2, tone: "line" }),
  );
  const at = (time: number): number => scale.at(r.lead + time - life.start);
  let end = at(life.start);
  for (const s of life.spans) {
    const look = SPAN_LOOK[s.place];
    const x = at(s.from);
    const to = at(s.to ?? o.now);
    end = Math.max(end, to);
    shapes.push(
      box({
        x,
        y: y - 6,
        w: Math.max(1.5, to - x),
        h: 12,
        r: 1.5,
        fill: paint(look.tone, 0.68),
        stroke: paint(look.tone),
        width: 1,
        hatch: to - x >= 5 ? look.hatch : "none",
        hatchTone: look.tone,
        dash: s.to === null,
      }),
    );
  }
  for (const mark of life.marks) {
    const x = at(mark.time);
    end = Math.max(end, x);
    const bad = mark.kind !== "complete" || mark.res < 0;
    shapes.push(
      line({ x1: x, y1: y - 9, x2: x, y2: y + 9, tone: bad ? "red" : "ink", width: bad ? 2.4 : 1.6 }),
    );
    if (bad)
      shapes.push(
        words({
          x: x + 6,
          y: y - 1,
          text: mark.res < 0 ? `−${-mark.res}` : "✕",
          size: 10,
          font: "mono",
          weight: 600,
          tone: "red",
          clear: true,
        }),
      );
  }
  const total = (life.end ?? o.now) - life.start;
  const text = life.done ? shortTime(total) : `${shortTime(total)} …`;
  shapes.push(
    words({
      x: o.width - 16,
      y,
      text,
      size: 11,
      font: "mono",
      tone: life.done ? "ink" : "soft",
      align: "end",
      clear: true,
    }),
  );
  return end;
}

/** What a life spent where, in the order of the places; those without time are left out. */
export function placesOf(life: RequestLife, now: number): { place: SpanPlace; ns: number }[] {
  const t = timeIn(life, now);
  return (Object.keys(SPAN_LOOK) as SpanPlace[])
    .filter((p) => t[p] > 0)
    .map((place) => ({ place, ns: t[place] }));
}
