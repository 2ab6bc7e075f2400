import { describe, expect, test } from "vitest";
import { diffModels } from "../model/diff";
import type { EpollModel } from "../model/epoll";
import { linkedModel } from "../model/linked";
import { ClrsTree } from "../testing/clrs";
import { modelOf, optionsFor, randomTree } from "../testing/scenes";
import { NodeFlag } from "../wire/epoll";
import { buildEpollScene } from "./epoll";
import { Motion, STAGES } from "./tween";
import type { Scene } from "./types";

function treeOf(keys: readonly number[]): ClrsTree {
  const t = new ClrsTree();
  keys.forEach((k, i) => t.insert(i + 1, k));
  return t;
}

function scene(m: EpollModel): Scene {
  return buildEpollScene(m, optionsFor(m));
}

function node(s: Scene, id: number): Scene["nodes"][number] {
  return s.nodes.find((n) => n.id === id)!;
}

/** Two pictures and a motion between them that starts at 0. */
function move(
  before: EpollModel,
  after: EpollModel,
  reduced = false,
): { motion: Motion; a: Scene; b: Scene } {
  const motion = new Motion({ reduced });
  const a = scene(before);
  const b = scene(after);
  motion.to(a, null, -1000);
  motion.to(b, diffModels(before, after), 0);
  return { motion, a, b };
}

describe("an insertion that rotates", () => {
  const t = treeOf([10, 20]);
  const before = modelOf(t);
  t.insert(3, 30);
  const after = modelOf(t);

  test("is told in stages: highlight, move, recolour", () => {
    const { motion, a, b } = move(before, after);
    expect(motion.manner).toBe("staged");
    expect(motion.duration).toBe(STAGES.highlight + STAGES.move + STAGES.recolour);

    const lit = structuredClone(motion.at(STAGES.highlight - 1));
    expect(node(lit, 2).x).toBe(node(a, 2).x); // nothing moves yet
    const ring = lit.rings.find((r) => r.id === 2);
    expect(ring).toMatchObject({ tone: "accent" });
    expect(ring!.alpha).toBeGreaterThan(0.9); // the pivot glows

    const mid = structuredClone(motion.at(STAGES.highlight + STAGES.move / 2));
    expect(node(mid, 2).y).toBeLessThan(node(a, 2).y);
    expect(node(mid, 2).y).toBeGreaterThan(node(b, 2).y);
    expect(node(mid, 2).tone).toBe("black");
    expect(node(mid, 2).mix).toBe(0); // still in its old colour
    expect(node(mid, 2).was).toBe("red");

    const late = structuredClone(motion.at(STAGES.highlight + STAGES.move + STAGES.recolour / 2));
    expect(node(late, 2).y).toBe(node(b, 2).y);
    expect(node(late, 2).mix).toBeCloseTo(0.5, 1);

    expect(motion.moving(motion.duration - 1)).toBe(true);
    expect(motion.at(motion.duration)).toBe(b);
    expect(motion.moving(motion.duration)).toBe(false);
  });

  test("the new node comes out of its parent", () => {
    const { motion, a } = move(before, after);
    const first = structuredClone(motion.at(0));
    expect(node(first, 3)).toMatchObject({ x: node(a, 2).x, y: node(a, 2).y, r: 0, alpha: 0 });
  });

  test("the same times give the same pictures, in any order", () => {
    const times = [0, 50, 119, 200, 333, 470, 500, 619];
    const one = move(before, after).motion;
    const forward = times.map((at) => JSON.stringify(one.at(at)));
    const two = move(before, after).motion;
    const backward = [...times].reverse().map((at) => JSON.stringify(two.at(at)));
    expect(backward.reverse()).toEqual(forward);
  });

  test("never invents a node, and edges stay at their ends", () => {
    const { motion } = move(before, after);
    for (let at = 0; at < motion.duration; at += 20) {
      const s = motion.at(at);
      expect(s.nodes.map((n) => n.id).sort()).toEqual([1, 2, 3]);
      for (const e of s.edges) {
        // The upper end turns from one of the other nodes to another.
        const xs = s.nodes.filter((n) => n.id !== e.id).map((n) => n.x);
        expect(e.x1).toBeGreaterThanOrEqual(Math.min(...xs) - 0.01);
        expect(e.x1).toBeLessThanOrEqual(Math.max(...xs) + 0.01);
        const child = node(s, e.id);
        expect(Math.hypot(e.x2 - child.x, e.y2 - child.y)).toBeLessThan(0.01);
      }
    }
  });

  test("reduced motion: it flashes in its place", () => {
    const { motion, b } = move(before, after, true);
    expect(motion.manner).toBe("flash");
    const s = motion.at(100);
    expect(s.nodes).toEqual(b.nodes);
    expect(s.rings.filter((r) => r.tone === "accent").map((r) => r.id)).toEqual(expect.arrayContaining([3]));
    expect(motion.at(1000)).toBe(b);
    expect(motion.moving(1000)).toBe(false);
  });

  test("numbers that change during the motion do not disturb it", () => {
    const { motion } = move(before, after);
    const x = node(structuredClone(motion.at(250)), 2).x;
    const again = scene(after);
    motion.to(again, diffModels(after, after), 250);
    expect(node(motion.at(250), 2).x).toBe(x);
    expect(motion.at(5000)).toBe(again);
  });

  test("hovering during the motion does not end it", () => {
    const { motion } = move(before, after);
    const x = node(structuredClone(motion.at(250)), 2).x;
    motion.replace(buildEpollScene(after, optionsFor(after, { hovered: 1 })));
    const s = motion.at(250);
    expect(node(s, 2).x).toBe(x);
    expect(s.rings.some((r) => r.id === 1)).toBe(true);
  });

  test("panning ends it", () => {
    const { motion } = move(before, after);
    const panned = buildEpollScene(after, optionsFor(after, { viewport: { lo: -3, hi: 7 } }));
    motion.replace(panned);
    expect(motion.at(100)).toBe(panned);
  });

  test("a change that comes during the motion starts from what is seen", () => {
    const { motion } = move(before, after);
    const seen = structuredClone(motion.at(300));
    const t2 = treeOf([10, 20, 30, 40]);
    const next = modelOf(t2);
    motion.to(scene(next), diffModels(after, next), 300);
    const s = motion.at(300);
    for (const n of seen.nodes) {
      expect(node(s, n.id).x).toBeCloseTo(n.x, 6);
      expect(node(s, n.id).y).toBeCloseTo(n.y, 6);
    }
    for (const e of seen.edges) {
      const now = s.edges.find((x) => x.id === e.id)!;
      expect([now.x1, now.y1]).toEqual([expect.closeTo(e.x1, 6), expect.closeTo(e.y1, 6)]);
    }
  });
});

describe("an insertion told from the link on", () => {
  const t = treeOf([30, 10]);
  const before = modelOf(t);
  t.insert(3, 20); // double rotation: the new node becomes the root
  const after = modelOf(t);
  const diff = diffModels(before, after);
  const linked = linkedModel(before, after, diff)!;

  function begin(): { motion: Motion; b: Scene; via: Scene } {
    const motion = new Motion();
    motion.to(scene(before), null, -1000);
    const b = scene(after);
    const via = scene(linked);
    motion.to(b, diff, 0, via);
    return { motion, b, via };
  }

  test("the tree between holds the new node red, as a leaf where its key belongs", () => {
    expect(linked.inOrder()).toEqual([2, 3, 1]);
    expect(linked.node(3)).toMatchObject({ parent: 2, left: 0, right: 0 });
    expect(linked.node(3)!.flags & NodeFlag.black).toBe(0);
    expect(linked.node(2)!.right).toBe(3);
    expect(before.node(2)!.right).toBe(0);
  });

  test("it is seen before anything turns, then the rotation follows", () => {
    const { motion, b, via } = begin();
    const hung = structuredClone(motion.at(STAGES.link - 0.001));
    expect(node(hung, 3).x).toBeCloseTo(node(via, 3).x, 1);
    expect(node(hung, 3).y).toBeCloseTo(node(via, 3).y, 1);
    expect(node(hung, 3).tone).toBe("red");
    const lit = structuredClone(motion.at(STAGES.link + STAGES.highlight - 1));
    expect(node(lit, 3).y).toBe(node(via, 3).y);
    expect(lit.rings.find((r) => r.id === 3)!.alpha).toBeGreaterThan(0.9);
    const turned = structuredClone(motion.at(STAGES.link + STAGES.highlight + STAGES.move + 1));
    expect(node(turned, 3).y).toBe(node(b, 3).y);
    expect(node(turned, 3).was).toBe("red");
    expect(node(turned, 3).mix).toBeLessThan(0.5);
    expect(motion.moving(STAGES.link + 1)).toBe(true);
    expect(motion.at(2000)).toBe(b);
    expect(motion.moving(2000)).toBe(false);
  });

  test("new numbers during the link stage wait for its end", () => {
    const { motion } = begin();
    motion.at(100);
    const again = scene(after);
    motion.to(again, diffModels(after, after), 100);
    expect(node(motion.at(100), 3).alpha).toBeLessThan(1);
    expect(motion.at(2000)).toBe(again);
  });

  test("an insertion that ends with the link, or more than one, has no picture between", () => {
    const plain = treeOf([20, 10]);
    const a = modelOf(plain);
    plain.insert(3, 30);
    const b = modelOf(plain);
    expect(linkedModel(a, b, diffModels(a, b))).toBeNull();
    plain.insert(4, 40);
    plain.insert(5, 50);
    const c = modelOf(plain);
    expect(linkedModel(b, c, diffModels(b, c))).toBeNull();
    const first = modelOf(treeOf([1]));
    const none = modelOf(treeOf([]));
    expect(linkedModel(none, first, diffModels(none, first))).toBeNull();
  });
});

describe("an erasure", () => {
  test("shrinks in place and is gone", () => {
    const t = treeOf([20, 10, 30]);
    const before = modelOf(t);
    t.erase(3);
    const { motion, a, b } = move(before, modelOf(t));
    const mid = motion.at(STAGES.move / 2);
    const dying = node(mid, 3);
    expect(dying.x).toBe(node(a, 3).x);
    expect(dying.r).toBeLessThan(18);
    expect(dying.r).toBeGreaterThan(0);
    const beside = mid.texts.filter((w) => w.id === 3);
    expect(beside.map((w) => w.text)).toEqual(a.texts.filter((w) => w.id === 3).map((w) => w.text));
    for (const w of beside) expect(w.alpha).toBe(dying.alpha);
    expect(motion.at(STAGES.move + STAGES.recolour)).toBe(b);
    expect(b.nodes.some((n) => n.id === 3)).toBe(false);
  });
});

describe("an item that becomes ready", () => {
  const t = randomTree(15);
  const idle = modelOf(t);
  const ready = modelOf(t, [4]);

  test("travels from the tree into rdllist", () => {
    const { motion, a, b } = move(idle, ready);
    const start = structuredClone(motion.at(0)).pills[0]!;
    expect([start.x, start.y]).toEqual([node(a, 4).x, node(a, 4).y]);
    const mid = structuredClone(motion.at(STAGES.move / 2)).pills[0]!;
    expect(mid.y).toBeGreaterThan(start.y);
    expect(mid.y).toBeLessThan(b.pills[0]!.y);
    expect(mid.alpha).toBe(1);
    expect(motion.at(STAGES.move).pills).toEqual(b.pills);
  });

  test("and back", () => {
    const { motion, a, b } = move(ready, idle);
    const start = structuredClone(motion.at(0)).pills[0]!;
    expect(start).toMatchObject({ x: a.pills[0]!.x, y: a.pills[0]!.y, alpha: 1 });
    const late = structuredClone(motion.at(STAGES.move - 1)).pills[0]!;
    expect(Math.hypot(late.x - node(b, 4).x, late.y - node(b, 4).y)).toBeLessThan(5);
    expect(motion.at(STAGES.move).pills).toEqual([]);
  });

  test("whose place in the lane says that it is empty only when it has left", () => {
    const { motion, a } = move(ready, idle);
    const at = a.pills[0]!;
    const word = (s: Scene) => s.texts.find((w) => w.id === 0 && w.y === at.y && w.x < at.x + at.w)!;
    expect(word(motion.at(STAGES.move / 2)).alpha).toBe(0);
    expect(word(motion.at(STAGES.move)).alpha).toBe(1);
  });
});

describe("too much to follow", () => {
  test("above 4,096 items nothing moves", () => {
    const t = randomTree(4200);
    const before = modelOf(t);
    t.insert(5000, 17.5);
    const { motion, b } = move(before, modelOf(t));
    expect(motion.manner).toBe("flash");
    expect(motion.at(10).nodes).toBe(b.nodes);
  });

  test("above 20 changes a second things flash, at most three times a second", () => {
    const motion = new Motion();
    const t = randomTree(30);
    let before = modelOf(t);
    motion.to(scene(before), null, 0);
    const starts = new Set<string>();
    let flashes = 0;
    let manner = "";
    for (let i = 0; i < 60; i++) {
      const now = 10 + i * 33;
      t.insert(100 + i, i + 0.5);
      const after = modelOf(t);
      motion.to(scene(after), diffModels(before, after), now);
      before = after;
      manner = motion.manner;
      const s = motion.at(now);
      if (manner !== "flash") continue;
      const lit = s.rings.filter((r) => r.tone === "accent");
      const key = lit
        .map((r) => r.id)
        .sort()
        .join(",");
      if (lit.length > 0 && !starts.has(key)) {
        starts.add(key);
        flashes++;
      }
    }
    expect(manner).toBe("flash");
    expect(flashes).toBeGreaterThan(1);
    expect(flashes).toBeLessThanOrEqual(6); // two seconds
  });

  test("the first picture, and a jump in time, stand at once", () => {
    const motion = new Motion();
    const a = scene(modelOf(randomTree(5)));
    motion.to(a, null, 0);
    expect(motion.at(0)).toBe(a);
    expect(motion.moving(0)).toBe(false);
  });
});
