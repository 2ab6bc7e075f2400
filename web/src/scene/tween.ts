// Object constancy: a node is the same thing from picture to picture. It
// enters at its parent, slides when it moves, shrinks when it goes; a rotation
// is told in stages. Positions only: nothing here knows a clock or a canvas.
import type { ModelDiff, Rotation } from "../model/diff";
import type {
  EdgeShape,
  GlyphShape,
  NodeShape,
  NodeTone,
  PillShape,
  RingShape,
  Scene,
  StubShape,
  MarkShape,
  TextShape,
} from "./types";

/** Stages in ms: hang a new node in its place, highlight what will rise, move, recolour. */
export const STAGES = { link: 250, highlight: 120, move: 350, recolour: 150 } as const;

/** How long a flash fades, ms; flashes start at most three times a second. */
const FLASH = 400;
const FLASH_EVERY = 334;

/** Above this many items, or changes a second, things flash instead of moving. */
export const MOTION_MAX_ITEMS = 4096;
export const MOTION_MAX_RATE = 20;

type Manner = "staged" | "flash" | "still";

interface From {
  x: number;
  y: number;
  r: number;
  alpha: number;
}

interface NodeTrack {
  shape: NodeShape;
  from: From;
  to: From;
  recoloured: boolean;
}

interface EdgeTrack {
  shape: EdgeShape;
  from: EdgeShape;
  to: EdgeShape;
  /** The parents it hung on and will hang on; 0 if one is not in the picture. */
  was: number;
  is: number;
  /** How far its upper end was from the old parent, where a motion was interrupted. */
  dx: number;
  dy: number;
}

/** A shape that fades in, or moves with its node. */
interface Rider {
  shape: { x: number; y: number; alpha: number };
  /** Target place, and the node it hangs on (0: none). */
  x: number;
  y: number;
  node: number;
  enters: boolean;
}

interface Track {
  shape: { x: number; y: number; alpha: number };
  from: From;
  to: From;
}

function ease(t: number): number {
  if (t <= 0) return 0;
  if (t >= 1) return 1;
  return t < 0.5 ? 4 * t * t * t : 1 - Math.pow(-2 * t + 2, 3) / 2;
}

function mix(a: number, b: number, t: number): number {
  return a + (b - a) * t;
}

function byId<T extends { id: number }>(shapes: readonly T[]): Map<number, T> {
  return new Map(shapes.map((s) => [s.id, s]));
}

function pillKey(p: PillShape): string {
  return `${p.list}/${p.id}`;
}

// What a text of the lanes says and where. "+ 12 more" counts and shifts.
function saying(t: TextShape): string {
  const text = t.text.replace(/\d[\d,.]*/g, "#");
  return text === t.text ? `${text}/${t.x}/${t.y}` : `${text}/${t.y}`;
}

function sameFrame(a: Scene, b: Scene): boolean {
  return (
    a.width === b.width &&
    a.height === b.height &&
    a.viewport.lo === b.viewport.lo &&
    a.viewport.hi === b.viewport.hi
  );
}

function toneNow(n: NodeShape): NodeTone {
  return n.mix < 0.5 ? n.was : n.tone;
}

/**
 * The picture between two pictures. Hand it every new scene; ask it what to
 * draw. The scene of at() is reused: draw it before the next call.
 */
export class Motion {
  /** Flash instead of moving (prefers-reduced-motion, or the reader's choice). */
  reduced: boolean;

  private how: Manner = "still";
  private target: Scene | null = null;
  /** What at() hands out while something moves; its shapes are ours. */
  private scratch: Scene | null = null;
  private start = 0;
  private highlight = 0;
  private move = 0;
  private recolour = 0;
  private origin: Scene | null = null;
  /** What follows the link stage. */
  private next: { scene: Scene; diff: ModelDiff } | null = null;
  private rotations: readonly Rotation[] = [];
  private nodes: NodeTrack[] = [];
  private edges: EdgeTrack[] = [];
  private tracks: Track[] = [];
  private riders: Rider[] = [];
  private places = new Map<number, { x: number; y: number; dx: number; dy: number; alpha: number }>();
  private pivots: RingShape[] = [];
  private flashes: RingShape[] = [];
  private flashed = new Set<number>();
  private pending = new Set<number>();
  private flashStart = -Infinity;
  private clock = 0; // the newest `now` that was told
  private recent: { at: number; changes: number }[] = [];

  constructor(opts: { reduced?: boolean } = {}) {
    this.reduced = opts.reduced ?? false;
  }

  /** How the last change is told. */
  get manner(): Manner {
    return this.how;
  }

  /** ms that the stages under way take, from the start of the first. */
  get duration(): number {
    if (this.how === "flash") return FLASH;
    if (this.how === "still") return 0;
    return this.highlight + this.move + this.recolour;
  }

  moving(now: number): boolean {
    if (this.pending.size > 0 || this.next) return true;
    if (this.how === "flash") return now - this.flashStart < FLASH;
    return this.how === "staged" && now - this.start < this.duration;
  }

  /**
   * The next picture, `diff` away from the last one (null: another instance).
   * `linked` is the picture on the way in which a new node hangs in its place
   * and nothing has turned yet (linkedModel).
   */
  to(scene: Scene, diff: ModelDiff | null, now: number, linked?: Scene): void {
    this.clock = now;
    if (!diff || !this.target) {
      this.settle(scene);
      return;
    }
    const changes = diff.ops + diff.readied.length + diff.unreadied.length;
    if (changes > 0) this.recent.push({ at: now, changes });
    while (this.recent.length > 0 && now - this.recent[0]!.at > 1000) this.recent.shift();

    const visible = changes > 0 || diff.moved.length > 0 || diff.recoloured.length > 0;
    if (!visible) {
      // Only numbers changed: what moves goes on moving towards the new scene.
      if (this.how === "staged" && this.moving(now) && sameFrame(scene, this.target)) {
        if (this.next) this.next.scene = scene;
        else this.target = scene;
        return;
      }
      this.target = scene;
      if (this.how === "flash") this.makeFlash(now);
      else this.settle(scene);
      return;
    }
    const rate = this.recent.reduce((sum, r) => sum + r.changes, 0);
    const calm =
      !this.reduced &&
      scene.counts.items <= MOTION_MAX_ITEMS &&
      rate <= MOTION_MAX_RATE &&
      // A whole view widens as the tree grows: that is motion too.
      scene.width === this.target.width &&
      scene.height === this.target.height;
    if (!calm) {
      for (const id of [...diff.inserted, ...diff.recoloured, ...diff.readied, ...diff.unreadied]) {
        this.pending.add(id);
      }
      for (const m of diff.moved) this.pending.add(m.id);
      this.how = "flash";
      this.next = null;
      this.target = scene;
      this.makeFlash(now);
      return;
    }
    const seen = snapshot(this.at(now));
    this.how = "staged";
    if (linked) {
      this.next = { scene, diff };
      this.begin(seen, linked, [], STAGES.link, 0, now);
      return;
    }
    this.next = null;
    this.begin(seen, scene, diff.rotations, STAGES.move, diff.recoloured.length, now);
  }

  private begin(
    from: Scene,
    to: Scene,
    rotations: readonly Rotation[],
    move: number,
    recoloured: number,
    now: number,
  ): void {
    this.origin = from;
    this.target = to;
    this.rotations = rotations;
    this.start = now;
    this.highlight = rotations.length > 0 ? STAGES.highlight : 0;
    this.move = move;
    this.recolour = recoloured > 0 ? STAGES.recolour : 0;
    this.plan();
  }

  /** The same model seen otherwise (pan, zoom, resize, hover). */
  replace(scene: Scene): void {
    const now = this.clock;
    const last = this.target;
    if (last && this.how === "staged" && this.moving(now) && sameFrame(scene, last)) {
      if (this.next) {
        this.next.scene = scene;
        return;
      }
      this.target = scene;
      this.plan();
      return;
    }
    if (this.how === "flash" && this.moving(now)) {
      this.target = scene;
      this.placeFlashes();
      return;
    }
    this.settle(scene);
  }

  /** The picture to draw now. Valid until the next call. */
  at(now: number): Scene {
    this.clock = now;
    const target = this.target;
    if (!target) throw new Error("Motion.at before the first scene");
    if (this.how === "flash") {
      if (this.pending.size > 0 && now - this.flashStart >= FLASH_EVERY) this.makeFlash(now);
      const left = 1 - (now - this.flashStart) / FLASH;
      if (left <= 0) {
        if (this.pending.size === 0) this.settle(target);
        return target;
      }
      for (const f of this.flashes) f.alpha = left;
      return this.scratch ?? target;
    }
    if (this.how !== "staged") return target;
    const t = now - this.start;
    if (t >= this.duration) {
      const { next } = this;
      if (!next) {
        this.settle(target);
        return target;
      }
      this.next = null;
      const { rotations, recoloured, inserted } = next.diff;
      // Linked red; the new node, too, may end up black.
      const painted = recoloured.length + inserted.length;
      this.begin(target, next.scene, rotations, STAGES.move, painted, this.start + this.duration);
      return this.at(now);
    }
    this.pose(Math.max(0, t));
    return this.scratch!;
  }

  private settle(scene: Scene): void {
    this.target = scene;
    this.how = "still";
    this.scratch = null;
    this.origin = null;
    this.next = null;
    this.rotations = [];
    this.pending.clear();
    this.flashed.clear();
    this.nodes = [];
    this.edges = [];
    this.tracks = [];
    this.riders = [];
    this.pivots = [];
    this.flashes = [];
  }

  private makeFlash(now: number): void {
    if (this.pending.size > 0 && now - this.flashStart >= FLASH_EVERY) {
      this.flashed = new Set(this.pending);
      this.pending.clear();
      this.flashStart = now;
    }
    this.placeFlashes();
  }

  private placeFlashes(): void {
    const target = this.target!;
    this.flashes = [];
    for (const n of target.nodes) {
      if (!this.flashed.has(n.id)) continue;
      const r = n.r + (n.r >= 8 ? 8 : 4);
      this.flashes.push({
        id: n.id,
        x: n.x,
        y: n.y,
        r,
        tone: "accent",
        width: n.r >= 8 ? 3 : 2,
        dash: false,
        alpha: 1,
      });
    }
    this.scratch = { ...target, rings: [...target.rings, ...this.flashes] };
  }

  // Pairs every shape of the target with where it comes from.
  private plan(): void {
    const from = this.origin!;
    const to = this.target!;
    const fromNodes = byId(from.nodes);
    const toNodes = byId(to.nodes);
    const toEdges = byId(to.edges);
    const fromEdges = byId(from.edges);
    const fromPills = new Map(from.pills.map((p) => [pillKey(p), p]));
    const toPills = new Map(to.pills.map((p) => [pillKey(p), p]));
    const scratch: Scene = {
      ...to,
      edges: [],
      nodes: [],
      rings: [],
      stubs: [],
      marks: [],
      texts: [],
      pills: [],
      glyphs: [],
      arrows: [],
    };
    this.nodes = [];
    this.edges = [];
    this.tracks = [];
    this.riders = [];

    for (const n of to.nodes) {
      const was = fromNodes.get(n.id);
      const shape: NodeShape = { ...n };
      let start: From;
      if (was) {
        start = { x: was.x, y: was.y, r: was.r, alpha: was.alpha };
        const tone = toneNow(was);
        shape.was = tone;
        shape.mix = tone === n.tone ? 1 : 0;
      } else {
        const edge = toEdges.get(n.id);
        const parent = edge ? (fromNodes.get(edge.parent) ?? toNodes.get(edge.parent)) : undefined;
        start = { x: parent?.x ?? edge?.x1 ?? n.x, y: parent?.y ?? edge?.y1 ?? n.y, r: 0, alpha: 0 };
      }
      scratch.nodes.push(shape);
      this.nodes.push({ shape, from: start, to: n, recoloured: shape.mix === 0 });
    }
    for (const n of from.nodes) {
      if (toNodes.has(n.id)) continue;
      const shape: NodeShape = { ...n };
      scratch.nodes.push(shape);
      this.nodes.push({ shape, from: { ...n }, to: { x: n.x, y: n.y, r: 0, alpha: 0 }, recoloured: false });
    }
    for (const e of to.edges) {
      const shape: EdgeShape = { ...e };
      const was = fromEdges.get(e.id);
      let start: EdgeShape;
      if (was) start = { ...was };
      else {
        const parent = fromNodes.get(e.parent);
        const child = fromNodes.get(e.id) ?? parent;
        start = { ...e, alpha: 0 };
        if (parent) [start.x1, start.y1] = [parent.x, parent.y];
        if (child) [start.x2, start.y2] = [child.x, child.y];
      }
      scratch.edges.push(shape);
      const parent = fromNodes.get(start.parent);
      this.edges.push({
        shape,
        from: start,
        to: e,
        was: start.parent,
        is: e.parent,
        dx: parent ? start.x1 - parent.x : 0,
        dy: parent ? start.y1 - parent.y : 0,
      });
    }
    for (const e of from.edges) {
      if (toEdges.has(e.id)) continue;
      const shape: EdgeShape = { ...e };
      scratch.edges.push(shape);
      const node = toNodes.get(e.id);
      this.edges.push({
        shape,
        from: { ...e },
        to: { ...e, x2: node?.x ?? e.x2, y2: node?.y ?? e.y2, alpha: 0 },
        was: e.parent,
        is: e.parent,
        dx: 0,
        dy: 0,
      });
    }
    for (const p of to.pills) {
      const shape: PillShape = { ...p };
      const was = fromPills.get(pillKey(p));
      // From the tree into the list, or along the list.
      const node = fromNodes.get(p.id) ?? toNodes.get(p.id);
      const start = was
        ? { x: was.x, y: was.y, r: 0, alpha: was.alpha }
        : node
          ? { x: node.x, y: node.y, r: 0, alpha: 0 }
          : { x: p.x, y: p.y, r: 0, alpha: 0 };
      scratch.pills.push(shape);
      this.tracks.push({ shape, from: start, to: { x: p.x, y: p.y, r: 0, alpha: p.alpha } });
    }
    for (const p of from.pills) {
      if (toPills.has(pillKey(p))) continue;
      const node = toNodes.get(p.id);
      const shape: PillShape = { ...p };
      scratch.pills.push(shape);
      // Back to its node in the tree; with a closed item it fades where it is.
      this.tracks.push({
        shape,
        from: { x: p.x, y: p.y, r: 0, alpha: p.alpha },
        to: { x: node?.x ?? p.x, y: node?.y ?? p.y, r: 0, alpha: 0 },
      });
    }
    const had = new Set(from.rings.map((r) => `${r.tone}/${r.id}`));
    this.ride(scratch.rings, to.rings, (r: RingShape) => !had.has(`${r.tone}/${r.id}`));
    this.ride(scratch.marks, to.marks, () => false);
    const said = new Set(from.texts.map(saying));
    this.ride(scratch.texts, to.texts, (s: TextShape) => s.id === 0 && !said.has(saying(s)));
    // What stands at a node that goes, goes with it.
    const goes = (s: { id: number }) => s.id !== 0 && !toNodes.has(s.id) && fromNodes.has(s.id);
    this.ride(
      scratch.rings,
      from.rings.filter((r) => r.tone !== "accent" && goes(r)),
      () => false,
    );
    this.ride(scratch.texts, from.texts.filter(goes), () => false);
    for (const g of to.glyphs) {
      const shape: GlyphShape = { ...g };
      scratch.glyphs.push(shape);
    }
    for (const s of to.stubs) scratch.stubs.push({ ...s });
    for (const a of to.arrows) scratch.arrows.push({ ...a });
    this.pivots = [];
    for (const rotation of this.rotations) {
      const n = toNodes.get(rotation.pivot);
      if (!n || this.pivots.some((p) => p.id === n.id)) continue;
      const ring: RingShape = {
        id: n.id,
        x: n.x,
        y: n.y,
        r: n.r + 8,
        tone: "accent",
        width: 2.4,
        dash: false,
        alpha: 0,
      };
      this.pivots.push(ring);
      scratch.rings.push(ring);
    }
    this.scratch = scratch;
  }

  private ride<T extends RingShape | MarkShape | TextShape>(
    out: T[],
    shapes: readonly T[],
    enters: (s: T) => boolean,
  ): void {
    for (const s of shapes) {
      const shape = { ...s };
      out.push(shape);
      this.riders.push({ shape, x: s.x, y: s.y, node: s.id, enters: enters(s) });
    }
  }

  private pose(t: number): void {
    const moved = ease((t - this.highlight) / this.move);
    const told = this.recolour > 0 ? ease((t - this.highlight - this.move) / this.recolour) : moved;
    const places = this.places;
    places.clear();
    for (const n of this.nodes) {
      n.shape.x = mix(n.from.x, n.to.x, moved);
      n.shape.y = mix(n.from.y, n.to.y, moved);
      n.shape.r = Math.max(0, mix(n.from.r, n.to.r, moved));
      n.shape.alpha = mix(n.from.alpha, n.to.alpha, moved);
      if (n.recoloured) n.shape.mix = told;
      places.set(n.shape.id, {
        x: n.shape.x,
        y: n.shape.y,
        dx: n.shape.x - n.to.x,
        dy: n.shape.y - n.to.y,
        alpha: n.shape.alpha,
      });
    }
    for (const e of this.edges) {
      // A pointer that is set anew turns from the old parent, wherever that is
      // by now, to the new one.
      const was = places.get(e.was);
      const is = places.get(e.is);
      e.shape.x1 = mix(was ? was.x + e.dx : e.from.x1, is?.x ?? e.to.x1, moved);
      e.shape.y1 = mix(was ? was.y + e.dy : e.from.y1, is?.y ?? e.to.y1, moved);
      e.shape.x2 = mix(e.from.x2, e.to.x2, moved);
      e.shape.y2 = mix(e.from.y2, e.to.y2, moved);
      e.shape.alpha = mix(e.from.alpha, e.to.alpha, moved);
    }
    for (const p of this.tracks) {
      p.shape.x = mix(p.from.x, p.to.x, moved);
      p.shape.y = mix(p.from.y, p.to.y, moved);
      // Seen early on its way out of the tree, late on its way back.
      p.shape.alpha =
        p.from.alpha < p.to.alpha
          ? mix(p.from.alpha, p.to.alpha, Math.min(1, moved * 3))
          : mix(p.from.alpha, p.to.alpha, Math.max(0, moved * 3 - 2));
    }
    for (const r of this.riders) {
      const place = places.get(r.node);
      r.shape.x = r.x + (place?.dx ?? 0);
      r.shape.y = r.y + (place?.dy ?? 0);
      // A word of the lanes takes a place that something is leaving.
      const entered = r.node === 0 ? Math.max(0, moved * 3 - 2) : moved;
      r.shape.alpha = (place?.alpha ?? 1) * (r.enters ? entered : 1);
    }
    const glow =
      this.highlight === 0 ? 0 : Math.min(1, t / this.highlight) * (1 - Math.max(0, moved * 4 - 3));
    for (const p of this.pivots) {
      const place = places.get(p.id);
      const n = this.nodes.find((track) => track.shape.id === p.id);
      p.x = n?.shape.x ?? p.x;
      p.y = n?.shape.y ?? p.y;
      p.alpha = glow * (place?.alpha ?? 1);
    }
  }
}

// A copy whose numbers later poses cannot change.
function snapshot(s: Scene): Scene {
  const copy = <T extends object>(list: readonly T[]): T[] => list.map((x) => ({ ...x }));
  return {
    ...s,
    nodes: copy(s.nodes),
    edges: copy(s.edges),
    pills: copy(s.pills),
    rings: copy(s.rings),
    stubs: copy<StubShape>(s.stubs),
  };
}
