import { describe, expect, it } from "vitest";
import { budget, Drawer } from "./drawer";

/** A screen that takes `cost` ms for a KiB. */
function setup(cost: number) {
  let now = 0;
  let frames: (() => void)[] = [];
  const writes: { bytes: Uint8Array; done: () => void }[] = [];
  const drawn: number[] = [];
  const slices: { bytes: number; ms: number }[] = [];
  let seen = "";
  const drawer = new Drawer(
    { write: (bytes, done) => writes.push({ bytes, done }) },
    {
      now: () => now,
      frame(run) {
        frames.push(run);
        return () => (frames = frames.filter((f) => f !== run));
      },
    },
    (n) => drawn.push(n),
  );
  /** One frame: its slice is asked for, then drawn. */
  const frame = (draw = true) => {
    const run = frames.shift();
    if (!run) return false;
    run();
    if (draw) work();
    return true;
  };
  const work = () => {
    const begin = now;
    let size = 0;
    for (const w of writes.splice(0)) {
      now += (w.bytes.length / 1024) * cost;
      size += w.bytes.length;
      if (seen.length < 1000) seen += new TextDecoder().decode(w.bytes);
      w.done();
    }
    slices.push({ bytes: size, ms: now - begin });
  };
  return { drawer, frame, work, drawn, slices, waiting: () => frames.length, seen: () => seen };
}

const bytes = (n: number) => new Uint8Array(n).fill(97);
const text = (s: string) => new TextEncoder().encode(s);

describe("the drawer", () => {
  it("writes nothing outside a frame, and says what is drawn afterwards", () => {
    const t = setup(0);
    t.drawer.push(text("hello "));
    t.drawer.push(text("world"));
    expect(t.waiting()).toBe(1);
    t.frame(false);
    expect(t.drawn).toEqual([]);
    t.work();
    expect(t.seen()).toBe("hello world");
    expect(t.drawn).toEqual([11]);
    expect(t.waiting()).toBe(0);
  });

  it.each([0.02, 0.3, 2])("keeps to its budget when a KiB costs %d ms", (cost) => {
    const t = setup(cost);
    for (let i = 0; i < 128; i++) t.drawer.push(bytes(32 * 1024));
    while (t.frame());
    const later = t.slices.slice(20, -1);
    expect(later.length).toBeGreaterThan(5);
    // A slice has bounds of its own, and is corrected by the next.
    expect(Math.max(...later.map((s) => s.ms))).toBeLessThanOrEqual(budget * 1.01);
    expect(t.drawn.reduce((a, b) => a + b, 0)).toBe(128 * 32 * 1024);
  });

  it("has one slice on its way at a time", () => {
    const t = setup(1);
    t.drawer.push(bytes(100 * 1024));
    t.frame(false);
    t.drawer.push(bytes(1024));
    expect(t.waiting()).toBe(0);
    t.work();
    expect(t.waiting()).toBe(1);
  });

  it("puts notes in their place and does not count them", () => {
    const t = setup(0);
    t.drawer.push(text("a"));
    t.drawer.note("[lost]");
    t.drawer.push(text("b"));
    t.frame();
    expect(t.seen()).toBe("a[lost]b");
    expect(t.drawn).toEqual([2]);
  });

  it("forgets what waits, and does not count what was on its way", () => {
    const t = setup(0);
    t.drawer.push(bytes(40 * 1024));
    t.frame(false);
    t.drawer.clear();
    t.drawer.push(text("new"));
    t.work();
    expect(t.drawn).toEqual([]);
    while (t.frame());
    expect(t.drawn).toEqual([3]);
  });
});
