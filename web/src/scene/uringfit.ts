// What fits: words that say the same in less, the room that words take, and a
// picture scaled as a whole.
import { handPoints, type Hand, type Shape, type Target, type Words } from "./shapes";
import { monoWidth, sansWidth } from "./text";
import type { Rect } from "./types";

/** Size of the label of a hand, px, as it is drawn. */
const HAND_SIZE = 10.5;

/** The first of them that fits; "" if none does. Longest first. */
export function fitting(
  texts: readonly string[],
  width: number,
  size: number,
  font: "mono" | "sans" = "sans",
): string {
  const measure = font === "mono" ? monoWidth : sansWidth;
  return texts.find((t) => measure(t, size) <= width) ?? "";
}

/** The room that words take. */
export function wordsRect(s: Words): Rect {
  const w = (s.font === "mono" ? monoWidth : sansWidth)(s.text, s.size);
  const x = s.align === "middle" ? s.x - w / 2 : s.align === "end" ? s.x - w : s.x;
  return { x, y: s.y - s.size / 2, w, h: s.size };
}

function handRect(h: Hand): Rect {
  const { label } = handPoints(h);
  const w = monoWidth(h.label, HAND_SIZE);
  return { x: label.x - w / 2, y: label.y - HAND_SIZE / 2, w, h: HAND_SIZE };
}

/** The room that the words of a shape take; null if it has none. */
export function textRect(s: Shape): Rect | null {
  if (s.kind === "words") return s.text === "" ? null : wordsRect(s);
  if (s.kind === "hand") return s.label === "" ? null : handRect(s);
  return null;
}

/** The room that the triangle of a hand takes. */
export function signRect(h: Hand): Rect {
  const { tip, left, right } = handPoints(h);
  const x = Math.min(tip.x, left.x, right.x);
  const y = Math.min(tip.y, left.y, right.y);
  return { x, y, w: Math.max(tip.x, left.x, right.x) - x, h: Math.max(tip.y, left.y, right.y) - y };
}

export function meet(a: Rect, b: Rect): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

export function scaleShape(s: Shape, k: number): Shape {
  switch (s.kind) {
    case "sector":
      return { ...s, cx: s.cx * k, cy: s.cy * k, r0: s.r0 * k, r1: s.r1 * k };
    case "box":
      return { ...s, x: s.x * k, y: s.y * k, w: s.w * k, h: s.h * k, r: s.r * k };
    case "line":
      return { ...s, x1: s.x1 * k, y1: s.y1 * k, x2: s.x2 * k, y2: s.y2 * k };
    case "hand":
      return { ...s, cx: s.cx * k, cy: s.cy * k, r: s.r * k, reach: s.reach * k, size: s.size * k };
    case "words":
      return { ...s, x: s.x * k, y: s.y * k, size: s.size * k };
  }
}

export function scaleTarget(t: Target, k: number): Target {
  const a = t.area;
  const area: Target["area"] =
    a.kind === "box"
      ? { kind: "box", x: a.x * k, y: a.y * k, w: a.w * k, h: a.h * k }
      : { ...a, cx: a.cx * k, cy: a.cy * k, r0: a.r0 * k, r1: a.r1 * k };
  return { id: t.id, x: t.x * k, y: t.y * k, r: t.r * k, area };
}
