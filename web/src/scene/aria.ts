// The tree for a screen reader: what is in the picture, at most 200 rows.
import type { EpollModel } from "../model/epoll";
import { NodeFlag } from "../wire/epoll";
import type { Scene } from "./types";

/** A row of the hidden tree. Children follow their parent; setSize and position are among siblings. */
export interface AriaRow {
  id: number;
  level: number;
  position: number;
  setSize: number;
  fd: number;
  colour: "red" | "black" | "unknown";
  ready: boolean;
  orphan: boolean;
  side: "root" | "left" | "right" | "none";
  /** Above 1: a subtree with that many items. */
  count: number;
  /** Its children are among the rows. */
  expanded: boolean;
}

/**
 * At most `limit` of what the scene shows: the focused node and its ancestors
 * first, then level by level from the root.
 */
export function ariaRows(model: EpollModel, scene: Scene, focused: number, limit = 200): AriaRow[] {
  const parentOf = (id: number): number => model.node(id)?.parent ?? model.glyph(id)?.parent ?? 0;
  const shown = new Set<number>();
  for (
    let at = focused;
    at !== 0 && model.brief(at) && !shown.has(at) && shown.size < limit;
    at = parentOf(at)
  ) {
    shown.add(at);
  }
  const drawn = [
    ...scene.nodes.map((n) => ({ id: n.id, y: n.y, x: n.x })),
    ...scene.glyphs.map((g) => ({ id: g.id, y: g.y, x: g.x })),
  ].sort((a, b) => a.y - b.y || a.x - b.x);
  for (const d of drawn) {
    if (shown.size >= limit) break;
    if (model.brief(d.id)) shown.add(d.id);
  }
  const children = new Map<number, number[]>();
  for (const id of shown) {
    const p = parentOf(id);
    const key = shown.has(p) ? p : 0;
    const list = children.get(key);
    if (list) list.push(id);
    else children.set(key, [id]);
  }
  const order = new Map(model.inOrder().map((id, i) => [id, i]));
  for (const list of children.values()) list.sort((a, b) => order.get(a)! - order.get(b)!);
  const countOf = new Map(scene.glyphs.map((g) => [g.id, g.count]));
  const rows: AriaRow[] = [];
  const visit = (id: number, level: number, position: number, setSize: number): void => {
    const b = model.brief(id)!;
    const parent = parentOf(id);
    const own = children.get(id) ?? [];
    const after = parent !== 0 && model.rank(id) > model.rank(parent);
    rows.push({
      id,
      level,
      position,
      setSize,
      fd: b.fd,
      colour: model.membership ? "unknown" : b.flags & NodeFlag.black ? "black" : "red",
      ready: (b.flags & NodeFlag.ready) !== 0,
      orphan: (b.flags & NodeFlag.orphan) !== 0,
      side: model.membership ? "none" : parent === 0 ? "root" : after ? "right" : "left",
      count: countOf.get(id) ?? b.count,
      expanded: own.length > 0,
    });
    own.forEach((c, i) => visit(c, level + 1, i + 1, own.length));
  };
  const tops = children.get(0) ?? [];
  tops.forEach((id, i) => visit(id, 1, i + 1, tops.length));
  return rows;
}
