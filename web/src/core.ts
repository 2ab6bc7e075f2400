/**
 * The picture, without a framework: bytes → model → scene → canvas, SVG, table.
 *
 *   const stream = new EpollStream();
 *   const applied = stream.push(buffer);            // may throw FrameError
 *   if (applied.needKey) send({ type: "key", topic });
 *   history.push(buffer, applied, performance.now());
 *   const scene = buildEpollScene(applied.model, options);
 *   motion.to(scene, applied.diff, now);            // object constancy
 *   drawScene(ctx, motion.at(now), palette, dpr);   // each animation frame while motion.moving(now)
 */
export * from "./wire/header";
export * from "./wire/epoll";
export * from "./scene/types";
import type {
  EpollFrame,
  FileRow,
  GlyphRow,
  Instance,
  ListRow,
  NodeRow,
  TransitionRow,
  Truth,
  WaiterRow,
} from "./wire/epoll";
import type { Hit, Point, Rect, Scene, Viewport } from "./scene/types";

// ---- model ----------------------------------------------------------------

/** Why the page cannot go on with deltas and asks for a key frame. */
export interface Problem {
  code: "gap" | "generation" | "no-base" | "links" | "order" | "count";
  message: string;
}

/** One picture of an eventpoll. Never changes; rows are shared between models. */
export declare class EpollModel {
  static readonly empty: EpollModel;
  readonly generation: number;
  readonly sequence: number;
  /** CLOCK_MONOTONIC of the kernel read, ns. */
  readonly time: number;
  /** Bits of Flag of the newest frame. */
  readonly flags: number;
  /** Of the newest frame, even where the picture is older. */
  readonly truth: Truth | null;
  readonly instance: Instance | null;
  readonly nodes: ReadonlyMap<number, NodeRow>;
  readonly files: ReadonlyMap<number, FileRow>;
  readonly ready: readonly ListRow[];
  readonly overflow: readonly ListRow[];
  readonly waiters: readonly WaiterRow[];
  readonly transitions: readonly TransitionRow[];
  /** Server-culled picture of a large tree; null up to 4,096 items. */
  readonly glyphs: readonly GlyphRow[] | null;
  /** The last glyphs that covered the whole tree: the minimap's. */
  readonly overview: readonly GlyphRow[] | null;
  /** The picture is older than the newest frame: a torn frame brought none. */
  readonly stale: { since: number; age: number } | null;
  /** Items of the instance (not only those held here). */
  readonly items: number;
  node(id: number): NodeRow | undefined;
  file(id: number): FileRow | undefined;
  /** In-order rank; -1 if it is not held here. */
  rank(id: number): number;
  /** 0 at the root; -1 if not held here. */
  depth(id: number): number;
  /** Node ids in order (order of the key (file, fd)). */
  inOrder(): readonly number[];
}

/** One rotation, as lib/rbtree.c does it: `pivot` rises over `at`, its former parent. */
export interface Rotation {
  direction: "left" | "right";
  at: number;
  pivot: number;
}

/** One step of the kernel's algorithm, worked out from two pictures and proved to lead from one to the other. */
export type RbStep =
  | { op: "link"; node: number; parent: number; side: "left" | "right" | "root" }
  | { op: "unlink"; node: number; successor: number }
  | { op: "recolour"; node: number; to: "red" | "black" }
  | ({ op: "rotate" } & Rotation);

export interface ModelDiff {
  inserted: readonly number[];
  erased: readonly number[];
  recoloured: readonly number[];
  /** Got another parent. */
  moved: readonly { id: number; from: number; to: number }[];
  rotations: readonly Rotation[];
  /** The kernel's steps; null where many operations lie between and their order is not known. */
  steps: readonly RbStep[] | null;
  /** Joined or left rdllist. */
  readied: readonly number[];
  unreadied: readonly number[];
  /** Events, data or owner changed. */
  modified: readonly number[];
  /** tids that went to sleep in wq, or left it. */
  slept: readonly number[];
  woke: readonly number[];
  /** Operations on the tree (insertions, erasures). */
  ops: number;
  /** Nothing above changed. */
  same: boolean;
}
export declare function diffModels(before: EpollModel, after: EpollModel): ModelDiff;

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
export declare class EpollStream {
  get model(): EpollModel;
  /** Frames missed since the beginning, by gaps in the sequence. */
  get skipped(): number;
  /** Frames that were refused (see Applied.problem). */
  get refused(): number;
  /** Throws FrameError; the model is then as before. */
  push(frame: ArrayBuffer): Applied;
  /** A watch message with another view was sent: the next jump of the sequence is no loss. */
  rewatch(): void;
}

export interface HistoryEntry {
  index: number;
  /** The page's clock when it came, ms. */
  at: number;
  /** Kernel time, ns. */
  time: number;
  sequence: number;
  key: boolean;
  /** It carries more than truth: something happened. */
  changed: boolean;
}

/** The last 60 s of frames, at most 64 MB; any moment can be shown again. */
export declare class History {
  constructor(opts?: { seconds?: number; bytes?: number });
  push(frame: ArrayBuffer, applied: Applied, at: number): void;
  readonly length: number;
  readonly bytes: number;
  /** Clock of the oldest and newest entry, ms; null if there is none. */
  span(): { from: number; to: number } | null;
  /** Where the picture shown stands; null while live. */
  readonly cursor: HistoryEntry | null;
  readonly isLive: boolean;
  /** Stop at the newest entry. */
  pause(): EpollModel | null;
  /** The picture at that clock time (the last entry not after it). */
  seek(at: number): EpollModel | null;
  /** n entries on or back from the cursor; with `changes`, entries that only carry truth are passed over. */
  step(n: number, opts?: { changes?: boolean }): EpollModel | null;
  /** Back to what comes in. */
  live(): void;
  entries(): readonly HistoryEntry[];
  clear(): void;
}

/** ["EPOLLIN", "EPOLLET"]; unknown bits last, as "0x…". */
export declare function eventNames(mask: number): string[];
/** "EPOLLIN|EPOLLET"; "0" for none. */
export declare function eventText(mask: number): string;
/** "IN ET": for labels beside nodes. */
export declare function eventShort(mask: number): string;
/** "IN | ET" -> mask; null if a name is unknown. */
export declare function parseEvents(names: readonly string[]): number | null;

/** A watched file in words that need no translation; addresses as `ss` prints them. */
export interface FileWords {
  /** "tcp", "udp", "unix", "netlink", "raw", "socket", "pipe", "eventfd", "epoll", … */
  kind: string;
  /** "127.0.0.1:80", "[::1]:80", "*:80", a path, or "". */
  local: string;
  remote: string;
  /** "ESTAB", "LISTEN", … as `ss`; "" where there is none. */
  state: string;
  /** Dentry name where it says more than the kind. */
  name: string;
  inode: string;
  /** All of it on one line: "tcp ESTAB 127.0.0.1:80 127.0.0.1:41022". */
  line: string;
}
export declare function fileWords(file: FileRow | undefined): FileWords;

// ---- viewport -------------------------------------------------------------

/** The whole tree. */
export declare function fit(items: number): Viewport;
/** Keep within the tree and no narrower than 4 ranks. */
export declare function clamp(v: Viewport, items: number): Viewport;
/** factor > 1 zooms in; the rank under px stays under px. width = scene.tree.w, px from scene.tree.x. */
export declare function zoomAt(
  v: Viewport,
  items: number,
  factor: number,
  px: number,
  width: number,
): Viewport;
/** Moves the picture by px to the right (a drag). */
export declare function panBy(v: Viewport, items: number, px: number, width: number): Viewport;
/** The rank in the middle, as wide as asked (default: as wide as now). */
export declare function centreOn(v: Viewport, items: number, rank: number, ranks?: number): Viewport;
/** The ranks [lo, hi) with some air. */
export declare function zoomTo(lo: number, hi: number, items: number): Viewport;
export declare function isWhole(v: Viewport, items: number): boolean;
/** Between two, in logarithmic zoom; t 0..1. */
export declare function betweenViews(a: Viewport, b: Viewport, t: number): Viewport;
/** `view` of the watch message: one screen more on each side, so that panning shows no gap; hi 0 when whole. */
export declare function toView(
  v: Viewport,
  items: number,
  width: number,
): { lo: number; hi: number; px: number };

// ---- scene ----------------------------------------------------------------

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
  /** The keyboard's node; its path from the root is marked. */
  focused?: number;
  /** Found by search, asked for in a lesson. */
  marked?: ReadonlySet<number>;
  /** Keep clear at the top, px. */
  top?: number;
}

/** Height of the lanes band for a picture that wide, px. */
export declare function laneHeight(width: number): number;
export declare function buildEpollScene(model: EpollModel, options: SceneOptions): Scene;
export declare function hitTest(scene: Scene, x: number, y: number): Hit | null;
/** Where a node, or the subtree glyph that holds it, stands in the scene. */
export declare function locate(scene: Scene, model: EpollModel, id: number): (Point & { r: number }) | null;

/** The same items as rows of a table, in order. */
export interface TableRow {
  id: number;
  rank: number;
  fd: number;
  colour: "red" | "black" | "unknown";
  depth: number;
  /** -1 at the root, or where the shape is unknown. */
  parentFd: number;
  leftFd: number;
  rightFd: number;
  events: string;
  file: FileWords;
  fileId: number;
  ready: boolean;
  overflow: boolean;
  delivering: boolean;
  orphan: boolean;
  data: bigint;
  owner: number;
  nested: number;
  /** Nodes the row stands for; above 1 it is a subtree. */
  count: number;
}
export declare function tableRows(model: EpollModel): TableRow[];

/** A small picture of the whole tree with the viewport as a frame in it. */
export interface Minimap {
  width: number;
  height: number;
  /** Outline of the tree: depth reached at each px, 0..1, and the red share there, 0..1. */
  columns: { depth: number; share: number; ready: boolean }[];
  frame: Rect;
  /** False: the whole tree was not seen yet, only the frame is true. */
  known: boolean;
}
export declare function buildMinimap(
  model: EpollModel,
  viewport: Viewport,
  width: number,
  height: number,
): Minimap;
/** The viewport centred where the minimap was pressed. */
export declare function minimapView(v: Viewport, items: number, px: number, width: number): Viewport;

export type Walk = "parent" | "left" | "right" | "sibling" | "previous" | "next" | "first" | "last" | "root";
/** The node in that direction; 0 if there is none. From 0 it goes to the root. */
export declare function walk(model: EpollModel, from: number, to: Walk): number;
/** Node ids with that fd (a shared instance can hold several). */
export declare function findFd(model: EpollModel, fd: number): number[];
/** Ids from the root to the node, both included; [] if not held here. */
export declare function pathTo(model: EpollModel, id: number): number[];

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
  expanded: boolean;
}
/** At most `limit` (200) of what the scene shows, the focused node's surroundings first. */
export declare function ariaRows(model: EpollModel, scene: Scene, focused: number, limit?: number): AriaRow[];

/** A place for the struct card: beside the node, within the picture, over as few nodes as possible. */
export declare function placeCard(
  scene: Scene,
  anchor: Point & { r: number },
  card: { w: number; h: number },
  within?: Rect,
): Point & { side: "right" | "left" | "above" | "below" | "corner"; covers: number };

// ---- motion ---------------------------------------------------------------

/** Stages in ms: highlight the pivot, move, recolour. */
export declare const STAGES: { highlight: number; move: number; recolour: number };

/** Object constancy between scenes. Holds no clock: `now` is the caller's, ms. */
export declare class Motion {
  constructor(opts?: { reduced?: boolean });
  reduced: boolean;
  /** The next picture. Staged motion, or a flash above 4,096 items or 20 operations/s, or with `reduced`. */
  to(scene: Scene, diff: ModelDiff | null, now: number): void;
  /** The same model seen otherwise (pan, zoom, resize, hover): no motion. */
  replace(scene: Scene): void;
  /** The picture to draw now. Valid until the next call. */
  at(now: number): Scene;
  moving(now: number): boolean;
  /** "staged" | "flash" | "still": how the last change is told. */
  readonly manner: "staged" | "flash" | "still";
}

// ---- draw -----------------------------------------------------------------

/** Colours and faces; tokens of styles/tokens.css. */
export interface Palette {
  paper: string;
  panel: string;
  ink: string;
  soft: string;
  line: string;
  accent: string;
  red: string;
  redfill: string;
  /** Disc of a black node, its outline and the label on it. */
  blackfill: string;
  blackline: string;
  blacktext: string;
  ready: string;
  wait: string;
  warn: string;
  edge: string;
  sans: string;
  mono: string;
}
export declare const LIGHT: Palette;
export declare const DARK: Palette;
/** From custom properties --paper, --panel, --ink, … of an element; what is missing comes from `base`. */
export declare function paletteFrom(style: CSSStyleDeclaration, base: Palette): Palette;
/** Draws the whole picture. The canvas is width*dpr by height*dpr pixels. */
export declare function drawScene(
  ctx: CanvasRenderingContext2D,
  scene: Scene,
  palette: Palette,
  dpr: number,
): void;
/** Sets the canvas's pixel size for the scene; true if it changed. */
export declare function fitCanvas(
  canvas: HTMLCanvasElement,
  scene: { width: number; height: number },
  dpr: number,
): boolean;
export declare function drawMinimap(
  ctx: CanvasRenderingContext2D,
  map: Minimap,
  palette: Palette,
  dpr: number,
): void;
/** A file of its own: colours embedded, <title> and <desc> from the caller. */
export declare function toSVG(
  scene: Scene,
  palette: Palette,
  about: { title: string; desc: string; lang: string },
): string;
/** The picture as a PNG of `scale` times its size. */
export declare function toPNG(scene: Scene, palette: Palette, scale: number): Promise<Blob>;
