// The stage: one watched instance, its last minute, and how it is looked at.
// It holds no document and no framework; Stage.svelte gives it a canvas and
// a clock. Frames never pass through reactive state.

import {
  buildEpollScene,
  centreOn,
  betweenViews,
  clamp,
  diffModels,
  EpollModel,
  EpollStream,
  findFd,
  fit,
  History,
  hitTest,
  isWhole,
  linkedModel,
  Motion,
  panBy,
  toView,
  walk,
  zoomAt,
  zoomTo,
  type Hit,
  type Scene,
  type SceneWords,
  type TransitionRow,
  type Viewport,
  type Walk,
} from "../core";
import type { View } from "../net/messages";

export type Mode = "live" | "paused" | "replay";

export interface StageEnvironment {
  now(): number; // ms, monotonic
  watch(view: View): void;
  key(): void;
  /** Something changed: draw soon. */
  dirty(): void;
  /** `lists` is false where the tier cannot read the lists. */
  words(lists: boolean): SceneWords;
}

const glideMs = 260;
const viewEveryMs = 100;
const mostTransitions = 500;
const sentWhole = 4096; // items up to which frames carry every node

export class Stage {
  model = EpollModel.empty;
  viewport: Viewport = { lo: 0, hi: 1 };
  hovered = 0;
  focused = 0;
  marked: ReadonlySet<number> = new Set();
  readonly history = new History();
  readonly motion: Motion;
  /** Frames missed, over all connections. */
  get skipped(): number {
    return this.skippedBefore + this.stream.skipped;
  }
  /** The latest transitions of all frames that came, in order; at most 500. */
  transitions: readonly TransitionRow[] = [];
  /** Clock of the last frame's arrival, ms. */
  arrived = 0;

  private stream = new EpollStream();
  private skippedBefore = 0;
  private width = 0;
  private height = 0;
  private whole = true; // the viewport grows with the tree
  private scene: Scene | null = null;
  private glide: { from: Viewport; to: Viewport; start: number } | null = null;
  private play: { rate: number; at: number; last: number } | null = null;
  private sentView: View = { lo: 0, hi: 0, px: 0 };
  private sentAt = -Infinity;
  private wantedFd: number | null = null;
  private wantedView: Viewport | null = null;

  constructor(
    private readonly env: StageEnvironment,
    reduced: boolean,
  ) {
    this.motion = new Motion({ reduced });
  }

  /** Begin with what a link says: it is applied when the tree is known. */
  begin(fd: number | null, view: Viewport | null): void {
    this.wantedFd = fd;
    this.wantedView = view;
  }

  /** A new connection counts from the beginning; the picture stays until its first frame. */
  reconnected(): void {
    this.skippedBefore += this.stream.skipped;
    this.stream = new EpollStream();
    this.transitions = [];
  }

  push(buffer: ArrayBuffer): void {
    const now = this.env.now();
    const applied = this.stream.push(buffer);
    if (applied.needKey) this.env.key();
    this.history.push(buffer, applied, now);
    this.remember(applied.model.transitions);
    this.arrived = now;
    if (this.history.isLive) this.show(applied.model, applied.diff);
    this.env.dirty();
  }

  resize(width: number, height: number): void {
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    if (this.sentView.px === 0) this.ask();
    this.rebuild();
  }

  /** Words or options changed. */
  rebuild(): void {
    this.build();
    if (this.scene) this.motion.replace(this.scene);
    this.env.dirty();
  }

  /** The picture as it stands, without moving anything on. */
  get picture(): Scene | null {
    return this.scene ? this.motion.at(this.env.now()) : null;
  }

  /** The picture to draw at a time, after moving playback and gliding on. */
  at(now: number): Scene | null {
    this.advancePlay(now);
    this.advanceGlide(now);
    if (this.pendingView(now)) this.ask();
    return this.scene ? this.motion.at(now) : null;
  }

  /** More frames are to be drawn although nothing new arrives. */
  active(now: number): boolean {
    return this.motion.moving(now) || this.glide !== null || this.play !== null || this.viewChanged();
  }

  get mode(): Mode {
    if (this.history.isLive) return "live";
    return this.play ? "replay" : "paused";
  }

  /** How far the picture lies behind what comes in, ms. */
  get behind(): number {
    const span = this.history.span();
    const cursor = this.history.cursor;
    return span && cursor ? span.to - cursor.at : 0;
  }

  // ---- time ----

  pause(): void {
    this.play = null;
    if (this.history.isLive) this.jump(this.history.pause());
    this.env.dirty();
  }

  live(): void {
    this.play = null;
    this.history.live();
    this.show(this.stream.model, null);
    this.env.dirty();
  }

  toggle(): void {
    if (this.mode === "paused") this.playAt(1);
    else this.pause();
  }

  /** Play on from the cursor; a negative rate plays backwards, 0 pauses. */
  playAt(rate: number): void {
    this.pause();
    const cursor = this.history.cursor;
    if (rate !== 0 && cursor) this.play = { rate, at: cursor.at, last: this.env.now() };
    this.env.dirty();
  }

  get rate(): number {
    return this.play?.rate ?? 0;
  }

  step(n: number): void {
    this.pause();
    const before = this.model;
    const model = this.history.step(n, { changes: true });
    if (model && model !== before) this.show(model, diffModels(before, model));
    this.env.dirty();
  }

  seek(at: number): void {
    this.play = null;
    if (this.history.isLive) this.history.pause();
    this.jump(this.history.seek(at));
    this.env.dirty();
  }

  // ---- view ----

  zoom(factor: number, x: number): void {
    const tree = this.scene?.tree;
    if (tree) this.setView(zoomAt(this.viewport, this.model.items, factor, x - tree.x, tree.w));
  }

  pan(px: number): void {
    const tree = this.scene?.tree;
    if (tree) this.setView(panBy(this.viewport, this.model.items, px, tree.w));
  }

  fit(): void {
    this.glideTo(fit(this.model.items));
  }

  glideTo(to: Viewport): void {
    const target = clamp(to, this.model.items);
    if (this.motion.reduced) this.setView(target);
    else this.glide = { from: this.viewport, to: target, start: this.env.now() };
    this.env.dirty();
  }

  zoomToRanks(lo: number, hi: number): void {
    this.glideTo(zoomTo(lo, hi, this.model.items));
  }

  setView(v: Viewport): void {
    this.glide = null;
    this.place(v);
    this.rebuild();
  }

  /** The viewport for a link; null while all is shown. */
  get linkView(): { lo: number; hi: number } | null {
    if (isWhole(this.viewport, this.model.items)) return null;
    return { lo: Math.floor(this.viewport.lo), hi: Math.ceil(this.viewport.hi) };
  }

  // ---- nodes ----

  hit(x: number, y: number): Hit | null {
    const scene = this.picture;
    return scene ? hitTest(scene, x, y) : null;
  }

  hover(id: number): boolean {
    if (id === this.hovered) return false;
    this.hovered = id;
    this.rebuild();
    return true;
  }

  focus(id: number): void {
    this.focused = id;
    const rank = id ? this.model.rank(id) : -1;
    if (rank >= 0 && (rank < this.viewport.lo || rank >= this.viewport.hi)) {
      this.glideTo(centreOn(this.viewport, this.model.items, rank));
    }
    this.rebuild();
  }

  walk(to: Walk): void {
    const id = walk(this.model, this.focused, to);
    if (id) this.focus(id);
  }

  /** Focus the node with that fd; false if none is held here. */
  findFd(fd: number): boolean {
    const [id] = findFd(this.model, fd);
    if (id === undefined) return false;
    this.focus(id);
    return true;
  }

  mark(ids: ReadonlySet<number>): void {
    this.marked = ids;
    this.rebuild();
  }

  // ---- inside ----

  // A key frame repeats the transitions of the last second.
  private remember(rows: readonly TransitionRow[]): void {
    const last = this.transitions.at(-1)?.seq ?? -1;
    const news = rows.filter((r) => r.seq > last);
    if (news.length > 0) this.transitions = [...this.transitions, ...news].slice(-mostTransitions);
  }

  private jump(model: EpollModel | null): void {
    if (model) this.show(model, null);
  }

  private show(model: EpollModel, diff: Parameters<Motion["to"]>[1]): void {
    const linked = diff ? linkedModel(this.model, model, diff) : null;
    this.model = model;
    if (this.focused && !model.node(this.focused) && !model.glyphs) this.focused = 0;
    this.place(this.whole ? fit(model.items) : this.viewport);
    this.applyLink();
    this.build();
    if (!this.scene) return;
    this.motion.to(this.scene, diff, this.env.now(), linked ? this.sceneOf(linked) : undefined);
  }

  private applyLink(): void {
    if (this.model.items === 0) return;
    if (this.wantedView) this.place(this.wantedView);
    this.wantedView = null;
    const fd = this.wantedFd;
    this.wantedFd = null;
    if (fd !== null) this.focused = findFd(this.model, fd)[0] ?? 0;
  }

  private place(v: Viewport): void {
    this.viewport = clamp(v, this.model.items);
    this.whole = isWhole(this.viewport, this.model.items);
  }

  private build(): void {
    if (this.width === 0 || this.height === 0) return;
    this.scene = this.sceneOf(this.model);
  }

  private sceneOf(model: EpollModel): Scene {
    return buildEpollScene(model, {
      width: this.width,
      height: this.height,
      viewport: this.viewport,
      words: this.env.words(!this.model.instance?.membership),
      hovered: this.hovered,
      focused: this.focused,
      marked: this.marked,
    });
  }

  private advancePlay(now: number): void {
    const play = this.play;
    const span = this.history.span();
    if (!play || !span) return;
    play.at += (now - play.last) * play.rate;
    play.last = now;
    if (play.at >= span.to && play.rate > 0) {
      this.live();
      return;
    }
    const before = this.model;
    const model = this.history.seek(Math.max(play.at, span.from));
    if (model && model !== before) this.show(model, diffModels(before, model));
    if (play.at <= span.from && play.rate < 0) this.play = null;
  }

  private advanceGlide(now: number): void {
    const glide = this.glide;
    if (!glide) return;
    const t = Math.min(1, (now - glide.start) / glideMs);
    this.place(betweenViews(glide.from, glide.to, 1 - (1 - t) ** 3));
    if (t === 1) this.glide = null;
    this.rebuild();
  }

  // Only a large tree is culled by the server; a small one is sent whole.
  private nextView(): View {
    const px = Math.round(this.width);
    if (this.model.items <= sentWhole) return { lo: 0, hi: 0, px: this.sentView.px || px };
    return toView(this.viewport, this.model.items, px);
  }

  private viewChanged(): boolean {
    if (this.width === 0) return false;
    const v = this.nextView();
    return v.lo !== this.sentView.lo || v.hi !== this.sentView.hi || v.px !== this.sentView.px;
  }

  private pendingView(now: number): boolean {
    return now - this.sentAt >= viewEveryMs && this.viewChanged();
  }

  private ask(): void {
    this.sentView = this.nextView();
    this.sentAt = this.env.now();
    if (this.arrived > 0) this.stream.rewatch();
    this.env.watch(this.sentView);
  }
}
