// A picture made of a few plain shapes, in drawing order, in CSS pixels and
// without colours. Shapes with the same key are the same thing from one
// picture to the next.
import type { Point } from "./types";

/** What a colour means; the palette says how it looks. */
export type Tone =
  "paper" | "panel" | "ink" | "soft" | "line" | "edge" | "accent" | "ready" | "wait" | "warn" | "red";

/** A tone, blended with the paper: wash 0 is the tone itself, 1 the paper. */
export interface Paint {
  readonly tone: Tone;
  readonly wash: number;
}

/** Lines over a fill, so that no meaning hangs on a hue. */
export type Hatch = "none" | "rising" | "falling" | "cross" | "level" | "upright" | "dots";

interface Common {
  /** "" for what is never moved. */
  key: string;
  alpha: number;
}

export interface Surface {
  fill: Paint | null;
  stroke: Paint | null;
  width: number;
  dash: boolean;
  hatch: Hatch;
  hatchTone: Tone;
}

/** A part of a ring. Angles in radians, clockwise from three o'clock, a0 < a1. */
export interface Sector extends Common, Surface {
  kind: "sector";
  cx: number;
  cy: number;
  r0: number;
  r1: number;
  a0: number;
  a1: number;
}

export interface Box extends Common, Surface {
  kind: "box";
  x: number;
  y: number;
  w: number;
  h: number;
  r: number;
}

/** A straight line; `head` puts an arrow's head at its end. */
export interface Line extends Common {
  kind: "line";
  x1: number;
  y1: number;
  x2: number;
  y2: number;
  tone: Tone;
  width: number;
  dash: boolean;
  head: boolean;
}

/**
 * A hand of a ring: a triangle whose tip lies on the radius r at `angle`, from
 * outside (side 1) or inside (side -1), with a line over the ring's width.
 */
export interface Hand extends Common {
  kind: "hand";
  cx: number;
  cy: number;
  angle: number;
  r: number;
  /** How far its line goes over the ring from the tip. */
  reach: number;
  side: 1 | -1;
  size: number;
  filled: boolean;
  tone: Tone;
  /** Beside its base; "" for none. */
  label: string;
}

export interface Words extends Common {
  kind: "words";
  x: number;
  y: number;
  text: string;
  size: number;
  font: "mono" | "sans";
  weight: 400 | 500 | 600 | 700;
  tone: Tone;
  align: "start" | "middle" | "end";
  /** Draw the paper around the letters, so that lines behind do not cut them. */
  clear: boolean;
}

export type Shape = Sector | Box | Line | Hand | Words;

/** What can be pointed at, focused and opened. */
export interface Target {
  readonly id: string;
  /** Where a card may hang: the middle of the thing, and its reach. */
  readonly x: number;
  readonly y: number;
  readonly r: number;
  readonly area:
    | { readonly kind: "box"; readonly x: number; readonly y: number; readonly w: number; readonly h: number }
    | {
        readonly kind: "sector";
        readonly cx: number;
        readonly cy: number;
        readonly r0: number;
        readonly r1: number;
        readonly a0: number;
        readonly a1: number;
      };
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly shapes: readonly Shape[];
  readonly targets: readonly Target[];
}

export const TAU = Math.PI * 2;

const PLAIN: Surface = { fill: null, stroke: null, width: 1, dash: false, hatch: "none", hatchTone: "edge" };

export function paint(tone: Tone, wash = 0): Paint {
  return { tone, wash };
}

export function box(at: { x: number; y: number; w: number; h: number } & Partial<Omit<Box, "kind">>): Box {
  return { kind: "box", key: "", alpha: 1, r: 0, ...PLAIN, ...at };
}

export function sector(
  at: Pick<Sector, "cx" | "cy" | "r0" | "r1" | "a0" | "a1"> & Partial<Omit<Sector, "kind">>,
): Sector {
  return { kind: "sector", key: "", alpha: 1, ...PLAIN, ...at };
}

export function line(at: Pick<Line, "x1" | "y1" | "x2" | "y2"> & Partial<Omit<Line, "kind">>): Line {
  return { kind: "line", key: "", alpha: 1, tone: "edge", width: 1, dash: false, head: false, ...at };
}

export function words(at: { x: number; y: number; text: string } & Partial<Omit<Words, "kind">>): Words {
  return {
    kind: "words",
    key: "",
    alpha: 1,
    size: 12,
    font: "sans",
    weight: 400,
    tone: "soft",
    align: "start",
    clear: false,
    ...at,
  };
}

/** An angle in [0, 2π). */
export function turn(angle: number): number {
  return ((angle % TAU) + TAU) % TAU;
}

/** The topmost target at x, y. */
export function targetAt(picture: Picture, x: number, y: number): Target | null {
  for (let i = picture.targets.length - 1; i >= 0; i--) {
    const t = picture.targets[i]!;
    const a = t.area;
    if (a.kind === "box") {
      if (x >= a.x && x < a.x + a.w && y >= a.y && y < a.y + a.h) return t;
      continue;
    }
    const d = Math.hypot(x - a.cx, y - a.cy);
    if (d < a.r0 || d > a.r1) continue;
    if (turn(Math.atan2(y - a.cy, x - a.cx) - a.a0) <= a.a1 - a.a0) return t;
  }
  return null;
}

/** Corners and arcs of a hand, for the canvas and the SVG alike. */
export function handPoints(h: Hand): { tip: Point; left: Point; right: Point; end: Point; label: Point } {
  const c = Math.cos(h.angle);
  const s = Math.sin(h.angle);
  const base = h.r + h.side * h.size;
  const half = h.size * 0.55;
  const at = (r: number, side: number): Point => ({ x: h.cx + c * r - s * side, y: h.cy + s * r + c * side });
  return {
    tip: at(h.r, 0),
    left: at(base, -half),
    right: at(base, half),
    end: at(h.r - h.side * h.reach, 0),
    label: at(base + h.side * (7 + Math.abs(c) * h.label.length * 3.2 + Math.abs(s) * 4), 0),
  };
}
