// One eventpoll as the page knows it. A model never changes: a frame makes the
// next one, sharing every row that stayed, so that history can keep old ones.
import {
  decodeEpoll,
  NodeFlag,
  type EpollFrame,
  type FileRow,
  type GlyphRow,
  type Instance,
  type ListRow,
  type NodeRow,
  type TransitionRow,
  type Truth,
  type WaiterRow,
} from "../wire/epoll";
import { Flag } from "../wire/header";
import { diffModels, SAME, type ModelDiff } from "./diff";

/** Why the page cannot go on with deltas and asks for a key frame. */
export interface Problem {
  code: "gap" | "generation" | "no-base" | "links" | "count";
  message: string;
}

/**
 * The tree by in-order rank: entry i of each array belongs to the i-th node.
 * Links are ranks; -1 is none.
 */
export interface Shape {
  readonly root: number;
  readonly ids: readonly number[];
  readonly rankOf: ReadonlyMap<number, number>;
  readonly parent: Int32Array;
  readonly left: Int32Array;
  readonly right: Int32Array;
  readonly depth: Int32Array;
  /** Of the subtree: nodes, red nodes, ready nodes, levels. */
  readonly size: Int32Array;
  readonly red: Int32Array;
  readonly ready: Int32Array;
  readonly height: Int32Array;
  /** Levels of the whole tree. */
  readonly levels: number;
  /** Per level, the smallest distance between two of its nodes, in ranks. */
  readonly gap: Int32Array;
}

/** What is known of an item whether it came as a node or as a glyph. */
export interface Brief {
  id: number;
  fd: number;
  events: number;
  flags: number;
  file: number;
  nested: number;
  /** Above 1: a subtree with that many items; the rest is of its root. */
  count: number;
}

export interface Parts {
  generation: number;
  sequence: number;
  time: number;
  flags: number;
  truth: Truth | null;
  instance: Instance | null;
  nodes: ReadonlyMap<number, NodeRow>;
  files: ReadonlyMap<number, FileRow>;
  ready: readonly ListRow[];
  overflow: readonly ListRow[];
  waiters: readonly WaiterRow[];
  transitions: readonly TransitionRow[];
  glyphs: readonly GlyphRow[] | null;
  overview: readonly GlyphRow[] | null;
  shape: Shape | null;
  pictureTime: number;
}

/** One picture of an eventpoll. Never changes; rows are shared between models. */
export class EpollModel {
  readonly generation: number;
  readonly sequence: number;
  /** CLOCK_MONOTONIC of the newest kernel read, ns. */
  readonly time: number;
  /** Bits of Flag of the newest frame. */
  readonly flags: number;
  /** Of the newest frame, even where the picture is older. */
  readonly truth: Truth | null;
  readonly instance: Instance | null;
  /** Empty while a large tree is shown by glyphs. */
  readonly nodes: ReadonlyMap<number, NodeRow>;
  readonly files: ReadonlyMap<number, FileRow>;
  readonly ready: readonly ListRow[];
  readonly overflow: readonly ListRow[];
  readonly waiters: readonly WaiterRow[];
  /** Of the newest frame only. */
  readonly transitions: readonly TransitionRow[];
  /** Server-culled picture of a large tree; null up to 4,096 items. */
  readonly glyphs: readonly GlyphRow[] | null;
  /** The last glyphs that covered the whole tree: the minimap's. */
  readonly overview: readonly GlyphRow[] | null;
  /** Null where the shape is unknown: no frame yet, glyphs, or membership only. */
  readonly shape: Shape | null;
  /** Kernel time of the picture, ns; before `time` while frames are torn and bring none. */
  readonly pictureTime: number;

  private glyphIndex: Map<number, GlyphRow> | null = null;
  private order: readonly number[] | null = null;

  constructor(p: Parts) {
    this.generation = p.generation;
    this.sequence = p.sequence;
    this.time = p.time;
    this.flags = p.flags;
    this.truth = p.truth;
    this.instance = p.instance;
    this.nodes = p.nodes;
    this.files = p.files;
    this.ready = p.ready;
    this.overflow = p.overflow;
    this.waiters = p.waiters;
    this.transitions = p.transitions;
    this.glyphs = p.glyphs;
    this.overview = p.overview;
    this.shape = p.shape;
    this.pictureTime = p.pictureTime;
  }

  static readonly empty = new EpollModel({
    generation: 0,
    sequence: 0,
    time: 0,
    flags: 0,
    truth: null,
    instance: null,
    nodes: new Map(),
    files: new Map(),
    ready: [],
    overflow: [],
    waiters: [],
    transitions: [],
    glyphs: null,
    overview: null,
    shape: null,
    pictureTime: 0,
  });

  /**
   * The newest frame is torn: the picture is the last whole one, or marked as
   * never whole. ns; age counts to the time the frame was made.
   */
  get stale(): { since: number; age: number } | null {
    if ((this.flags & Flag.torn) === 0) return null;
    const behind = this.time - this.pictureTime;
    return { since: this.pictureTime, age: behind + (this.truth?.age ?? 0) };
  }

  /** Items of the instance, not only those held here. */
  get items(): number {
    return this.instance?.items ?? 0;
  }

  /** The items are known but not how they hang together (fdinfo tier). */
  get membership(): boolean {
    return this.instance?.membership ?? false;
  }

  node(id: number): NodeRow | undefined {
    return this.nodes.get(id);
  }

  /** The glyph of that node, or of the subtree with that root. */
  glyph(id: number): GlyphRow | undefined {
    if (!this.glyphs) return undefined;
    this.glyphIndex ??= new Map(this.glyphs.map((g) => [g.id, g]));
    return this.glyphIndex.get(id);
  }

  brief(id: number): Brief | undefined {
    const n = this.nodes.get(id);
    if (n) {
      return { id, fd: n.fd, events: n.events, flags: n.flags, file: n.file, nested: n.nested, count: 1 };
    }
    const g = this.glyph(id);
    if (!g) return undefined;
    return { id, fd: g.fd, events: g.events, flags: g.flags, file: g.file, nested: g.nested, count: g.count };
  }

  file(id: number): FileRow | undefined {
    return this.files.get(id);
  }

  /** In-order rank; -1 if it is not held here. */
  rank(id: number): number {
    return this.shape?.rankOf.get(id) ?? this.glyph(id)?.rootRank ?? -1;
  }

  /** 0 at the root; -1 if it is not held here. */
  depth(id: number): number {
    const r = this.shape?.rankOf.get(id);
    if (r !== undefined) return this.shape!.depth[r]!;
    return this.glyph(id)?.depth ?? -1;
  }

  /** Ids of what is held, in order of the key (file, fd); by fd where only membership is known. */
  inOrder(): readonly number[] {
    if (this.shape) return this.shape.ids;
    if (this.order) return this.order;
    this.order = this.glyphs
      ? [...this.glyphs].sort((a, b) => a.rootRank - b.rootRank).map((g) => g.id)
      : [...this.nodes.values()].sort((a, b) => a.fd - b.fd || a.id - b.id).map((n) => n.id);
    return this.order;
  }
}

/**
 * Walks the tree in order and checks that parents and children agree. Returns
 * the shape, or what is wrong.
 */
export function shapeOf(nodes: ReadonlyMap<number, NodeRow>, rootId: number): Shape | string {
  const n = nodes.size;
  const ids: number[] = new Array<number>(n);
  const rankOf = new Map<number, number>();
  const depth = new Int32Array(n);
  let levels = 0;
  let count = 0;
  const stack: NodeRow[] = [];
  const root = nodes.get(rootId);
  if (n > 0 && !root) return `the root, node ${rootId}, is missing`;
  if (root && root.parent !== 0) return `the root, node ${rootId}, has parent ${root.parent}`;
  let at: NodeRow | undefined = root;
  while (at || stack.length > 0) {
    while (at) {
      // A tree of n nodes is never deeper than n: a deeper walk is a ring.
      if (stack.length >= n) return `the links of node ${at.id} lead round in a ring`;
      stack.push(at);
      if (at.left === 0) break;
      const l = nodes.get(at.left);
      if (!l) return `node ${at.id} has left child ${at.left}, which is missing`;
      if (l.parent !== at.id) return `node ${at.left} is left child of ${at.id} but has parent ${l.parent}`;
      at = l;
    }
    const here = stack.pop()!;
    if (count >= n || rankOf.has(here.id)) return `node ${here.id} hangs in two places`;
    ids[count] = here.id;
    rankOf.set(here.id, count);
    count++;
    at = undefined;
    if (here.right !== 0) {
      const r = nodes.get(here.right);
      if (!r) return `node ${here.id} has right child ${here.right}, which is missing`;
      if (r.parent !== here.id) {
        return `node ${here.right} is right child of ${here.id} but has parent ${r.parent}`;
      }
      at = r;
    }
  }
  if (count !== n) return `${n} nodes, but ${count} of them hang in the tree`;

  const parent = new Int32Array(n).fill(-1);
  const left = new Int32Array(n).fill(-1);
  const right = new Int32Array(n).fill(-1);
  const size = new Int32Array(n);
  const red = new Int32Array(n);
  const ready = new Int32Array(n);
  const height = new Int32Array(n);
  const order: number[] = []; // parents before children
  if (root) order.push(rankOf.get(rootId)!);
  for (let i = 0; i < order.length; i++) {
    const r = order[i]!;
    const node = nodes.get(ids[r]!)!;
    const d = depth[r]!;
    if (d + 1 > levels) levels = d + 1;
    if (node.left !== 0) {
      const c = rankOf.get(node.left)!;
      left[r] = c;
      parent[c] = r;
      depth[c] = d + 1;
      order.push(c);
    }
    if (node.right !== 0) {
      const c = rankOf.get(node.right)!;
      right[r] = c;
      parent[c] = r;
      depth[c] = d + 1;
      order.push(c);
    }
  }
  for (let i = order.length - 1; i >= 0; i--) {
    const r = order[i]!;
    const flags = nodes.get(ids[r]!)!.flags;
    const l = left[r]!;
    const g = right[r]!;
    size[r] = 1 + (l < 0 ? 0 : size[l]!) + (g < 0 ? 0 : size[g]!);
    red[r] = (flags & NodeFlag.black ? 0 : 1) + (l < 0 ? 0 : red[l]!) + (g < 0 ? 0 : red[g]!);
    ready[r] = (flags & NodeFlag.ready ? 1 : 0) + (l < 0 ? 0 : ready[l]!) + (g < 0 ? 0 : ready[g]!);
    height[r] = 1 + Math.max(l < 0 ? 0 : height[l]!, g < 0 ? 0 : height[g]!);
  }
  const gap = new Int32Array(levels).fill(n > 1 ? n : 2);
  const last = new Int32Array(levels).fill(-1);
  for (let r = 0; r < n; r++) {
    const d = depth[r]!;
    if (last[d]! >= 0) gap[d] = Math.min(gap[d]!, r - last[d]!);
    last[d] = r;
  }
  const rootRank = root ? rankOf.get(rootId)! : -1;
  return { root: rootRank, ids, rankOf, parent, left, right, depth, size, red, ready, height, levels, gap };
}

function prunedFiles(
  nodes: ReadonlyMap<number, NodeRow>,
  files: Map<number, FileRow>,
): ReadonlyMap<number, FileRow> {
  // Frames say when a node goes, not when a file does.
  if (files.size <= 2 * nodes.size + 64) return files;
  const used = new Map<number, FileRow>();
  for (const n of nodes.values()) {
    const f = files.get(n.file);
    if (f) used.set(n.file, f);
  }
  return used;
}

// An absent list of a delta is unchanged, except where the instance says that
// it is empty now.
function list<T>(next: readonly T[] | null, now: readonly T[], length: number, key: boolean): readonly T[] {
  if (next) return next;
  return key || length === 0 ? [] : now;
}

/** Glyphs that together hold every item of the tree. */
function coversAll(glyphs: readonly GlyphRow[], items: number): boolean {
  let sum = 0;
  for (const g of glyphs) sum += g.count;
  return sum >= items;
}

/**
 * The model after one frame. With a problem the model is the old one: the page
 * keeps its picture and asks for a key frame. With `shaped` false the links are
 * not walked and the model has no shape: a step on the way to another one, of
 * frames that were applied before.
 */
export function applyFrame(
  model: EpollModel,
  frame: EpollFrame,
  shaped = true,
): { model: EpollModel; problem: Problem | null } {
  const h = frame.header;
  const key = (h.flags & Flag.key) !== 0;
  const torn = (h.flags & Flag.torn) !== 0;
  if (!key && model.instance === null && frame.instance === null) {
    return { model, problem: { code: "no-base", message: "a change came before the first whole picture" } };
  }
  if (!key && model.instance !== null && h.generation !== model.generation) {
    const message = `generation ${h.generation} after ${model.generation} without a key frame`;
    return { model, problem: { code: "generation", message } };
  }
  const instance = frame.instance ?? model.instance;
  const common = {
    generation: h.generation,
    sequence: h.sequence,
    time: h.time,
    flags: h.flags,
    truth: frame.truth ?? model.truth,
  };
  const hasRows = frame.nodes !== null || frame.gone !== null || frame.glyphs !== null;
  if (torn && !hasRows && instance !== null && instance.items > 0) {
    // Keep the last whole picture, and everything that belongs to it.
    return {
      model: new EpollModel({ ...partsOf(model), ...common, transitions: frame.transitions ?? [] }),
      problem: null,
    };
  }
  const lists = {
    instance,
    ready: list(frame.ready, model.ready, instance?.ready ?? 0, key),
    overflow: list(frame.overflow, model.overflow, instance?.overflow ?? 0, key),
    waiters: list(frame.waiters, model.waiters, instance?.waiters ?? 0, key),
    transitions: frame.transitions ?? [],
    pictureTime: h.time,
  };
  if (h.flags & Flag.glyphs) {
    const glyphs = frame.glyphs ?? [];
    const files = new Map(frame.files?.map((f) => [f.id, f]) ?? []);
    const overview = coversAll(glyphs, instance?.items ?? 0) ? glyphs : model.overview;
    return {
      model: new EpollModel({ ...common, ...lists, nodes: new Map(), files, glyphs, overview, shape: null }),
      problem: null,
    };
  }

  let nodes = model.nodes;
  if (key) {
    nodes = new Map(frame.nodes?.map((n) => [n.id, n]) ?? []);
  } else if (frame.nodes || frame.gone) {
    const next = new Map(model.nodes);
    for (const id of frame.gone ?? []) next.delete(id);
    for (const n of frame.nodes ?? []) next.set(n.id, n);
    nodes = next;
  }
  let files = model.files;
  if (key || frame.files) {
    const next = new Map(key ? [] : model.files);
    for (const f of frame.files ?? []) next.set(f.id, f);
    files = prunedFiles(nodes, next);
  }
  if (instance !== null && instance.items !== nodes.size && !torn) {
    const message = `the instance has ${instance.items} items, the picture ${nodes.size}`;
    return { model, problem: { code: "count", message } };
  }
  let shape: Shape | null = null;
  if (shaped && instance !== null && !instance.membership) {
    if (nodes === model.nodes && model.shape && model.instance?.root === instance.root) {
      shape = model.shape;
    } else {
      const made = shapeOf(nodes, instance.root);
      if (typeof made === "string") {
        // The truth is told even where there is nothing to draw.
        const told = torn ? new EpollModel({ ...partsOf(model), ...common }) : model;
        return { model: told, problem: { code: "links", message: made } };
      }
      shape = made;
    }
  }
  return {
    model: new EpollModel({ ...common, ...lists, nodes, files, glyphs: null, overview: null, shape }),
    problem: null,
  };
}

/** What a model is made of, to make the next one. */
export function partsOf(m: EpollModel): Parts {
  return {
    generation: m.generation,
    sequence: m.sequence,
    time: m.time,
    flags: m.flags,
    truth: m.truth,
    instance: m.instance,
    nodes: m.nodes,
    files: m.files,
    ready: m.ready,
    overflow: m.overflow,
    waiters: m.waiters,
    transitions: m.transitions,
    glyphs: m.glyphs,
    overview: m.overview,
    shape: m.shape,
    pictureTime: m.pictureTime,
  };
}

export interface Applied {
  frame: EpollFrame;
  model: EpollModel;
  diff: ModelDiff;
  /** Ask the server for a key frame. */
  needKey: boolean;
  problem: Problem | null;
  /** Frames missed just before this one. */
  skipped: number;
}

/** Applies frames of one topic, in the order they come. */
export class EpollStream {
  private current = EpollModel.empty;
  private lastSequence = -1;
  private lastGeneration = -1;
  private jumpExpected = false;
  private skippedTotal = 0;
  private refusedTotal = 0;

  get model(): EpollModel {
    return this.current;
  }

  /** Frames missed since the beginning, by gaps in the sequence. */
  get skipped(): number {
    return this.skippedTotal;
  }

  /** Frames that were refused (see Applied.problem). */
  get refused(): number {
    return this.refusedTotal;
  }

  /**
   * A watch message with another view was sent. Each view has its own sequence,
   * so the next jump is no loss.
   */
  rewatch(): void {
    this.jumpExpected = true;
  }

  /** Throws FrameError; the model is then as before. */
  push(buffer: ArrayBuffer): Applied {
    const frame = decodeEpoll(buffer);
    const h = frame.header;
    const key = (h.flags & Flag.key) !== 0;
    let skipped = 0;
    let jumped = false;
    if (this.lastSequence >= 0 && h.generation === this.lastGeneration) {
      const step = (h.sequence - this.lastSequence) | 0; // the sequence wraps at 2^32
      jumped = step !== 1;
      if (jumped && this.jumpExpected) this.jumpExpected = false;
      else if (step > 1) skipped = step - 1;
    }
    this.lastSequence = h.sequence;
    this.lastGeneration = h.generation;
    this.skippedTotal += skipped;

    const before = this.current;
    if (jumped && !key) {
      this.refusedTotal++;
      const problem: Problem = { code: "gap", message: `${skipped} frames are missing before this change` };
      return { frame, model: before, diff: SAME, needKey: true, problem, skipped };
    }
    const { model, problem } = applyFrame(before, frame);
    if (problem) this.refusedTotal++;
    this.current = model;
    // A torn picture that cannot be drawn will not be better when asked for again.
    const needKey = problem !== null && (h.flags & Flag.torn) === 0;
    return { frame, model, diff: diffModels(before, model), needKey, problem, skipped };
  }
}
