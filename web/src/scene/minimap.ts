// A small picture of the whole tree, with what is looked at as a frame in it.
import type { EpollModel } from "../model/epoll";
import { NodeFlag } from "../wire/epoll";
import type { Rect, Viewport } from "./types";
import { centreOn } from "./viewport";

export interface Minimap {
  width: number;
  height: number;
  /** One per px: how deep the tree reaches there, its red share, both 0..1, and whether something is ready. */
  columns: { depth: number; share: number; ready: boolean }[];
  frame: Rect;
  /** False: the whole tree was not seen yet, only the frame is true. */
  known: boolean;
}

export function buildMinimap(model: EpollModel, viewport: Viewport, width: number, height: number): Minimap {
  const n = Math.max(1, model.items);
  const px = Math.max(1, Math.round(width));
  const levels = Math.max(1, model.shape?.levels ?? model.instance?.depth ?? 1);
  const depth = new Float64Array(px);
  const total = new Float64Array(px);
  const red = new Float64Array(px);
  const ready = new Uint8Array(px);
  const add = (lo: number, count: number, deepest: number, reds: number, isReady: boolean): void => {
    const from = Math.min(px - 1, Math.floor((lo / n) * px));
    const to = Math.min(px - 1, Math.max(from, Math.ceil(((lo + count) / n) * px) - 1));
    for (let c = from; c <= to; c++) {
      depth[c] = Math.max(depth[c]!, deepest / levels);
      total[c] = total[c]! + count;
      red[c] = red[c]! + reds;
      if (isReady) ready[c] = 1;
    }
  };
  const { shape } = model;
  if (shape) {
    shape.ids.forEach((id, rank) => {
      const flags = model.nodes.get(id)!.flags;
      add(rank, 1, shape.depth[rank]! + 1, flags & NodeFlag.black ? 0 : 1, (flags & NodeFlag.ready) !== 0);
    });
  } else {
    for (const g of model.overview ?? []) add(g.rank, g.count, g.depth + g.height, g.red, g.ready > 0);
  }
  const x1 = Math.max(0, Math.min(1, viewport.lo / n)) * width;
  const x2 = Math.max(0, Math.min(1, viewport.hi / n)) * width;
  return {
    width,
    height,
    columns: Array.from(depth, (d, c) => ({
      depth: d,
      share: total[c]! > 0 ? red[c]! / total[c]! : 0,
      ready: ready[c] === 1,
    })),
    frame: { x: x1, y: 0, w: Math.max(3, x2 - x1), h: height },
    known: shape !== null || model.overview !== null,
  };
}

/** The viewport with its middle where the small picture was pressed. */
export function minimapView(v: Viewport, items: number, px: number, width: number): Viewport {
  return centreOn(v, items, (px / width) * items - 0.5);
}
