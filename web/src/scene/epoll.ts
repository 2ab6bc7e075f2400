// Model → scene. x is the in-order rank, y the depth: nothing is laid out, so
// nothing dances. One walk from the root serves every size: what is outside
// the view is skipped, what is too narrow becomes one glyph with its count.
import { eventShort } from "../model/events";
import type { EpollModel, Shape } from "../model/epoll";
import { fileWords } from "../model/files";
import { NodeFlag, type GlyphRow } from "../wire/epoll";
import { addLanes, laneHeight } from "./lanes";
import { grouped, monoWidth } from "./text";
import type { NodeTone, Rect, Scene, SceneOptions, Viewport } from "./types";

const NODE_MAX = 18;
const LEVEL_MAX = 72;
/** A subtree narrower than this is one glyph. */
const GLYPH_PX = 3;
/** Left and right of the tree, px. */
const SIDE = 40;
const TOP = 36;
const BOTTOM = 32;
/** Drawn at most where items have no place in a tree. */
const GRID_MAX = 5000;

/** What the walks share. */
interface Frame {
  scene: Scene;
  model: EpollModel;
  options: SceneOptions;
  /** y by level. */
  rows: number[];
  /** Radius by level. */
  radius: number[];
  /** Node ids on the way from the root to what is pointed at. */
  path: Set<number>;
}

function emptyScene(width: number, height: number, tree: Rect, viewport: Viewport): Scene {
  return {
    width,
    height,
    tree,
    bounds: { x: tree.x, y: tree.y, w: 0, h: 0 },
    viewport,
    dx: 0,
    dy: 0,
    empty: true,
    stale: false,
    counts: { items: 0, nodes: 0, glyphs: 0, covered: 0 },
    rules: [],
    edges: [],
    glyphs: [],
    stubs: [],
    rings: [],
    nodes: [],
    marks: [],
    lanes: [],
    arrows: [],
    threads: [],
    texts: [],
    pills: [],
  };
}

function toneOf(flags: number, membership: boolean): NodeTone {
  if (membership) return "unknown";
  return flags & NodeFlag.black ? "black" : "red";
}

/** Size of a label that fits a disc; 0 where it would not be legible. */
function labelSize(label: string, r: number): number {
  const size = Math.min(11.5, (2 * r - 7) / (0.6 * label.length));
  return size >= 8 ? size : 0;
}

function edgeWidth(r: number): number {
  if (r >= 8) return 1.4;
  return r >= 3 ? 1 : 0.7;
}

function x(f: Frame, rank: number): number {
  return f.scene.tree.x + (rank + 0.5 - f.scene.viewport.lo) * f.scene.dx;
}

function y(f: Frame, depth: number): number {
  return f.rows[Math.min(depth, f.rows.length - 1)]!;
}

interface Item {
  id: number;
  x: number;
  y: number;
  r: number;
  fd: number;
  flags: number;
  events: number;
  file: number;
  nested: number;
}

function addNode(f: Frame, n: Item): void {
  const s = f.scene;
  const o = f.options;
  const label = String(n.fd);
  const tone = toneOf(n.flags, f.model.membership);
  const size = labelSize(label, n.r);
  s.nodes.push({
    id: n.id,
    x: n.x,
    y: n.y,
    r: n.r,
    tone,
    was: tone,
    mix: 1,
    label: size > 0 ? label : "",
    size,
    mark: tone === "red" && n.r >= 9,
    alpha: 1,
  });
  s.counts.nodes++;
  s.counts.covered++;
  const air = n.r >= 8 ? 4.5 : n.r >= 4 ? 3 : 2;
  const width = n.r >= 8 ? 2.2 : 1.4;
  if (n.flags & NodeFlag.ready) {
    s.rings.push({ id: n.id, x: n.x, y: n.y, r: n.r + air, tone: "ready", width, dash: false, alpha: 1 });
  }
  if (n.flags & NodeFlag.overflow) {
    s.rings.push({ id: n.id, x: n.x, y: n.y, r: n.r + air, tone: "overflow", width, dash: true, alpha: 1 });
  } else if (n.flags & NodeFlag.delivering) {
    s.rings.push({ id: n.id, x: n.x, y: n.y, r: n.r + air, tone: "delivering", width, dash: true, alpha: 1 });
  }
  const outer = n.r + air + 4;
  if (n.id === o.focused) {
    s.rings.push({ id: n.id, x: n.x, y: n.y, r: outer, tone: "accent", width: 2, dash: true, alpha: 1 });
  } else if (n.id === o.hovered) {
    s.rings.push({ id: n.id, x: n.x, y: n.y, r: outer, tone: "accent", width: 1.4, dash: false, alpha: 1 });
  }
  if (o.marked?.has(n.id)) {
    s.rings.push({ id: n.id, x: n.x, y: n.y, r: outer + 3, tone: "warn", width: 2, dash: false, alpha: 1 });
  }
  if (n.flags & NodeFlag.orphan) {
    const r = Math.max(3, Math.min(6, n.r * 0.36));
    const at = (n.r + 1) * Math.SQRT1_2;
    s.marks.push({ id: n.id, x: n.x + at, y: n.y + at, r, sign: "orphan", alpha: 1 });
  }
}

/**
 * What stands right of a node: the strip of its level between it and the next
 * node of that level, which no edge crosses.
 */
function addSides(f: Frame, items: Item[]): void {
  const s = f.scene;
  const free = new Map<number, number>(); // by y: where the next node's strip begins
  for (let i = items.length - 1; i >= 0; i--) {
    const n = items[i]!;
    const end = free.get(n.y) ?? s.width - 8;
    free.set(n.y, n.x - n.r - 10);
    const ringed = n.id === f.options.focused || n.id === f.options.hovered;
    let at = n.x + n.r + (ringed ? 14 : 10); // outside the rings
    if (n.nested !== 0 && n.r >= 5) {
      const label = `ep#${n.nested}`;
      const w = monoWidth(label, 10.5) + 12;
      const room = end - at >= 18 + w;
      s.stubs.push({
        id: n.id,
        instance: n.nested,
        x1: n.x + n.r,
        y1: n.y,
        x2: at + (room ? 14 : 8),
        y2: n.y,
        label: room ? label : "",
        alpha: 1,
      });
      at += (room ? 14 + w : 12) + 6;
    }
    const room = end - at;
    const fd = String(n.fd);
    if (n.r >= 7 && labelSize(fd, n.r) === 0 && monoWidth(fd, 10.5) <= room) {
      sideText(s, n, at, 0, fd, "ink");
      continue;
    }
    if (n.r < 12) continue;
    const words = fileWords(f.model.file(n.file));
    const lines = [
      [
        `${words.kind} ${words.local} ${words.remote}`,
        `${words.kind} ${words.local || words.name}`,
        words.kind,
      ],
      [eventShort(n.events)],
    ].map((choices) => choices.map((c) => c.trim()).find((c) => c !== "" && monoWidth(c, 10.5) <= room));
    const shown = lines.filter((l) => l !== undefined && l !== "unknown");
    shown.forEach((line, k) => {
      sideText(s, n, at, shown.length === 1 ? 0 : k === 0 ? -6.5 : 6.5, line!, "soft");
    });
  }
}

function sideText(s: Scene, n: Item, x: number, dy: number, text: string, tone: "ink" | "soft"): void {
  s.texts.push({
    id: n.id,
    x,
    y: n.y + dy,
    text,
    size: 10.5,
    font: "mono",
    weight: 400,
    tone,
    align: "start",
    clear: true,
    alpha: 1,
  });
}

function addEdge(
  f: Frame,
  id: number,
  parent: number,
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  r: number,
): void {
  const on = f.path.has(id);
  f.scene.edges.push({
    id,
    parent,
    x1,
    y1,
    x2,
    y2,
    tone: on ? "accent" : "edge",
    width: on ? 2.2 : edgeWidth(r),
    alpha: 1,
  });
}

function addGlyph(
  f: Frame,
  g: {
    id: number;
    root: number;
    lo: number;
    count: number;
    red: number;
    ready: number;
    depth: number;
    height: number;
  },
): void {
  const s = f.scene;
  const x1 = s.tree.x + (g.lo - s.viewport.lo) * s.dx;
  const w = g.count * s.dx;
  const label = grouped(g.count);
  const top = y(f, g.depth);
  const y2 = Math.max(top + 2, y(f, g.depth + g.height - 1) + Math.min(4, s.dy / 4));
  s.glyphs.push({
    id: g.id,
    x: x(f, g.root),
    y: top,
    x1,
    x2: x1 + w,
    y2,
    share: g.count > 0 ? g.red / g.count : 0,
    count: g.count,
    lo: g.lo,
    ready: g.ready,
    label: w >= monoWidth(label, 10.5) + 12 && y2 - top >= 28 ? label : "",
    alpha: 1,
  });
  s.counts.glyphs++;
  s.counts.covered += g.count;
}

/** One walk over a tree held whole. */
function walkShape(f: Frame, shape: Shape): void {
  const s = f.scene;
  const items: Item[] = [];
  const margin = 24;
  // Parents before children; the right child is put below the left one, so
  // that nodes come out by rank where it matters (addSides sorts itself).
  const stack: number[] = shape.root >= 0 ? [shape.root] : [];
  while (stack.length > 0) {
    const rank = stack.pop()!;
    const left = shape.left[rank]!;
    const right = shape.right[rank]!;
    const lo = rank - (left < 0 ? 0 : shape.size[left]!);
    const count = shape.size[rank]!;
    const depth = shape.depth[rank]!;
    const id = shape.ids[rank]!;
    const nx = x(f, rank);
    const ny = y(f, depth);
    const r = f.radius[depth]!;
    const parent = shape.parent[rank]!;
    const px = parent < 0 ? nx : x(f, parent);
    const x1 = s.tree.x + (lo - s.viewport.lo) * s.dx;
    const x2 = x1 + count * s.dx;
    const inside = x2 >= -margin && x1 <= s.width + margin;
    if (parent >= 0 && Math.max(nx, px) >= -margin && Math.min(nx, px) <= s.width + margin) {
      addEdge(f, id, shape.ids[parent]!, px, y(f, depth - 1), nx, ny, r);
    }
    if (!inside) continue;
    if (count > 1 && count * s.dx < GLYPH_PX) {
      addGlyph(f, {
        id,
        root: rank,
        lo,
        count,
        red: shape.red[rank]!,
        ready: shape.ready[rank]!,
        depth,
        height: shape.height[rank]!,
      });
      continue;
    }
    if (nx >= -margin && nx <= s.width + margin) {
      const n = f.model.nodes.get(id)!;
      const item = {
        id,
        x: nx,
        y: ny,
        r,
        fd: n.fd,
        flags: n.flags,
        events: n.events,
        file: n.file,
        nested: n.nested,
      };
      addNode(f, item);
      items.push(item);
    }
    if (right >= 0) stack.push(right);
    if (left >= 0) stack.push(left);
  }
  items.sort((a, b) => a.x - b.x);
  addSides(f, items);
}

/** The glyphs the server chose for this view. */
function placeGlyphs(f: Frame, glyphs: readonly GlyphRow[]): void {
  const s = f.scene;
  const items: Item[] = [];
  const margin = 24;
  for (const g of glyphs) {
    const r = f.radius[Math.min(g.depth, f.radius.length - 1)]!;
    const nx = x(f, g.rootRank);
    const ny = y(f, g.depth);
    if (g.depth > 0) {
      const px = x(f, g.parentRank);
      if (Math.max(nx, px) >= -margin && Math.min(nx, px) <= s.width + margin) {
        addEdge(f, g.id, g.parent, px, y(f, g.depth - 1), nx, ny, g.count > 1 ? 1 : r);
      }
    }
    const x1 = s.tree.x + (g.rank - s.viewport.lo) * s.dx;
    if (x1 + g.count * s.dx < -margin || x1 > s.width + margin) continue;
    if (g.count > 1) {
      addGlyph(f, {
        id: g.id,
        root: g.rootRank,
        lo: g.rank,
        count: g.count,
        red: g.red,
        ready: g.ready,
        depth: g.depth,
        height: g.height,
      });
      continue;
    }
    const item = {
      id: g.id,
      x: nx,
      y: ny,
      r,
      fd: g.fd,
      flags: g.flags,
      events: g.events,
      file: g.file,
      nested: g.nested,
    };
    addNode(f, item);
    items.push(item);
  }
  items.sort((a, b) => a.x - b.x);
  addSides(f, items);
}

/** Items whose place in the tree is not known: in the order of fdinfo, like words on a page. */
function placeGrid(f: Frame): void {
  const s = f.scene;
  const { lo, hi } = s.viewport;
  const ids = f.model.inOrder();
  const from = Math.max(0, Math.floor(lo));
  const shown = ids.slice(from, Math.min(ids.length, Math.ceil(hi), from + GRID_MAX));
  if (shown.length === 0) return;
  const cell = Math.min(64, Math.sqrt((s.tree.w * s.tree.h) / shown.length));
  const columns = Math.max(1, Math.min(shown.length, Math.floor(s.tree.w / cell)));
  const rows = Math.ceil(shown.length / columns);
  const step = Math.min(cell, s.tree.h / rows);
  const r = Math.max(1.2, Math.min(NODE_MAX, step * 0.34));
  const left = s.tree.x + (s.tree.w - columns * cell) / 2;
  const top = s.tree.y + (s.tree.h - rows * step) / 2;
  shown.forEach((id, i) => {
    const n = f.model.nodes.get(id);
    if (!n) return;
    addNode(f, {
      id,
      x: left + ((i % columns) + 0.5) * cell,
      y: top + (Math.floor(i / columns) + 0.5) * step,
      r,
      fd: n.fd,
      flags: n.flags,
      events: n.events,
      file: n.file,
      nested: n.nested,
    });
  });
}

/**
 * Height of the step from each level to the next, 1 in full. Close to a part of
 * a large tree hardly any ancestor is in view, only edges that pass through:
 * such levels are drawn together, and those looked at get the room. It depends
 * on the zoom alone, so that panning moves nothing up or down.
 */
function levelWeights(items: number, levels: number, dx: number, width: number): number[] {
  const out: number[] = [];
  for (let d = 0; d < levels - 1; d++) {
    const apart = (items / Math.pow(2, d)) * dx;
    const excess = Math.log2(apart / width); // 0: one node of the level in view
    out.push(Math.min(1, Math.max(0.22, 1 - 0.39 * excess)));
  }
  return out;
}

/** Radius of each level: as large as the level's closest neighbours let it be. */
function radii(model: EpollModel, levels: number, dx: number, dy: number): number[] {
  const most = Math.min(NODE_MAX, levels > 1 ? dy * 0.36 : NODE_MAX);
  const out: number[] = [];
  for (let d = 0; d < levels; d++) {
    // Of a culled tree only the average distance is known, and neighbours may be
    // half as close. It does not change while the picture is moved: neither do
    // the discs.
    const gap = model.shape ? model.shape.gap[d]! : (model.items / Math.pow(2, d)) * 0.4;
    const room = Math.max(1.2, Math.min(most, gap * dx * 0.42));
    out.push(Math.min(room, out[d - 1] ?? room));
  }
  return out.length > 0 ? out : [most];
}

function pathIds(model: EpollModel, id: number): Set<number> {
  const out = new Set<number>();
  for (let at = id; at !== 0 && !out.has(at);) {
    out.add(at);
    at = model.node(at)?.parent ?? model.glyph(at)?.parent ?? 0;
  }
  return out;
}

function boundsOf(s: Scene): Rect {
  let x1 = Infinity;
  let y1 = Infinity;
  let x2 = -Infinity;
  let y2 = -Infinity;
  for (const n of s.nodes) {
    x1 = Math.min(x1, n.x - n.r);
    x2 = Math.max(x2, n.x + n.r);
    y1 = Math.min(y1, n.y - n.r);
    y2 = Math.max(y2, n.y + n.r);
  }
  for (const g of s.glyphs) {
    x1 = Math.min(x1, g.x1);
    x2 = Math.max(x2, g.x2);
    y1 = Math.min(y1, g.y);
    y2 = Math.max(y2, g.y2);
  }
  if (x1 > x2) return { x: s.tree.x + s.tree.w / 2, y: s.tree.y + s.tree.h / 2, w: 0, h: 0 };
  return { x: x1, y: y1, w: x2 - x1, h: y2 - y1 };
}

/** The picture of a model. Pure: the same arguments give the same lists. */
export function buildEpollScene(model: EpollModel, options: SceneOptions): Scene {
  const { width, height } = options;
  const lanes = options.lanes ?? true;
  const band = lanes ? laneHeight(width) : 0;
  const top = (options.top ?? 0) + TOP;
  const tree: Rect = {
    x: SIDE,
    y: top,
    w: Math.max(40, width - 2 * SIDE),
    h: Math.max(20, height - band - top - BOTTOM),
  };
  const scene = emptyScene(width, height, tree, options.viewport);
  scene.empty = model.items === 0;
  scene.stale = model.stale !== null;
  scene.counts.items = model.items;
  scene.dx = tree.w / (options.viewport.hi - options.viewport.lo);

  const levels = Math.max(1, model.shape?.levels ?? model.instance?.depth ?? 1);
  const weights = levelWeights(model.items, levels, scene.dx, width);
  const sum = weights.reduce((total, w) => total + w, 0);
  scene.dy = levels > 1 ? Math.min(LEVEL_MAX, tree.h / sum) : 0;
  // A low tree stands a little above the middle, where the eye expects it.
  let at = tree.y + (tree.h - sum * scene.dy) * 0.4;
  const rows = [at];
  for (const w of weights) rows.push((at += w * scene.dy));
  const f: Frame = {
    scene,
    model,
    options,
    rows,
    radius: radii(model, levels, scene.dx, scene.dy),
    path: pathIds(model, options.focused || options.hovered || 0),
  };
  if (!scene.empty) {
    if (model.shape) walkShape(f, model.shape);
    else if (model.glyphs) placeGlyphs(f, model.glyphs);
    else placeGrid(f);
  }
  scene.bounds = boundsOf(scene);
  if (lanes) addLanes(scene, model, options, band);
  return scene;
}
