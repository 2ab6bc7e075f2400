// The last minute, frame by frame. What was shown can be shown again exactly:
// from the nearest kept model, the same bytes are applied in the same order.
import { decodeEpoll } from "../wire/epoll";
import { Flag } from "../wire/header";
import { applyFrame, type Applied, type EpollModel } from "./epoll";

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

interface Kept extends HistoryEntry {
  frame: ArrayBuffer;
  /** Kept once a second; the others are replayed from the one before. */
  model: EpollModel | null;
  bytes: number;
}

// Estimates: the map and shape of a model, whose rows are shared with its
// neighbours; glyph rows, which are not.
function modelBytes(m: EpollModel): number {
  return m.nodes.size * 140 + (m.glyphs?.length ?? 0) * 200;
}

/** The last 60 s of frames, at most 64 MB. Holds no clock. */
export class History {
  private readonly seconds: number;
  private readonly limit: number;
  private kept: Kept[] = [];
  private total = 0;
  private nextIndex = 0;
  private lastModelAt = -Infinity;
  private at: number | null = null; // index of the entry shown; null while live

  constructor(opts: { seconds?: number; bytes?: number } = {}) {
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
  push(frame: ArrayBuffer, applied: Applied, at: number): void {
    if (applied.problem) return;
    const f = applied.frame;
    const keep = this.kept.length === 0 || at - this.lastModelAt >= 1000;
    if (keep) this.lastModelAt = at;
    const changed =
      f.nodes !== null ||
      f.gone !== null ||
      f.glyphs !== null ||
      f.ready !== null ||
      f.overflow !== null ||
      f.waiters !== null ||
      (f.transitions?.length ?? 0) > 0;
    const bytes = frame.byteLength + (keep ? modelBytes(applied.model) : 0);
    this.kept.push({
      index: this.nextIndex++,
      at,
      time: f.header.time,
      sequence: f.header.sequence,
      key: (f.header.flags & Flag.key) !== 0,
      changed,
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
        const cost = modelBytes(next.model);
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

  private modelAt(place: number): EpollModel {
    let from = place;
    while (!this.kept[from]!.model) from--;
    let model = this.kept[from]!.model!;
    for (let i = from + 1; i <= place; i++) {
      model = applyFrame(model, decodeEpoll(this.kept[i]!.frame), i === place).model;
    }
    return model;
  }

  private show(place: number): EpollModel | null {
    const entry = this.kept[place];
    if (!entry) return null;
    this.at = entry.index;
    return this.modelAt(place);
  }

  /** Stop at the newest entry. */
  pause(): EpollModel | null {
    return this.show(this.kept.length - 1);
  }

  /** The picture at that time of the page's clock: the last entry not after it, or the oldest. */
  seek(at: number): EpollModel | null {
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
  step(n: number, opts: { changes?: boolean } = {}): EpollModel | null {
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
