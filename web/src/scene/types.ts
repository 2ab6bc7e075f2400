// A scene is data: what to draw, in CSS pixels, without colours, fonts'
// faces, language or a document. The canvas, the SVG, the hit test, the hidden
// tree and the tests all read the same lists.

/** A part of the in-order ranks, [lo, hi); fractions while panning and zooming. */
export interface Viewport {
  readonly lo: number;
  readonly hi: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

/** What a stroke or fill means; the palette says how it looks. */
export type Tone =
  | "ink"
  | "soft"
  | "edge"
  | "line"
  | "accent"
  | "red"
  | "black"
  | "ready"
  | "overflow"
  | "delivering"
  | "wait"
  | "warn";

/** From a parent to a child, a cubic that leaves and arrives vertically. */
export interface EdgeShape {
  /** Node ids of the child and of its parent. */
  id: number;
  parent: number;
  x1: number;
  y1: number;
  x2: number;
  y2: number;
  tone: "edge" | "accent";
  width: number;
  alpha: number;
}

/** The colour of a node; unknown where only membership is known. */
export type NodeTone = "black" | "red" | "unknown";

export interface NodeShape {
  id: number;
  x: number;
  y: number;
  r: number;
  tone: NodeTone;
  /** While a recolouring runs: the old tone, and how far the new one covers it (0..1). */
  was: NodeTone;
  mix: number;
  /** The fd inside the disc; "" where it would not be legible. */
  label: string;
  /** Size of the label, px. */
  size: number;
  /** Show the letter R of a red node beside it. */
  mark: boolean;
  alpha: number;
}

/** A subtree drawn as one shape: apex at its root, base as wide as its ranks, height its levels. */
export interface GlyphShape {
  /** Node id of the subtree's root. */
  id: number;
  x: number;
  y: number;
  /** Base, from x1 to x2 at y2. */
  x1: number;
  x2: number;
  y2: number;
  /** Red nodes among its nodes, 0..1. */
  share: number;
  /** Exact number of nodes: the ranks [lo, lo + count). */
  count: number;
  lo: number;
  /** Ready nodes among them, exact. */
  ready: number;
  /** The count for people; "" where there is no room. */
  label: string;
  alpha: number;
}

export interface RingShape {
  id: number;
  x: number;
  y: number;
  r: number;
  tone: Tone;
  width: number;
  dash: boolean;
  alpha: number;
}

export interface TextShape {
  /** Node id it belongs to and moves with; 0 if none. */
  id: number;
  x: number;
  y: number;
  text: string;
  size: number;
  font: "mono" | "sans";
  weight: 400 | 500 | 600 | 700;
  tone: Tone;
  align: "start" | "middle" | "end";
  /** Draw the paper around the letters, so that lines behind do not cut them. */
  clear: boolean;
  alpha: number;
}

/** A place in rdllist or ovflist. */
export interface PillShape {
  /** Node id. */
  id: number;
  list: "ready" | "overflow";
  /** Middle of the pill. */
  x: number;
  y: number;
  w: number;
  h: number;
  label: string;
  alpha: number;
}

/** From one pill to the next, pointing right; x, y is its middle. */
export interface ArrowShape {
  x: number;
  y: number;
  alpha: number;
}

/** A thread asleep in wq. x, y is the left upper corner. */
export interface ThreadShape {
  tid: number;
  x: number;
  y: number;
  w: number;
  h: number;
  label: string;
  exclusive: boolean;
}

/** A nested epoll: a short edge from the item to the other instance. */
export interface StubShape {
  /** Node id of the item. */
  id: number;
  /** Instance it leads to. */
  instance: number;
  x1: number;
  y1: number;
  x2: number;
  y2: number;
  /** "ep#4"; "" where there is no room. */
  label: string;
  alpha: number;
}

/** A small sign at a node: its fd is closed but the item stays. */
export interface MarkShape {
  id: number;
  x: number;
  y: number;
  r: number;
  sign: "orphan";
  alpha: number;
}

/** A straight hairline between parts of the picture. */
export interface RuleShape {
  x1: number;
  y1: number;
  x2: number;
  y2: number;
}

/** One of the lists under the tree. */
export interface LaneShape extends Rect {
  name: "rdllist" | "ovflist" | "wq";
  /** Its true length. */
  length: number;
  /** How many of them are drawn. */
  shown: number;
}

export interface SceneCounts {
  /** Items of the instance. */
  items: number;
  /** Drawn singly. */
  nodes: number;
  /** Drawn as subtrees. */
  glyphs: number;
  /** Items within what is drawn, subtrees counted in full. */
  covered: number;
}

export interface Scene {
  width: number;
  height: number;
  /** What the tree fills; lanes lie under it. */
  tree: Rect;
  /** The box around everything drawn of the tree. */
  bounds: Rect;
  viewport: Viewport;
  /** px per rank and px per level. */
  dx: number;
  dy: number;
  /** No items: there is nothing to draw but the lanes. */
  empty: boolean;
  /** The picture is older than the newest frame (torn), or is a lost connection's last one. */
  stale: boolean;
  counts: SceneCounts;
  // In drawing order.
  rules: RuleShape[];
  edges: EdgeShape[];
  glyphs: GlyphShape[];
  stubs: StubShape[];
  rings: RingShape[];
  nodes: NodeShape[];
  marks: MarkShape[];
  lanes: LaneShape[];
  arrows: ArrowShape[];
  threads: ThreadShape[];
  texts: TextShape[];
  pills: PillShape[];
}

/** What lies under a point. */
export type Hit =
  | { kind: "node"; id: number; x: number; y: number; r: number }
  | { kind: "glyph"; id: number; count: number; ready: number; share: number; lo: number; hi: number }
  | { kind: "pill"; id: number; list: "ready" | "overflow"; x: number; y: number }
  | { kind: "thread"; tid: number; x: number; y: number }
  | { kind: "stub"; id: number; instance: number; x: number; y: number }
  | { kind: "lane"; name: LaneShape["name"] };

/** The words in the picture; everything else in it is kernel names and numbers. */
export interface SceneWords {
  /** Beside "rdllist", "ovflist", "wq". */
  rdllist: string;
  ovflist: string;
  wq: string;
  /** In an empty lane. */
  none: string;
  /** In the ovflist lane while no scan runs. */
  inactive: string;
  /** "+ {n} more". */
  more: string;
  /** On the chip of a thread that waits exclusively. */
  exclusive: string;
}

export interface SceneOptions {
  width: number;
  height: number;
  viewport: Viewport;
  words: SceneWords;
  /** Show the lists under the tree. Default true. */
  lanes?: boolean;
  hovered?: number;
  /** The keyboard's node; the way to it from the root is marked. */
  focused?: number;
  /** Found by search, or asked for in a lesson. */
  marked?: ReadonlySet<number>;
  /** Keep clear at the top, px. */
  top?: number;
}
