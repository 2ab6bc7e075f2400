import { describe, expect, it } from "vitest";
import { Flag } from "../core";
import type { View } from "../net/messages";
import { rowsOf, writeFrame } from "../testing/frames";
import { goldenBytes } from "../testing/golden";
import { randomTree, WORDS } from "../testing/scenes";
import { Stage } from "./stage";

/** A stage 1200 px wide, with a clock that the test moves. */
function setup() {
  let now = 1000;
  let sequence = 0;
  const views: View[] = [];
  let keys = 0;
  const stage = new Stage(
    {
      now: () => now,
      watch: (v) => views.push(v),
      key: () => keys++,
      dirty: () => {},
      words: () => WORDS,
    },
    true,
  );
  stage.resize(1200, 600);
  const key = (n: number) => {
    const tree = randomTree(n);
    const root = rowsOf(tree).find((r) => r.parent === 0)?.id ?? 0;
    return writeFrame({ sequence: ++sequence, flags: Flag.key, nodes: rowsOf(tree), root, items: n });
  };
  return {
    stage,
    views,
    keys: () => keys,
    advance: (ms: number) => (now += ms),
    now: () => now,
    push: (n: number) => stage.push(key(n)),
    skip: () => sequence++,
  };
}

const drawn = (s: Stage, now: number) => s.at(now)?.nodes.length;

describe("stage", () => {
  it("asks for the whole tree at its width, once", () => {
    const t = setup();
    expect(t.views).toEqual([{ lo: 0, hi: 0, px: 1200 }]);
    t.push(31);
    t.stage.resize(900, 600);
    t.advance(500);
    t.stage.at(t.now());
    expect(t.views).toHaveLength(1);
  });

  it("shows what comes while live, and the viewport grows with the tree", () => {
    const t = setup();
    t.push(5);
    expect(drawn(t.stage, t.now())).toBe(5);
    t.push(31);
    expect(drawn(t.stage, t.now())).toBe(31);
    expect(t.stage.linkView).toBeNull();
  });

  it("holds the picture while paused, steps by changes, and goes back to live", () => {
    const t = setup();
    for (const n of [3, 5, 5, 9]) {
      t.push(n);
      t.advance(100);
    }
    t.stage.pause();
    t.push(20);
    expect([t.stage.mode, t.stage.model.items]).toEqual(["paused", 9]);
    t.stage.step(-1);
    expect(t.stage.model.items).toBe(5);
    t.stage.step(1);
    expect(t.stage.model.items).toBe(9);
    expect(t.stage.behind).toBeGreaterThan(0);
    t.stage.live();
    expect([t.stage.mode, t.stage.model.items, t.stage.behind]).toEqual(["live", 20, 0]);
  });

  it("plays from where it stands until it is live", () => {
    const t = setup();
    for (const n of [3, 5, 9]) {
      t.push(n);
      t.advance(1000);
    }
    t.stage.seek(1000);
    expect(t.stage.model.items).toBe(3);
    t.stage.playAt(2);
    t.advance(500);
    t.stage.at(t.now());
    expect([t.stage.mode, t.stage.model.items]).toEqual(["replay", 5]);
    t.advance(1000);
    t.stage.at(t.now());
    expect([t.stage.mode, t.stage.model.items]).toEqual(["live", 9]);
  });

  it("plays backwards to the oldest picture and stops there", () => {
    const t = setup();
    for (const n of [3, 5, 9]) {
      t.push(n);
      t.advance(1000);
    }
    t.stage.playAt(-1);
    t.advance(5000);
    t.stage.at(t.now());
    expect([t.stage.mode, t.stage.model.items]).toEqual(["paused", 3]);
  });

  it("applies a link once the tree is known, and not again", () => {
    const t = setup();
    t.stage.begin(10, { lo: 4, hi: 20 });
    t.push(31);
    expect(t.stage.model.brief(t.stage.focused)?.fd).toBe(10);
    expect(t.stage.linkView).toEqual({ lo: 4, hi: 20 });
    t.stage.focus(0);
    t.stage.fit();
    t.push(40);
    expect([t.stage.focused, t.stage.linkView]).toEqual([0, null]);
  });

  it("lets go of a focused node that left the tree", () => {
    const t = setup();
    t.push(9);
    expect(t.stage.findFd(8)).toBe(true);
    t.push(5);
    expect(t.stage.focused === 0 || t.stage.model.node(t.stage.focused) !== undefined).toBe(true);
    expect(t.stage.findFd(99_999)).toBe(false);
  });

  it("asks for a part of a large tree, at most ten times a second", () => {
    const t = setup();
    t.stage.push(writeFrame({ sequence: 1, flags: Flag.key | Flag.glyphs, items: 100_000, glyphs: [] }));
    t.advance(200);
    for (let i = 0; i < 5; i++) {
      t.stage.zoom(2, 600);
      t.stage.at(t.now());
    }
    const asked = t.views.length;
    expect(asked).toBeLessThanOrEqual(2);
    expect(t.stage.active(t.now())).toBe(true);
    t.advance(100);
    t.stage.at(t.now());
    const last = t.views.at(-1)!;
    expect(t.views.length).toBeGreaterThan(asked - 1);
    expect(last.hi - last.lo).toBeLessThan(100_000 / 4);
    expect(last.px).toBeGreaterThan(0);
  });

  it("asks for a key frame after a gap, and counts it over reconnects", () => {
    const t = setup();
    t.push(5);
    t.skip();
    t.stage.push(writeFrame({ sequence: 3, items: 6 }));
    expect(t.keys()).toBe(1);
    expect(t.stage.skipped).toBe(1);
    t.stage.reconnected();
    expect(t.stage.skipped).toBe(1);
  });
});

describe("transitions", () => {
  it("are kept in order and once, although a key frame repeats them", () => {
    const t = setup();
    t.stage.push(goldenBytes("key7"));
    const first = t.stage.transitions.map((r) => r.seq);
    expect(first.length).toBeGreaterThan(0);
    t.stage.push(goldenBytes("key7"));
    expect(t.stage.transitions.map((r) => r.seq)).toEqual(first);
    expect([...first].sort((a, b) => a - b)).toEqual(first);
    t.stage.reconnected();
    expect(t.stage.transitions).toEqual([]);
  });
});
