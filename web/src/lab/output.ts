// What the learner's program wrote: the latest 64 KiB of its newest run.
// Messages say at which byte they begin, and may say again what came before
// (after a reconnect): nothing is shown twice.

import type { Output } from "../net/messages";

export const mostOutput = 64 * 1024; // bytes

interface Chunk {
  readonly at: number;
  readonly bytes: Uint8Array;
  /** The server put U+FFFD for what is no UTF-8: there are more bytes here than the program wrote. */
  readonly mended: boolean;
}

/** OutputLog never changes: `add` gives the next one. */
export class OutputLog {
  static readonly empty = new OutputLog(0, "", 0, []);

  private constructor(
    /** Number of the run, from 1; 0 before the first. */
    readonly run: number,
    readonly text: string,
    /** Bytes of this run that are not in `text`: the server or this page let them go. */
    readonly lost: number,
    private readonly chunks: readonly Chunk[],
  ) {}

  add(m: Pick<Output, "run" | "at" | "text" | "lost">): OutputLog {
    if (m.run < this.run) return this; // of a run that is over
    const before = m.run === this.run ? this : OutputLog.empty;
    // A message is true from its first byte on; what was said of these bytes goes.
    const kept = before.chunks
      .filter((c) => c.at < m.at)
      .map((c, i, all) => upTo(c, m.at, i === all.length - 1));
    const chunks = [...kept, { at: m.at, bytes: encoder.encode(m.text), mended: m.text.includes("\uFFFD") }];
    let size = chunks.reduce((n, c) => n + c.bytes.length, 0);
    let trimmed = 0;
    while (size > mostOutput) {
      const first = chunks[0]!;
      const over = Math.min(size - mostOutput, first.bytes.length);
      if (over === first.bytes.length) chunks.shift();
      else chunks[0] = { ...first, at: first.at + over, bytes: first.bytes.subarray(over) };
      size -= over;
      trimmed += over;
    }
    const missing = kept.length === 0 ? Math.max(m.lost, m.at) : before.lost + m.lost;
    return new OutputLog(m.run, decoded(chunks), missing + trimmed, chunks);
  }
}

const encoder = new TextEncoder();

// The end of a mended chunk is not known; what follows the last one follows it.
function upTo(c: Chunk, at: number, last: boolean): Chunk {
  if (c.at + c.bytes.length <= at || (last && c.mended)) return c;
  return { ...c, bytes: c.bytes.subarray(0, at - c.at) };
}

function decoded(chunks: readonly Chunk[]): string {
  const all = new Uint8Array(chunks.reduce((n, c) => n + c.bytes.length, 0));
  let at = 0;
  for (const c of chunks) {
    all.set(c.bytes, at);
    at += c.bytes.length;
  }
  // A cut may have gone through a character.
  let from = 0;
  while (from < Math.min(3, all.length) && (all[from]! & 0xc0) === 0x80) from++;
  return new TextDecoder().decode(all.subarray(from));
}
