// What lies under a point of the picture.
import type { EpollModel } from "../model/epoll";
import type { Hit, Point, Scene } from "./types";

/** Fingers and tired hands: a node is hit this far outside its disc, px. */
const REACH = 5;

/** The topmost thing at x, y; nodes win over subtrees, both over lanes. */
export function hitTest(scene: Scene, x: number, y: number): Hit | null {
  for (let i = scene.pills.length - 1; i >= 0; i--) {
    const p = scene.pills[i]!;
    if (Math.abs(x - p.x) <= p.w / 2 && Math.abs(y - p.y) <= p.h / 2) {
      return { kind: "pill", id: p.id, list: p.list, x: p.x, y: p.y };
    }
  }
  for (const t of scene.threads) {
    if (x >= t.x && x <= t.x + t.w && y >= t.y && y <= t.y + t.h) {
      return { kind: "thread", tid: t.tid, x: t.x, y: t.y };
    }
  }
  for (const l of scene.lanes) {
    if (x >= l.x && x < l.x + l.w && y >= l.y && y < l.y + l.h) return { kind: "lane", name: l.name };
  }
  let best: Hit | null = null;
  let bestDistance = Infinity;
  for (const n of scene.nodes) {
    const d = Math.hypot(x - n.x, y - n.y);
    if (d <= n.r + REACH && d - n.r < bestDistance) {
      bestDistance = d - n.r;
      best = { kind: "node", id: n.id, x: n.x, y: n.y, r: n.r };
    }
  }
  if (best) return best;
  for (const s of scene.stubs) {
    const w = s.label.length * 6.3 + 12;
    if (x >= s.x1 && x <= s.x2 + w && Math.abs(y - s.y2) <= 10) {
      return { kind: "stub", id: s.id, instance: s.instance, x: s.x2, y: s.y2 };
    }
  }
  for (const g of scene.glyphs) {
    if (y < g.y - 2 || y > g.y2 + 4) continue;
    // The sides run from the apex to the base.
    const t = g.y2 > g.y ? Math.min(1, Math.max(0, (y - g.y) / (g.y2 - g.y))) : 1;
    const left = g.x + (g.x1 - g.x) * t;
    const right = g.x + (g.x2 - g.x) * t;
    if (x < left - 1 || x > right + 1) continue;
    return {
      kind: "glyph",
      id: g.id,
      count: g.count,
      ready: g.ready,
      share: g.share,
      lo: g.lo,
      hi: g.lo + g.count,
    };
  }
  return null;
}

/** Where a node, or the subtree drawn in its place, stands; null if it is out of the picture. */
export function locate(scene: Scene, model: EpollModel, id: number): (Point & { r: number }) | null {
  const n = scene.nodes.find((s) => s.id === id);
  if (n) return { x: n.x, y: n.y, r: n.r };
  const rank = model.rank(id);
  if (rank < 0) return null;
  const g = scene.glyphs.find((s) => rank >= s.lo && rank < s.lo + s.count);
  return g ? { x: g.x, y: g.y, r: 4 } : null;
}
