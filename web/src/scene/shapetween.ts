// Motion between two pictures of shapes: what has the same key glides, what is
// new comes from where it is said to come from, what went leaves to where it
// is said to go. Flights are shapes of their own that pass by. Holds no clock.
import { turn, type Box, type Picture, type Shape, type Words } from "./shapes";
import type { Point } from "./types";

/** A token on its way through points that no picture holds it at. */
export interface Flight {
  readonly box: Box;
  readonly words: Words;
  readonly via: readonly Point[];
  readonly start: number;
  readonly ms: number;
}

export interface Passage {
  /** Where things of that key come from or go to: the middle of a box. */
  readonly enters?: ReadonlyMap<string, Point>;
  readonly leaves?: ReadonlyMap<string, Point>;
  readonly ms?: number;
}

const GLIDE_MS = 320;
const MOST_FLIGHTS = 24;

function ease(t: number): number {
  return t < 0.5 ? 4 * t * t * t : 1 - (-2 * t + 2) ** 3 / 2;
}

function mix(a: number, b: number, t: number): number {
  return a + (b - a) * t;
}

/** The shape moved so that its middle lies at p; words stand in the middle of their box. */
function movedTo(s: Shape, p: Point): Shape {
  if (s.kind === "box") return { ...s, x: p.x - s.w / 2, y: p.y - s.h / 2 };
  if (s.kind === "words") return { ...s, x: p.x, y: p.y };
  return s;
}

function glided(a: Shape, b: Shape, t: number): Shape {
  if (a.kind === "box" && b.kind === "box") {
    return { ...b, x: mix(a.x, b.x, t), y: mix(a.y, b.y, t), alpha: mix(a.alpha, b.alpha, t) };
  }
  if (a.kind === "words" && b.kind === "words") {
    return { ...b, x: mix(a.x, b.x, t), y: mix(a.y, b.y, t), alpha: mix(a.alpha, b.alpha, t) };
  }
  if (a.kind === "line" && b.kind === "line") {
    return {
      ...b,
      x1: mix(a.x1, b.x1, t),
      y1: mix(a.y1, b.y1, t),
      x2: mix(a.x2, b.x2, t),
      y2: mix(a.y2, b.y2, t),
      alpha: mix(a.alpha, b.alpha, t),
    };
  }
  if (a.kind === "hand" && b.kind === "hand") {
    // Counters only grow: a hand goes forward, except a hair back.
    const by = turn(b.angle - a.angle);
    const way = by > Math.PI * 1.98 ? 0 : by;
    return { ...b, angle: b.angle - (1 - t) * way };
  }
  return { ...b, alpha: mix(a.alpha, b.alpha, t) };
}

export class ShapeMotion {
  reduced: boolean;
  private from = new Map<string, Shape>();
  private target: Picture | null = null;
  private leaving: { shape: Shape; to: Point | null }[] = [];
  private enters: ReadonlyMap<string, Point> = new Map();
  private start = -Infinity;
  private ms = GLIDE_MS;
  private flights: Flight[] = [];

  constructor(reduced: boolean) {
    this.reduced = reduced;
  }

  moving(now: number): boolean {
    if (this.target === null) return false;
    return now < this.start + this.ms || this.flights.some((f) => now < f.start + f.ms);
  }

  /** The same picture in another size or look: nothing moves. */
  replace(p: Picture): void {
    this.target = p;
    this.start = -Infinity;
    this.leaving = [];
    this.flights = [];
  }

  to(p: Picture, now: number, passage: Passage = {}): void {
    const before = this.target;
    if (this.reduced || before === null || before.width !== p.width || before.height !== p.height) {
      this.replace(p);
      return;
    }
    const shown = this.shapesAt(now);
    this.from = new Map(shown.filter((s) => s.key !== "").map((s) => [s.key, s]));
    const keys = new Set(p.shapes.map((s) => s.key));
    this.leaving = shown
      .filter((s) => s.key !== "" && !keys.has(s.key) && s.alpha > 0.05)
      .map((shape) => ({ shape, to: passage.leaves?.get(passageKey(shape.key)) ?? null }));
    this.enters = passage.enters ?? new Map();
    this.target = p;
    this.start = now;
    this.ms = passage.ms ?? GLIDE_MS;
  }

  fly(f: Flight): boolean {
    if (this.reduced || this.flights.length >= MOST_FLIGHTS) return false;
    this.flights.push(f);
    return true;
  }

  at(now: number): Picture | null {
    const p = this.target;
    if (!p) return null;
    if (!this.moving(now)) return p;
    this.flights = this.flights.filter((f) => now < f.start + f.ms);
    return { ...p, shapes: [...this.shapesAt(now), ...this.flying(now)] };
  }

  private shapesAt(now: number): readonly Shape[] {
    const p = this.target;
    if (!p) return [];
    const raw = (now - this.start) / this.ms;
    if (raw >= 1) return p.shapes;
    const t = ease(Math.max(0, raw));
    const gone = this.leaving.map(({ shape, to }): Shape => {
      if (!to) return { ...shape, alpha: shape.alpha * (1 - t) };
      const end = movedTo(shape, to);
      // It is seen until it is there.
      return { ...glided(shape, end, t), alpha: shape.alpha * (t < 0.8 ? 1 : (1 - t) * 5) };
    });
    const now_ = p.shapes.map((s): Shape => {
      if (s.key === "") return s;
      const a = this.from.get(s.key);
      if (a) return glided(a, s, t);
      const enter = this.enters.get(passageKey(s.key));
      if (enter) return glided(movedTo(s, enter), s, t);
      return { ...s, alpha: s.alpha * t };
    });
    return [...now_, ...gone];
  }

  private flying(now: number): Shape[] {
    const out: Shape[] = [];
    for (const f of this.flights) {
      const t = (now - f.start) / f.ms;
      if (t < 0 || t > 1 || f.via.length < 2) continue;
      const legs = f.via.length - 1;
      const leg = Math.min(legs - 1, Math.floor(t * legs));
      const part = ease(t * legs - leg);
      const a = f.via[leg]!;
      const b = f.via[leg + 1]!;
      const at = { x: mix(a.x, b.x, part), y: mix(a.y, b.y, part) };
      const alpha = t > 0.9 ? (1 - t) * 10 : 1;
      out.push({ ...movedTo(f.box, at), alpha }, { ...movedTo(f.words, at), alpha });
    }
    return out;
  }
}

/** "req:41/label" moves with "req:41". */
function passageKey(key: string): string {
  const at = key.indexOf("/");
  return at < 0 ? key : key.slice(0, at);
}
