// What frames of every kind share beyond the header: the truth row, fixed text,
// and the checks of their sections.
import { FrameError, parseSections, u64, type Header, type Section } from "./header";

/** Size of a truth row, in bytes. */
export const TRUTH_ROW_SIZE = 88;

/** How a snapshot was made and how far it can be trusted. Times are ns. */
export interface Truth {
  /** CLOCK_MONOTONIC when the read ended. */
  readonly at: number;
  /** Time in the kernel for this sample, retries included. */
  readonly read: number;
  /** Time spent checking it. */
  readonly check: number;
  /** From `at` until the frame was made. */
  readonly age: number;
  readonly samples: number;
  /** Snapshots that broke an invariant and were read again. */
  readonly torn: number;
  /** Samples that no retry made whole. */
  readonly marked: number;
  /** Transitions counted in the kernel but lost on their way. */
  readonly lost: number;
  /** Frames dropped before they reached the page, as the server counts them. */
  readonly skipped: number;
  /** Share of one CPU, 0..1. */
  readonly cost: number;
  /** Index into the view's tiers. */
  readonly tier: number;
  /** All invariants hold. */
  readonly whole: boolean;
  /** Number of the invariant that did not hold; 0 if whole. */
  readonly broken: number;
  /** Proved to be the state at one instant. */
  readonly instant: boolean;
  /** Event programs are attached to the kernel for this watch. */
  readonly attached: boolean;
}

const utf8 = new TextDecoder();

/** NUL-padded UTF-8 of a fixed field. */
export function text(v: DataView, at: number, length: number): string {
  let n = 0;
  while (n < length && v.getUint8(at + n) !== 0) n++;
  return utf8.decode(new Uint8Array(v.buffer, v.byteOffset + at, n));
}

/** A copy, so that a row does not keep its whole frame in memory. */
export function bytes(v: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(v.buffer, v.byteOffset + at, length).slice();
}

/** Reads a row of SectionTruth. */
export function truthRow(v: DataView, at: number): Truth {
  return {
    at: u64(v, at),
    read: u64(v, at + 8),
    check: u64(v, at + 16),
    age: u64(v, at + 24),
    samples: u64(v, at + 32),
    torn: u64(v, at + 40),
    marked: u64(v, at + 48),
    lost: u64(v, at + 56),
    skipped: u64(v, at + 64),
    cost: v.getUint32(at + 72, true) / 1e6,
    tier: v.getUint8(at + 76),
    whole: v.getUint8(at + 77) === 1,
    broken: v.getUint8(at + 78),
    instant: v.getUint8(at + 79) === 1,
    attached: v.getUint8(at + 80) === 1,
  };
}

/** Every row of a section; null if the frame has none such. */
export function rows<T>(
  v: DataView,
  s: Section | undefined,
  read: (v: DataView, at: number) => T,
): T[] | null {
  if (!s) return null;
  const out = new Array<T>(s.count);
  for (let i = 0; i < s.count; i++) out[i] = read(v, s.offset + i * s.rowSize);
  return out;
}

/**
 * The sections of a frame by type. Types that are not in `sizes` are of a later
 * server and passed over. Throws FrameError where a known section has rows of
 * another size or stands twice, or where the header counts other rows.
 */
export function sectionsByType(
  v: DataView,
  header: Header,
  sizes: Readonly<Record<number, number>>,
): Map<number, Section> {
  const byType = new Map<number, Section>();
  let total = 0;
  for (const s of parseSections(v)) {
    total += Math.max(1, s.count);
    const want = sizes[s.type];
    if (want === undefined) continue; // of a later server: nothing of ours
    // A section without rows only says that its list is empty.
    if (s.count > 0 && s.rowSize !== want) {
      throw new FrameError("section", `section ${s.type} has rows of ${s.rowSize} bytes, want ${want}`);
    }
    if (byType.has(s.type)) throw new FrameError("section", `section ${s.type} stands twice`);
    byType.set(s.type, s);
  }
  // Without this a frame cut off between two sections would pass.
  if (total !== header.rows) {
    throw new FrameError("rows", `the header counts ${header.rows} rows, the sections hold ${total}`);
  }
  return byType;
}
