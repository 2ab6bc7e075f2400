// Walking the tree by keyboard, whether it is held whole or by glyphs.
import type { EpollModel } from "../model/epoll";

export type Walk = "parent" | "left" | "right" | "sibling" | "previous" | "next" | "first" | "last" | "root";

function parentOf(model: EpollModel, id: number): number {
  return model.node(id)?.parent ?? model.glyph(id)?.parent ?? 0;
}

function child(model: EpollModel, id: number, side: "left" | "right"): number {
  const n = model.node(id);
  if (n) return n[side];
  const g = model.glyph(id);
  if (!g || g.count > 1) return 0; // what is inside a subtree is not held here
  for (const c of model.glyphs!) {
    if (c.parent === id && c.rootRank < g.rootRank === (side === "left")) return c.id;
  }
  return 0;
}

function rootOf(model: EpollModel): number {
  if (model.instance?.root && model.node(model.instance.root)) return model.instance.root;
  const top = model.glyphs?.find((g) => g.depth === 0) ?? model.glyphs?.[0];
  return top?.id ?? model.inOrder()[0] ?? 0;
}

/** The node in that direction; 0 if there is none. From nowhere (0, or a node that went) to the root. */
export function walk(model: EpollModel, from: number, to: Walk): number {
  const order = model.inOrder();
  if (to === "first") return order[0] ?? 0;
  if (to === "last") return order[order.length - 1] ?? 0;
  if (to === "root" || !model.brief(from)) return rootOf(model);
  switch (to) {
    case "parent":
      return parentOf(model, from);
    case "left":
    case "right":
      return child(model, from, to);
    case "sibling": {
      const parent = parentOf(model, from);
      if (parent === 0) return 0;
      const left = child(model, parent, "left");
      return left === from ? child(model, parent, "right") : left;
    }
    case "previous":
    case "next": {
      const at = model.shape ? model.rank(from) : order.indexOf(from);
      return order[at + (to === "next" ? 1 : -1)] ?? 0;
    }
  }
}

/** Ids with that fd; several where processes share the instance. */
export function findFd(model: EpollModel, fd: number): number[] {
  return model.inOrder().filter((id) => {
    const b = model.brief(id);
    return b !== undefined && b.fd === fd && b.count === 1;
  });
}

/** Ids from the root to the node, both included; [] if it is not held here. */
export function pathTo(model: EpollModel, id: number): number[] {
  const out: number[] = [];
  const seen = new Set<number>();
  for (let at = id; at !== 0 && model.brief(at) && !seen.has(at); at = parentOf(model, at)) {
    seen.add(at);
    out.push(at);
  }
  return out.reverse();
}
