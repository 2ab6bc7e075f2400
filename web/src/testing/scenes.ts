// Models and options that several scene tests share.
import { EpollStream, type EpollModel } from "../model/epoll";
import { fit } from "../scene/viewport";
import type { SceneOptions, SceneWords, Viewport } from "../scene/types";
import { toView } from "../scene/viewport";
import { NodeFlag, type NodeRow } from "../wire/epoll";
import { ClrsTree } from "./clrs";
import {
  balancedDepth,
  balancedGlyphs,
  keyFrame,
  random,
  rowsOf,
  writeFrame,
  type TestFrame,
} from "./frames";

export const WORDS: SceneWords = {
  rdllist: "ready",
  ovflist: "became ready during a scan",
  wq: "asleep in epoll_wait",
  none: "empty",
  inactive: "no scan runs",
  more: "+ {n} more",
  exclusive: "exclusive",
};

/** n keys in random order; ids count in order of insertion. */
export function randomTree(n: number, seed = 1): ClrsTree {
  const rnd = random(seed);
  const keys = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(rnd() * (i + 1));
    [keys[i], keys[j]] = [keys[j]!, keys[i]!];
  }
  const t = new ClrsTree();
  keys.forEach((k, i) => t.insert(i + 1, k));
  return t;
}

/** A model of the tree, with these ids ready. */
export function modelOf(
  t: ClrsTree,
  ready: readonly number[] = [],
  extra: Partial<TestFrame> = {},
): EpollModel {
  const rows: NodeRow[] = rowsOf(t).map((r) =>
    ready.includes(r.id) ? { ...r, flags: r.flags | NodeFlag.ready } : r,
  );
  const fd = new Map(rows.map((r) => [r.id, r.fd]));
  const list = ready.map((node) => ({ node, fd: fd.get(node)! }));
  return new EpollStream().push(keyFrame(t, { sequence: 1, nodes: rows, ready: list, ...extra })).model;
}

/** The server's picture of a part of a balanced tree of n items. */
export function culledModel(n: number, v: Viewport, width: number): EpollModel {
  const q = toView(v, n, width);
  const glyphs = balancedGlyphs(n, q.lo, q.hi || n, q.px);
  const frame = writeFrame({ sequence: 1, flags: 9, items: n, depth: balancedDepth(n), glyphs });
  return new EpollStream().push(frame).model;
}

export function optionsFor(model: EpollModel, more: Partial<SceneOptions> = {}): SceneOptions {
  return { width: 960, height: 600, viewport: fit(model.items), words: WORDS, ...more };
}
