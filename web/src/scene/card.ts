// A free place for the struct card: beside its node, over as few others as possible.
import type { Point, Rect, Scene } from "./types";

const GAP = 14;
const EDGE = 12;

export interface CardPlace extends Point {
  side: "right" | "left" | "above" | "below" | "corner";
  /** Nodes that it hides. */
  covers: number;
}

function keep(v: number, lo: number, hi: number): number {
  return Math.max(lo, Math.min(v, Math.max(lo, hi)));
}

/**
 * Left upper corner for a card of w × h. `within` is the part of the picture it
 * may use (default: above the lanes). The node itself stays visible wherever
 * the room allows.
 */
export function placeCard(
  scene: Scene,
  anchor: Point & { r: number },
  card: { w: number; h: number },
  within?: Rect,
): CardPlace {
  const foot = scene.lanes[0]?.y ?? scene.height;
  const room = within ?? { x: 0, y: 0, w: scene.width, h: foot };
  const left = room.x + EDGE;
  const top = room.y + EDGE;
  const right = room.x + room.w - EDGE - card.w;
  const bottom = room.y + room.h - EDGE - card.h;
  const off = anchor.r + GAP;
  const candidates: { x: number; y: number; side: CardPlace["side"] }[] = [];
  for (const slide of [0.5, 0.15, 0.85, 0.3, 0.7]) {
    candidates.push({ x: anchor.x + off, y: anchor.y - card.h * slide, side: "right" });
    candidates.push({ x: anchor.x - off - card.w, y: anchor.y - card.h * slide, side: "left" });
    candidates.push({ x: anchor.x - card.w * slide, y: anchor.y + off, side: "below" });
    candidates.push({ x: anchor.x - card.w * slide, y: anchor.y - off - card.h, side: "above" });
  }
  for (const x of [left, right]) for (const y of [top, bottom]) candidates.push({ x, y, side: "corner" });

  let best: CardPlace | null = null;
  let bestCost = Infinity;
  for (const c of candidates) {
    const x = keep(c.x, left, right);
    const y = keep(c.y, top, bottom);
    // A neighbour pushed over its own node by the picture's edge is no neighbour.
    const hidesOwn = overlaps(x, y, card, anchor.x, anchor.y, anchor.r + 6);
    let covers = 0;
    for (const n of scene.nodes) if (overlaps(x, y, card, n.x, n.y, n.r)) covers++;
    const centreX = keep(anchor.x, x, x + card.w);
    const centreY = keep(anchor.y, y, y + card.h);
    const distance = Math.hypot(anchor.x - centreX, anchor.y - centreY);
    const cost = (hidesOwn ? 10_000 : 0) + covers * 60 + distance;
    if (cost < bestCost - 0.5) {
      bestCost = cost;
      best = { x, y, side: c.side, covers };
    }
  }
  return best!;
}

function overlaps(
  x: number,
  y: number,
  card: { w: number; h: number },
  cx: number,
  cy: number,
  r: number,
): boolean {
  const dx = cx - keep(cx, x, x + card.w);
  const dy = cy - keep(cy, y, y + card.h);
  return dx * dx + dy * dy < r * r;
}
