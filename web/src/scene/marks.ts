// Where small signs of a node stand; canvas and SVG must agree.
import type { NodeShape, NodeTone, Point } from "./types";

/** Middle of the letter R: outside the rings, up to the right. */
export function markPlace(n: NodeShape): Point {
  const d = n.r + 10;
  return { x: n.x + d * 0.8, y: n.y - d * 0.6 };
}

/** Outline of a disc: a red node's ring is thick, so that it is not told by hue alone. */
export function ringWidth(r: number, tone: NodeTone): number {
  const thick = tone === "red";
  if (r >= 8) return thick ? 2.6 : 1.6;
  if (r >= 4) return thick ? 1.8 : 1;
  return thick ? 1 : 0.5;
}
