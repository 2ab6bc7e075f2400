// What the components around the canvas show of the stage, a few times a
// second. The canvas itself reads the stage directly.

import { EpollModel, parseHeader, type SceneCounts, type SceneWords } from "../core";
import { t } from "../i18n/index.svelte";
import type { RequestError } from "../net/client";
import type { Detail, Message, View } from "../net/messages";
import type { Look } from "./route";
import { session, type Frames } from "./session.svelte";
import { Stage, type Mode } from "./stage";

/** Opened is what the object card shows: a thread of wq by tid, or a file by its id. */
export interface Opened {
  object: "waiter" | "file";
  id: number;
}

/** Status of the watch: `opening` until the first frame. */
export type Status =
  | { state: "opening" }
  | { state: "watching" }
  | { state: "gone"; reason: string }
  | { state: "failed"; message: string; fix: string };

const publishEveryMs = 100;

export class Watching implements Frames {
  status = $state.raw<Status>({ state: "opening" });
  /** Nothing new comes: the instance is gone or the connection is. */
  ended = $derived(
    this.status.state === "gone" || session.link.state === "lost" || session.link.state === "refused",
  );
  model = $state.raw<EpollModel>(EpollModel.empty);
  mode = $state.raw<Mode>("live");
  rate = $state(0);
  behind = $state(0);
  span = $state.raw<{ from: number; to: number } | null>(null);
  cursor = $state(0); // clock of the picture shown, ms
  skipped = $state(0);
  arrived = $state(0);
  hovered = $state(0);
  focused = $state(0);
  opened = $state.raw<Opened | null>(null);
  counts = $state.raw<SceneCounts | null>(null);
  /** Raised with every publication: what is read from the stage is new. */
  tick = $state(0);
  /** What the canvas shows now: for tests and measurements. */
  drawn = { sequence: 0, time: 0, at: 0 };
  /** A picture of what the kernel sent was drawn. */
  shown = $state(false);
  /** Frames that could not be decoded. */
  unreadable = $state("");

  readonly stage: Stage;
  /** Set by the component that owns the canvas. */
  draw: () => void = () => {};
  private id = 0;
  private publishedAt = 0;
  private publications = 0;
  private trailing: ReturnType<typeof setTimeout> | null = null;

  constructor(readonly topic: string) {
    const reduced = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.stage = new Stage(
      {
        now: () => performance.now(),
        watch: (view: View) => session.client.watch(topic, view),
        key: () => session.client.key(topic),
        dirty: () => this.dirty(),
        words: sceneWords,
      },
      reduced,
    );
  }

  /** begin with what a link says: the node with the focus, the part that is shown. */
  begin({ fd, lo, hi }: Pick<Look, "fd" | "lo" | "hi">): void {
    this.stage.begin(fd, lo !== null && hi !== null ? { lo, hi } : null);
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
    session.watched = m.target.comm;
  }

  gone(m: Message<"gone">): void {
    if (m.topic === this.topic) this.status = { state: "gone", reason: m.reason };
  }

  failed(e: RequestError): void {
    if (e.topic === this.topic) this.status = { state: "failed", message: e.message, fix: e.fix };
  }

  /** lost says that the connection went: topic ids and sequences begin again. */
  lost(): void {
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

  /** open shows the struct behind a thread or a file; null closes it. */
  open(what: Opened | null): void {
    this.opened = what;
  }

  private dirty(): void {
    this.draw();
    const wait = this.publishedAt + publishEveryMs - performance.now();
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
    this.arrived = stage.arrived;
    this.hovered = stage.hovered;
    this.focused = stage.focused;
    this.counts = stage.picture?.counts ?? null;
    this.tick = ++this.publications;
  }
}

function sceneWords(lists: boolean): SceneWords {
  return {
    rdllist: t("scene.rdllist"),
    ovflist: t("scene.ovflist"),
    wq: t("scene.wq"),
    none: t(lists ? "scene.none" : "scene.unknown"),
    inactive: t(lists ? "scene.inactive" : "scene.unknown"),
    more: t("scene.more"),
    exclusive: t("scene.exclusive"),
  };
}
