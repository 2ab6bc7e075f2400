// What the components around the canvas show of a ring, a few times a second.
// The canvas itself reads the stage directly.

import { t } from "../../i18n/more";
import { EMPTY_RING, type RingModel } from "../../model/uring";
import type { Skipped, Step } from "../../model/uringstory";
import { parseHeader } from "../../wire/header";
import type { RequestError } from "../../net/client";
import type { Detail, Message } from "../../net/messages";
import { session, type Frames } from "../session.svelte";
import type { Mode } from "../stage";
import type { Timed } from "../timed";
import type { Status } from "../watching.svelte";
import { ringWords } from "./scenewords";
import { RingStage } from "./stage";

const publishEveryMs = 100;

export class RingWatching implements Frames, Timed {
  status = $state.raw<Status>({ state: "opening" });
  /** Nothing new comes: the ring is gone or the connection is. */
  ended = $derived(
    this.status.state === "gone" || session.link.state === "lost" || session.link.state === "refused",
  );
  model = $state.raw<RingModel>(EMPTY_RING);
  mode = $state.raw<Mode>("live");
  rate = $state(0);
  behind = $state(0);
  span = $state.raw<{ from: number; to: number } | null>(null);
  cursor = $state(0);
  skipped = $state(0);
  lost = $state(0);
  arrived = $state(0);
  hovered = $state("");
  focused = $state("");
  slow = $state(false);
  held = $state(false);
  speed = $state(1);
  told = $state.raw<Step | null>(null);
  ahead = $state(0);
  untold = $state.raw<readonly (readonly [Skipped, number])[]>([]);
  comm = $state("");
  /** Raised with every publication: what is read from the stage is new. */
  tick = $state(0);
  shown = $state(false);
  unreadable = $state("");
  drawn = { sequence: 0, time: 0, at: 0 };

  readonly stage: RingStage;
  /** Set by the component that owns the canvas. */
  draw: () => void = () => {};
  private id = 0;
  private publishedAt = 0;
  private publications = 0;
  private trailing: ReturnType<typeof setTimeout> | null = null;

  constructor(readonly topic: string) {
    const reduced = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.stage = new RingStage(
      {
        now: () => performance.now(),
        key: () => session.client.key(topic),
        dirty: () => this.dirty(),
        words: () => ringWords(t),
        comm: () => this.comm,
      },
      reduced,
    );
  }

  /** A ring has no viewport: it is asked for as it is. */
  begin(): void {
    session.client.watch(this.topic, { lo: 0, hi: 0, px: 0 });
  }

  close(): void {
    if (this.trailing) clearTimeout(this.trailing);
    if (session.frames === this) session.frames = null;
    session.client.unwatch(this.topic);
    session.watched = "";
  }

  watching(m: Message<"watching">): void {
    if (m.topic !== this.topic) return;
    this.id = m.id;
    this.comm = m.target.comm;
    session.watched = m.target.comm;
  }

  gone(m: Message<"gone">): void {
    if (m.topic === this.topic) this.status = { state: "gone", reason: m.reason };
  }

  failed(e: RequestError): void {
    if (e.topic === this.topic) this.status = { state: "failed", message: e.message, fix: e.fix };
  }

  /** The connection went: topic ids and sequences begin again. */
  lostLink(): void {
    this.id = 0;
    this.stage.reconnected();
  }

  frame(bytes: ArrayBuffer): void {
    try {
      if (parseHeader(new DataView(bytes)).topic !== this.id) return;
      this.stage.push(bytes);
      this.unreadable = "";
      if (this.status.state !== "watching") this.status = { state: "watching" };
    } catch (e) {
      this.unreadable = e instanceof Error ? e.message : String(e);
      session.client.key(this.topic);
    }
  }

  inspect(object: string, id: number): Promise<Detail | null> {
    return session.inspect(this.topic, object, id);
  }

  private dirty(): void {
    this.draw();
    let wait = this.publishedAt + publishEveryMs - performance.now();
    // The words of a step come with its picture.
    if (this.stage.told !== this.told) {
      if (this.trailing) clearTimeout(this.trailing);
      this.trailing = null;
      wait = 0;
    }
    this.trailing ??= setTimeout(() => this.publish(), Math.max(0, wait));
  }

  /** publish copies what the components read. */
  publish(): void {
    if (this.trailing) clearTimeout(this.trailing);
    this.trailing = null;
    this.publishedAt = performance.now();
    const { stage } = this;
    this.model = stage.model;
    this.mode = stage.mode;
    this.rate = stage.rate;
    this.behind = stage.behind;
    this.span = stage.history.span();
    this.cursor = stage.history.cursor?.at ?? this.span?.to ?? 0;
    this.skipped = stage.skipped;
    this.lost = stage.lost;
    this.arrived = stage.arrived;
    this.hovered = stage.hovered;
    this.focused = stage.focused;
    this.slow = stage.slow;
    this.held = stage.held;
    this.speed = stage.speed;
    this.told = stage.told;
    this.ahead = stage.ahead;
    this.untold = stage.untold;
    this.tick = ++this.publications;
  }
}
