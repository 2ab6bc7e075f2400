// Output to the terminal in slices, one an animation frame, so that a program
// that prints for ever leaves time for the stage. How much a slice holds
// follows from how long the last one took.

export interface Sink {
  /** write draws bytes some time later, in order, and calls `done`. */
  write(bytes: Uint8Array<ArrayBuffer>, done: () => void): void;
}

export interface Clock {
  now(): number; // ms
  /** frame runs before the next picture, or a little later while there is none. */
  frame(run: () => void): () => void; // returns a cancel
}

export const budget = 6; // ms of a frame
const leastSlice = 2 * 1024;
const mostSlice = 128 * 1024;
const nothing = new Uint8Array(0);
const encoder = new TextEncoder();

interface Part {
  bytes: Uint8Array<ArrayBuffer>;
  counts: number; // bytes of the terminal's output in it
}

export class Drawer {
  private queue: Part[] = [];
  private slice = 16 * 1024;
  private generation = 0;
  private busy = false; // a frame is asked for, or a slice is being drawn
  private cancel: (() => void) | null = null;

  constructor(
    private readonly sink: Sink,
    private readonly clock: Clock,
    private readonly drawn: (bytes: number) => void,
  ) {}

  push(bytes: Uint8Array<ArrayBuffer>): void {
    this.add({ bytes, counts: bytes.length });
  }

  /** note is drawn in its turn, and is none of the output. */
  note(text: string): void {
    this.add({ bytes: encoder.encode(text), counts: 0 });
  }

  /** clear forgets what waits; what is being drawn is not counted. */
  clear(): void {
    this.generation++;
    this.queue = [];
    this.busy = false;
    this.cancel?.();
    this.cancel = null;
  }

  private add(part: Part): void {
    this.queue.push(part);
    if (!this.busy) this.ask();
  }

  private ask(): void {
    this.busy = true;
    this.cancel = this.clock.frame(() => this.draw());
  }

  private draw(): void {
    this.cancel = null;
    const generation = this.generation;
    const parts = this.take(this.slice);
    const size = sum(parts.map((p) => p.bytes.length));
    const counts = sum(parts.map((p) => p.counts));
    // The sink works later: its own time runs from an empty write to the last one.
    let start = 0;
    this.sink.write(nothing, () => (start = this.clock.now()));
    parts.forEach((part, i) => {
      this.sink.write(part.bytes, () => {
        if (generation !== this.generation || i < parts.length - 1) return;
        if (size >= this.slice) this.learn(this.clock.now() - start);
        this.busy = false;
        if (counts > 0) this.drawn(counts);
        if (this.queue.length > 0 && !this.busy) this.ask();
      });
    });
  }

  private take(most: number): Part[] {
    const parts: Part[] = [];
    for (let left = most; left > 0 && this.queue.length > 0;) {
      const { bytes, counts } = this.queue[0]!;
      if (counts === 0 || bytes.length <= left) {
        parts.push(this.queue.shift()!);
        left -= bytes.length;
        continue;
      }
      this.queue[0] = { bytes: bytes.subarray(left), counts: counts - left };
      parts.push({ bytes: bytes.subarray(0, left), counts: left });
      left = 0;
    }
    return parts;
  }

  private learn(took: number): void {
    const factor = Math.min(1.5, Math.max(0.25, budget / Math.max(took, 0.1)));
    this.slice = Math.round(Math.min(mostSlice, Math.max(leastSlice, this.slice * factor)));
  }
}

function sum(numbers: number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
