// The last minute, frame by frame. What was shown can be shown again exactly:
// from the nearest kept model, the same bytes are applied in the same order.
import { Flag, type Header } from "../wire/header";

export interface HistoryEntry {
  /** Counts all frames ever pushed; stays with the entry as older ones go. */
  index: number;
  /** The page's clock when it came, ms. */
  at: number;
  /** Kernel time, ns. */
  time: number;
  sequence: number;
  key: boolean;
  /** It carries more than truth and counts: something happened. */
  changed: boolean;
}

interface Kept<M> extends HistoryEntry {
  frame: ArrayBuffer;
  /** Kept once a second; the others are replayed from the one before. */
  model: M | null;
  bytes: number;
}

/** What a history must know of the frames of a view. */
export interface Kind<M, F> {
  /** The model after one more frame; `last` says that it is the one to be shown. */
  apply(model: M, frame: ArrayBuffer, last: boolean): M;
  /** Memory of a model that it does not share with its neighbours, by estimate. */
  bytes(model: M): number;
  /** The frame carries more than truth and counts. */
  changed(frame: F): boolean;
}

/** What a history keeps of a frame that was applied. */
export interface Remembered<M, F> {
  readonly frame: F;
  readonly model: M;
  readonly problem: unknown;
}

/** The last 60 s of frames, at most 64 MB. Holds no clock. */
export class Past<M extends object, F extends { readonly header: Header }> {
  private readonly seconds: number;
  private readonly limit: number;
  private kept: Kept<M>[] = [];
  private total = 0;
  private nextIndex = 0;
  private lastModelAt = -Infinity;
  private at: number | null = null; // index of the entry shown; null while live

  constructor(
    private readonly kind: Kind<M, F>,
    opts: { seconds?: number; bytes?: number } = {},
  ) {
    this.seconds = opts.seconds ?? 60;
    this.limit = opts.bytes ?? 64 * 1024 * 1024;
  }

  get length(): number {
    return this.kept.length;
  }

  /** Bytes held, models by estimate. */
  get bytes(): number {
    return this.total;
  }

  get isLive(): boolean {
    return this.at === null;
  }

  /** The entry shown; null while live. */
  get cursor(): HistoryEntry | null {
    return this.at === null ? null : (this.kept[this.place(this.at)] ?? null);
  }

  /** Clock of the oldest and the newest entry, ms. */
  span(): { from: number; to: number } | null {
    const first = this.kept[0];
    const last = this.kept[this.kept.length - 1];
    return first && last ? { from: first.at, to: last.at } : null;
  }

  entries(): readonly HistoryEntry[] {
    return this.kept;
  }

  /** Remembers a frame that was applied; one that was refused is not part of the past. */
  push(frame: ArrayBuffer, applied: Remembered<M, F>, at: number): void {
    if (applied.problem) return;
    const f = applied.frame;
    const keep = this.kept.length === 0 || at - this.lastModelAt >= 1000;
    if (keep) this.lastModelAt = at;
    const bytes = frame.byteLength + (keep ? this.kind.bytes(applied.model) : 0);
    this.kept.push({
      index: this.nextIndex++,
      at,
      time: f.header.time,
      sequence: f.header.sequence,
      key: (f.header.flags & Flag.key) !== 0,
      changed: this.kind.changed(f),
      frame,
      model: keep ? applied.model : null,
      bytes,
    });
    this.total += bytes;
    this.trim(at);
  }

  private trim(now: number): void {
    let drop = 0;
    while (drop < this.kept.length - 1) {
      const oldest = this.kept[drop]!;
      if (now - oldest.at <= this.seconds * 1000 && this.total <= this.limit) break;
      // The new first entry must be shown without the ones before it.
      const next = this.kept[drop + 1]!;
      if (!next.model) {
        next.model = this.modelAt(drop + 1);
        const cost = this.kind.bytes(next.model);
        next.bytes += cost;
        this.total += cost;
      }
      this.total -= oldest.bytes;
      drop++;
    }
    if (drop === 0) return;
    this.kept.splice(0, drop);
    if (this.at !== null) this.at = Math.max(this.at, this.kept[0]!.index);
  }

  // Where the entry of that index lies in `kept`.
  private place(index: number): number {
    return index - (this.kept[0]?.index ?? 0);
  }

  private modelAt(place: number): M {
    let from = place;
    while (!this.kept[from]!.model) from--;
    let model = this.kept[from]!.model!;
    for (let i = from + 1; i <= place; i++) {
      model = this.kind.apply(model, this.kept[i]!.frame, i === place);
    }
    return model;
  }

  private show(place: number): M | null {
    const entry = this.kept[place];
    if (!entry) return null;
    this.at = entry.index;
    return this.modelAt(place);
  }

  /** Stop at the newest entry. */
  pause(): M | null {
    return this.show(this.kept.length - 1);
  }

  /** The picture at that time of the page's clock: the last entry not after it, or the oldest. */
  seek(at: number): M | null {
    let lo = 0;
    let hi = this.kept.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (this.kept[mid]!.at <= at) lo = mid + 1;
      else hi = mid;
    }
    return this.show(Math.max(0, lo - 1));
  }

  /**
   * n entries on (or back) from the one shown. With `changes`, entries in which
   * nothing happened are passed over. Stops at both ends.
   */
  step(n: number, opts: { changes?: boolean } = {}): M | null {
    if (this.kept.length === 0) return null;
    const last = this.kept.length - 1;
    let place = this.at === null ? last : this.place(this.at);
    const dir = Math.sign(n);
    for (let left = Math.abs(n); left > 0; left--) {
      let next = place + dir;
      while (opts.changes && next > 0 && next < last && !this.kept[next]!.changed) next += dir;
      if (next < 0 || next > last) break;
      place = next;
    }
    return this.show(place);
  }

  /** Back to what comes in. */
  live(): void {
    this.at = null;
  }

  clear(): void {
    this.kept = [];
    this.total = 0;
    this.lastModelAt = -Infinity;
    this.at = null;
  }
}
