// Outlines of marks as SVG path data, for the page, files and canvases.

import { corners, type Mark } from "./drawing";

/** n is a coordinate with a tenth of a pixel. */
export function n(v: number): string {
  return String(Math.round(v * 10) / 10);
}

export function pathOf(points: readonly (readonly [number, number])[], closed = false): string {
  const d = points.map(([x, y], i) => `${i === 0 ? "M" : "L"}${n(x)} ${n(y)}`).join("");
  return closed ? `${d}Z` : d;
}

/** dotPath is the outline of a dot, circles too. */
export function dotPath(m: Extract<Mark, { kind: "dot" }>): string {
  if (m.shape === "circle" || m.shape === "ring") {
    return `M${n(m.x - m.r)} ${n(m.y)}a${n(m.r)} ${n(m.r)} 0 1 0 ${n(2 * m.r)} 0a${n(m.r)} ${n(m.r)} 0 1 0 ${n(-2 * m.r)} 0Z`;
  }
  return pathOf(
    corners(m.shape, m.r).map(([x, y]) => [x + m.x, y + m.y] as const),
    true,
  );
}

export function isHollow(m: Extract<Mark, { kind: "dot" }>): boolean {
  return m.hollow === true || m.shape === "ring";
}
