// The stage of a ring: the instance that is watched, its last minute, and how it
// is told, at the kernel's pace or step by step. It holds no document and no
// framework; RingStage.svelte gives it a canvas and a clock.

import { between, EMPTY_RING, LifeLog, RingPast, RingStream, type RingModel } from "../../model/uring";
import { Story, Teller, type Skipped, type Step } from "../../model/uringstory";
import { box, paint, targetAt, words, type Picture, type Target } from "../../scene/shapes";
import { ShapeMotion } from "../../scene/shapetween";
import type { Point } from "../../scene/types";
import {
  buildRingScene,
  lanePoint,
  layoutRing,
  onScreen,
  slotPoint,
  tokenText,
  tokenWidth,
  toneOfOp,
  type LaneName,
  type RingWords,
} from "../../scene/uring";
import { findUserData, walkRing, type RingWalk } from "../../scene/uringnav";
import type { Life } from "../../wire/uring";
import type { Mode } from "../stage";

export interface RingStageEnvironment {
  now(): number; // ms, monotonic
  key(): void;
  /** Something changed: draw soon. */
  dirty(): void;
  words(): RingWords;
  /** Name of the owner. */
  comm(): string;
}

/** How long a step is shown at slow motion 1, ms. */
export const STEP_MS = 600;
const LIVE_FLIGHTS = 8;
const FLIGHT_MS = 700;

export class RingStage {
  /** What is drawn. */
  model: RingModel = EMPTY_RING;
  hovered = "";
  focused = "";
  readonly history = new RingPast();
  readonly log = new LifeLog();
  /** Clock of the last frame's arrival, ms. */
  arrived = 0;
  /** Told one step at a time, and if so how fast; held stands still. */
  slow = false;
  speed = 1;
  held = false;

  private stream = new RingStream();
  private teller = new Teller();
  /** The picture that all that can be told leads to. */
  private end: RingModel = EMPTY_RING;
  private readonly story = new Story();
  private readonly motion: ShapeMotion;
  private skippedBefore = 0;
  private lostBefore = 0;
  private width = 0;
  private height = 0;
  private scene: Picture | null = null;
  private play: { rate: number; at: number; last: number } | null = null;
  private steppedAt = -Infinity;

  constructor(
    private readonly env: RingStageEnvironment,
    reduced: boolean,
  ) {
    this.motion = new ShapeMotion(reduced);
  }

  get reduced(): boolean {
    return this.motion.reduced;
  }

  /** Frames missed, over all connections. */
  get skipped(): number {
    return this.skippedBefore + this.stream.skipped;
  }

  /** Events missing between those that came. */
  get lost(): number {
    return this.lostBefore + this.stream.lost;
  }

  /** The newest picture, whatever is shown. */
  get newest(): RingModel {
    return this.stream.model;
  }

  /** A new connection counts from the beginning; the picture stays until its first frame. */
  reconnected(): void {
    this.skippedBefore += this.stream.skipped;
    this.lostBefore += this.stream.lost;
    this.stream = new RingStream();
    this.teller = new Teller();
    this.story.clear();
  }

  push(buffer: ArrayBuffer): void {
    const now = this.env.now();
    const applied = this.stream.push(buffer);
    this.history.push(buffer, applied, now);
    this.arrived = now;
    if (applied.needKey) this.env.key();
    this.log.add(applied.news, applied.model.time);
    let jumped = false;
    if (!applied.problem) {
      const { steps, end } = this.teller.tell(applied.before, applied.model, applied.news);
      this.end = end;
      const follow = !this.slow || !this.history.isLive;
      jumped = this.story.add(steps, end, follow);
    }
    if (this.history.isLive) {
      // In slow motion words and picture are of the same step, also where some were skipped.
      if (!this.slow) {
        this.pass(this.model, applied.model, applied.news, now);
        this.show(applied.model);
      } else if (jumped || this.story.ahead === 0) this.show(this.story.current?.model ?? this.end);
    }
    this.env.dirty();
  }

  resize(width: number, height: number): void {
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    this.rebuild();
  }

  /** Words or options changed: nothing moves. */
  rebuild(): void {
    this.build();
    if (this.scene) this.motion.replace(this.scene);
    this.env.dirty();
  }

  /** The picture as it stands. */
  get picture(): Picture | null {
    return this.motion.at(this.env.now()) ?? this.scene;
  }

  /** The picture to draw at a time, after moving playback and the story on. */
  at(now: number): Picture | null {
    this.advancePlay(now);
    this.advanceStory(now);
    return this.motion.at(now);
  }

  /** More frames are to be drawn although nothing new arrives. */
  active(now: number): boolean {
    const telling = this.slow && !this.held && this.history.isLive && this.story.ahead > 0;
    return this.motion.moving(now) || this.play !== null || telling;
  }

  get mode(): Mode {
    if (this.history.isLive) return "live";
    return this.play ? "replay" : "paused";
  }

  get behind(): number {
    const span = this.history.span();
    const cursor = this.history.cursor;
    return span && cursor ? span.to - cursor.at : 0;
  }

  get rate(): number {
    return this.play?.rate ?? 0;
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
    this.story.catchUp();
    this.show(this.slow ? this.end : this.stream.model);
    this.env.dirty();
  }

  toggle(): void {
    if (this.mode === "paused") this.playAt(1);
    else this.pause();
  }

  playAt(rate: number): void {
    this.pause();
    const cursor = this.history.cursor;
    if (rate !== 0 && cursor) this.play = { rate, at: cursor.at, last: this.env.now() };
    this.env.dirty();
  }

  step(n: number): void {
    this.pause();
    this.jump(this.history.step(n, { changes: true }));
    this.env.dirty();
  }

  seek(at: number): void {
    this.play = null;
    if (this.history.isLive) this.history.pause();
    this.jump(this.history.seek(at));
    this.env.dirty();
  }

  // ---- the story ----

  /** The step that the picture shows; null where it is not told by steps. */
  get told(): Step | null {
    return this.slow && this.history.isLive ? (this.story.current?.step ?? null) : null;
  }

  get ahead(): number {
    return this.slow ? this.story.ahead : 0;
  }

  /** Steps that were skipped, by what they were. */
  get untold(): readonly (readonly [Skipped, number])[] {
    return [...this.story.skippedOf];
  }

  /** Slow motion tells what comes from now on; live again shows the newest at once. */
  setSlow(slow: boolean): void {
    if (slow === this.slow) return;
    this.slow = slow;
    this.held = false;
    if (!this.history.isLive) this.history.live();
    this.play = null;
    this.story.catchUp();
    this.steppedAt = this.env.now();
    this.show(slow ? this.end : this.stream.model);
    this.env.dirty();
  }

  setHeld(held: boolean): void {
    this.held = held;
    this.steppedAt = this.env.now();
    this.env.dirty();
  }

  /** One event on or back; the story stands still after it. */
  storyStep(n: 1 | -1): void {
    if (!this.history.isLive) {
      this.history.live();
      this.play = null;
    }
    if (!this.slow) {
      this.slow = true;
      this.story.catchUp();
    }
    this.held = true;
    const told = n > 0 ? this.story.next() : this.story.previous();
    if (told) this.show(told.model);
    this.env.dirty();
  }

  // ---- what is pointed at ----

  hit(x: number, y: number): Target | null {
    const p = this.picture;
    return p ? targetAt(p, x, y) : null;
  }

  hover(id: string): boolean {
    if (id === this.hovered) return false;
    this.hovered = id;
    this.look();
    return true;
  }

  focus(id: string): void {
    this.focused = id;
    this.look();
  }

  walk(to: RingWalk): void {
    const id = walkRing(this.model, this.focused, to);
    if (id) this.focus(id);
  }

  /** Focus what carries that user_data; again, the next of them. False if there is none. */
  find(userData: bigint): boolean {
    const ids = findUserData(this.model, userData);
    if (ids.length === 0) return false;
    this.focus(ids[(ids.indexOf(this.focused) + 1) % ids.length]!);
    return true;
  }

  /** Where a thing stands; null if it is out of the picture. */
  place(id: string): Target | null {
    return this.scene?.targets.find((t) => t.id === id) ?? null;
  }

  // ---- inside ----

  // A ring of outlines changes, nothing else: what moves goes on moving.
  private look(): void {
    this.build();
    const now = this.env.now();
    if (this.scene) {
      if (this.motion.moving(now)) this.motion.to(this.scene, now, { ms: 120 });
      else this.motion.replace(this.scene);
    }
    this.env.dirty();
  }

  private jump(model: RingModel | null): void {
    if (model) this.show(model);
  }

  private show(model: RingModel): void {
    const before = this.model;
    this.model = model;
    this.build();
    if (!this.scene) return;
    const ms = this.slow ? Math.min(420, (STEP_MS * 0.7) / this.speed) : 300;
    this.motion.to(this.scene, this.env.now(), { ...this.passage(before, model), ms });
  }

  private build(): void {
    if (this.width === 0 || this.height === 0) return;
    this.scene = buildRingScene(this.model, {
      width: this.width,
      height: this.height,
      words: this.env.words(),
      comm: this.env.comm(),
      hovered: this.hovered,
      focused: this.focused,
      waitsFor: waitsFor(this.log.lives, this.model),
    });
  }

  // A request comes out of the slot its SQE stood in, and goes into that of its CQE.
  private passage(
    before: RingModel,
    after: RingModel,
  ): { enters: Map<string, Point>; leaves: Map<string, Point> } {
    const enters = new Map<string, Point>();
    const leaves = new Map<string, Point>();
    const ring = after.ring;
    if (!ring || !before.ring) return { enters, leaves };
    const l = layoutRing(this.width, this.height, ring.sqEntries, ring.cqEntries);
    const had = new Set(before.requests.map((r) => r.id));
    const has = new Set(after.requests.map((r) => r.id));
    for (const r of after.requests) {
      if (had.has(r.id)) continue;
      const sqe = before.sqes.find((e) => e.userData === r.userData);
      enters.set(`req:${r.id}`, onScreen(l, slotPoint(l.sq, sqe?.position ?? before.ring.sqHead)));
    }
    const posted = after.cqes.filter((e) => between(before.ring!.cqTail, e.position) < ring.cqEntries);
    for (const r of before.requests) {
      if (has.has(r.id)) continue;
      const cqe = posted.find((e) => e.userData === r.userData);
      leaves.set(`req:${r.id}`, onScreen(l, slotPoint(l.cq, cqe?.position ?? before.ring.cqTail)));
    }
    return { enters, leaves };
  }

  // What was taken and done within one frame is never seen in a lane: it flies by.
  private pass(before: RingModel, after: RingModel, news: readonly Life[], now: number): void {
    const ring = after.ring;
    if (this.reduced || !ring || !before.ring || this.width === 0) return;
    const taken = news.filter((l) => l.what === "submit");
    if (taken.length === 0 || taken.length > LIVE_FLIGHTS) return;
    const l = layoutRing(this.width, this.height, ring.sqEntries, ring.cqEntries);
    const done = news.filter((x) => x.what === "complete");
    taken.forEach((s, i) => {
      const k = done.findIndex((c) => c.request === s.request && c.userData === s.userData);
      if (k < 0 || after.requests.some((r) => r.id === s.request)) return;
      const lanes: LaneName[] = news
        .filter((x) => x.request === s.request)
        .map((x) =>
          x.what === "arm"
            ? "armed"
            : x.what === "punt"
              ? "punted"
              : x.what === "taskwork"
                ? "taskwork"
                : "submitted",
        );
      const via = [
        slotPoint(l.sq, before.ring!.sqHead + i),
        ...[...new Set(lanes)].map((name) => lanePoint(l, name)),
        slotPoint(l.cq, before.ring!.cqTail + k),
      ].map((p) => onScreen(l, p));
      const text = tokenText(s.op, s.userData);
      const tone = toneOfOp(s.op);
      this.motion.fly({
        box: box({
          x: 0,
          y: 0,
          w: tokenWidth(text),
          h: 22,
          r: 11,
          fill: paint(tone, 0.86),
          stroke: paint(tone),
          width: 1.6,
        }),
        words: words({ x: 0, y: 0, text, size: 11, font: "mono", weight: 600, tone, align: "middle" }),
        via,
        start: now + i * 60,
        ms: FLIGHT_MS,
      });
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
    const model = this.history.seek(Math.max(play.at, span.from));
    if (model && model.sequence !== this.model.sequence) {
      this.show(model);
      this.env.dirty();
    }
    if (play.at <= span.from && play.rate < 0) this.play = null;
  }

  private advanceStory(now: number): void {
    if (!this.slow || this.held || !this.history.isLive || this.story.ahead <= 0) return;
    if (now - this.steppedAt < STEP_MS / this.speed) return;
    const told = this.story.next();
    this.steppedAt = now;
    if (told) this.show(told.model);
    this.env.dirty();
  }
}

/** How many CQEs the owner sleeps for in io_uring_enter; 0 if it does not, as far as events tell. */
export function waitsFor(lives: readonly Life[], m: RingModel): number {
  const ring = m.ring;
  if (!ring) return 0;
  let wait: Life | null = null;
  let completed = 0;
  for (const l of lives) {
    if (l.time > m.time && m.time > 0) break;
    if (l.what === "cqwait") {
      wait = l;
      completed = 0;
    } else if (wait && l.what === "complete") completed++;
    // The same thread does something else: it has returned.
    else if (wait && l.what === "submit" && l.tid === wait.tid) wait = null;
  }
  if (!wait || wait.res <= 0 || completed >= wait.res) return 0;
  return between(ring.cqHead, ring.cqTail) >= wait.res ? 0 : wait.res;
}
