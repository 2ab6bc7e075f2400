import { describe, expect, test } from "vitest";
import { ClrsTree } from "../testing/clrs";
import { balancedGlyphs, keyFrame, random, rowsOf, writeFrame } from "../testing/frames";
import { goldenBytes } from "../testing/golden";
import type { NodeRow } from "../wire/epoll";
import { NodeFlag } from "../wire/epoll";
import { diffModels } from "./diff";
import type { EpollModel } from "./epoll";
import { EpollStream, shapeOf } from "./epoll";

function treeOf(keys: readonly number[]): ClrsTree {
  const t = new ClrsTree();
  keys.forEach((k, i) => t.insert(i + 1, k));
  return t;
}

function modelOf(t: ClrsTree): EpollModel {
  return new EpollStream().push(keyFrame(t, { sequence: 1 })).model;
}

describe("a stream of golden frames", () => {
  test("an empty tree", () => {
    const a = new EpollStream().push(goldenBytes("empty"));
    expect(a.problem).toBeNull();
    expect(a.model.items).toBe(0);
    expect(a.model.inOrder()).toEqual([]);
    expect(a.model.shape?.levels).toBe(0);
  });

  test("a key frame, a change, a torn frame, an erasure", () => {
    const s = new EpollStream();
    const first = s.push(goldenBytes("key7"));
    expect(first.problem).toBeNull();
    expect(first.diff.same).toBe(true); // the first picture is no change
    expect(first.model.inOrder()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect([1, 2, 4].map((id) => first.model.depth(id))).toEqual([2, 1, 0]);
    expect(first.model.ready.map((r) => r.fd)).toEqual([9, 7]);
    expect(first.model.waiters.map((w) => w.tid)).toEqual([4213, 4214]);

    const second = s.push(goldenBytes("delta"));
    expect(second.problem).toBeNull();
    expect(second.model.inOrder()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(second.diff.inserted).toEqual([8]);
    expect([...second.diff.recoloured].sort()).toEqual([5, 6, 7]);
    expect(second.diff.rotations).toEqual([]);
    expect(second.diff.steps?.map((x) => x.op)).toEqual(["link", "recolour", "recolour", "recolour"]);
    expect([...second.diff.unreadied].sort()).toEqual([3, 5]);
    expect(second.diff.woke).toEqual([4213]);
    expect(second.model.ready).toEqual([]);
    expect(second.model.overflow.map((r) => r.node)).toEqual([3]);
    expect(second.model.file(8)?.type).toBe("timerfd");
    expect(first.model.node(8)).toBeUndefined(); // the old model is as it was

    const torn = s.push(goldenBytes("torn"));
    expect(torn.problem).toBeNull();
    expect(torn.model.inOrder()).toEqual(second.model.inOrder());
    expect(torn.model.truth?.whole).toBe(false);
    expect(torn.model.stale).toEqual({ since: second.model.time, age: 33_000_000 + 1_200_000 });

    const truth = s.push(goldenBytes("truth"));
    expect(truth.model.stale).toBeNull();
    expect(truth.diff.same).toBe(true);

    const erase = s.push(goldenBytes("erase"));
    expect(erase.problem).toBeNull();
    expect(erase.diff.erased).toEqual([8]);
    expect(erase.diff.steps).toEqual([{ op: "unlink", node: 8, successor: 0 }]);
    expect(s.skipped).toBe(0);
  });

  test("glyphs of a large tree", () => {
    const { model, problem } = new EpollStream().push(goldenBytes("glyphs"));
    expect(problem).toBeNull();
    expect(model.items).toBe(1_000_000);
    expect(model.glyphs).toHaveLength(5);
    expect(model.overview).toBe(model.glyphs); // they cover every item
    expect(model.rank(500)).toBe(524_287);
    expect(model.brief(79)).toMatchObject({ fd: 12, count: 262_143 });
  });
});

describe("what a stream refuses", () => {
  const tree = treeOf([5, 6, 7]);
  const rows = rowsOf(tree);

  test("a change before any picture", () => {
    const a = new EpollStream().push(writeFrame({ sequence: 1, truthOnly: true }));
    expect(a.problem?.code).toBe("no-base");
    expect(a.needKey).toBe(true);
  });

  test("a change after a gap; it counts what is missing", () => {
    const s = new EpollStream();
    s.push(keyFrame(tree, { sequence: 1 }));
    const a = s.push(writeFrame({ sequence: 39, items: 3, root: tree.rootId }));
    expect(a).toMatchObject({ needKey: true, skipped: 37, problem: { code: "gap" } });
    expect(s.skipped).toBe(37);
    const b = s.push(keyFrame(tree, { sequence: 40 }));
    expect(b).toMatchObject({ needKey: false, skipped: 0, problem: null });
  });

  test("the jump to another view is no loss, the next one is", () => {
    const s = new EpollStream();
    s.push(keyFrame(tree, { sequence: 1 }));
    s.rewatch();
    expect(s.push(keyFrame(tree, { sequence: 500 })).skipped).toBe(0);
    expect(s.push(keyFrame(tree, { sequence: 502 })).skipped).toBe(1);
  });

  test("a sequence that wraps is no gap", () => {
    const s = new EpollStream();
    s.push(keyFrame(tree, { sequence: 0xffffffff }));
    expect(s.push(keyFrame(tree, { sequence: 0 })).skipped).toBe(0);
  });

  test("another generation without a key frame", () => {
    const s = new EpollStream();
    s.push(keyFrame(tree, { sequence: 1 }));
    const a = s.push(writeFrame({ sequence: 2, generation: 2, items: 3, root: tree.rootId }));
    expect(a.problem?.code).toBe("generation");
  });

  test.each<[string, (r: NodeRow) => NodeRow, RegExp]>([
    ["a child with another parent", (r) => (r.id === 1 ? { ...r, parent: 3 } : r), /has parent 3/],
    ["a missing child", (r) => (r.id === 3 ? { ...r, right: 99 } : r), /99, which is missing/],
    ["a root with a parent", (r) => (r.id === 2 ? { ...r, parent: 1 } : r), /root/],
    ["a node twice", (r) => (r.id === 2 ? { ...r, right: 1 } : r), /two places|parent/],
  ])("%s", (_, change, says) => {
    const s = new EpollStream();
    const good = s.push(keyFrame(tree, { sequence: 1 })).model;
    const a = s.push(keyFrame(tree, { sequence: 2, nodes: rows.map(change) }));
    expect(a.problem?.code).toBe("links");
    expect(a.problem?.message).toMatch(says);
    expect(a.model).toBe(good); // the picture stays
    expect(a.needKey).toBe(true);
  });

  test("a count that is not the instance's", () => {
    const a = new EpollStream().push(keyFrame(tree, { sequence: 1, items: 4 }));
    expect(a.problem?.code).toBe("count");
  });

  test("a first picture that is torn: its truth is told, no key frame asked for", () => {
    const broken = rows.map((r) => (r.id === 1 ? { ...r, parent: 3 } : r));
    const a = new EpollStream().push(keyFrame(tree, { sequence: 1, flags: 3, nodes: broken }));
    expect(a.problem?.code).toBe("links");
    expect(a.needKey).toBe(false);
    expect(a.model.truth?.whole).toBe(false);
    expect(a.model.nodes.size).toBe(0);
  });

  test("a ring of links ends the walk", () => {
    const ring = new Map<number, NodeRow>();
    const row = rows[0]!;
    ring.set(1, { ...row, id: 1, parent: 0, left: 2, right: 0 });
    ring.set(2, { ...row, id: 2, parent: 1, left: 1, right: 0 });
    expect(shapeOf(ring, 1)).toMatch(/parent|ring/);
  });
});

describe("the shape", () => {
  test("of 500 random keys is the sorted order, sizes and colours add up", () => {
    const rnd = random(3);
    const keys = Array.from({ length: 500 }, () => rnd());
    const t = treeOf(keys);
    const m = modelOf(t);
    const shape = m.shape!;
    const byKey = t
      .nodes()
      .sort((a, b) => a.key - b.key)
      .map((n) => n.id);
    expect(m.inOrder()).toEqual(byKey);
    expect(shape.size[shape.root]).toBe(500);
    expect(shape.red[shape.root]).toBe(t.nodes().filter((n) => n.red).length);
    expect(shape.levels).toBe(Math.max(...m.inOrder().map((id) => m.depth(id))) + 1);
    for (let r = 0; r < 500; r++) {
      const p = shape.parent[r]!;
      if (p >= 0) expect(shape.depth[r]).toBe(shape.depth[p]! + 1);
    }
  });

  test("membership alone has none; items are listed by fd", () => {
    const flat = rowsOf(treeOf([9, 5, 7]), () => ({ parent: 0, left: 0, right: 0 }));
    const s = new EpollStream();
    const a = s.push(writeFrame({ sequence: 1, flags: 1, membership: true, nodes: flat }));
    expect(a.problem).toBeNull();
    expect(a.model.shape).toBeNull();
    expect(a.model.inOrder().map((id) => a.model.node(id)!.fd)).toEqual([5, 7, 9]);
  });

  test("a list whose section is absent is unchanged, unless the instance says it is empty", () => {
    const t = treeOf([5]);
    const s = new EpollStream();
    s.push(keyFrame(t, { sequence: 1, ready: [{ node: 1, fd: 5 }] }));
    const kept = s.push(writeFrame({ sequence: 2, truthOnly: true }));
    expect(kept.model.ready).toHaveLength(1);
    const emptied = s.push(writeFrame({ sequence: 3, items: 1, root: 1 }));
    expect(emptied.model.ready).toHaveLength(0);
  });

  test("glyphs of a part keep the overview of the whole", () => {
    const s = new EpollStream();
    const whole = balancedGlyphs(100_000, 0, 100_000, 900);
    const part = balancedGlyphs(100_000, 5_000, 6_000, 900);
    const first = s.push(writeFrame({ sequence: 1, flags: 9, items: 100_000, depth: 17, glyphs: whole }));
    const second = s.push(writeFrame({ sequence: 2, flags: 9, items: 100_000, depth: 17, glyphs: part }));
    expect(second.model.glyphs).toHaveLength(part.length);
    expect(second.model.overview).toBe(first.model.glyphs);
  });
});

describe("rotations between two pictures", () => {
  function between(keys: readonly number[], then: (t: ClrsTree) => void): ReturnType<typeof diffModels> {
    const t = treeOf(keys);
    const before = modelOf(t);
    then(t);
    return diffModels(before, modelOf(t));
  }

  test("left, at the grandparent of the new node", () => {
    const d = between([10, 20], (t) => t.insert(3, 30));
    expect(d.rotations).toEqual([{ direction: "left", at: 1, pivot: 2 }]);
    expect(d.inserted).toEqual([3]);
    expect([...d.moved].map((m) => m.id).sort()).toEqual([1, 2]);
  });

  test("right, the mirror image", () => {
    const d = between([30, 20], (t) => t.insert(3, 10));
    expect(d.rotations).toEqual([{ direction: "right", at: 1, pivot: 2 }]);
  });

  test("double, with the new node itself as pivot", () => {
    const d = between([30, 10], (t) => t.insert(3, 20));
    expect(d.rotations).toEqual([
      { direction: "left", at: 2, pivot: 3 },
      { direction: "right", at: 1, pivot: 3 },
    ]);
  });

  test("none where colours alone change", () => {
    const d = between([20, 10, 30], (t) => t.insert(4, 40));
    expect(d.rotations).toEqual([]);
    expect([...d.recoloured].sort()).toEqual([2, 3]);
  });

  test("of every single operation in 600 are proved step by step", () => {
    const rnd = random(11);
    const t = treeOf([1, 2, 3]);
    let id = 4;
    let before = modelOf(t);
    let rotated = 0;
    for (let i = 0; i < 600; i++) {
      const { ids } = t;
      if (ids.length < 4 || rnd() < 0.55) t.insert(id++, rnd() * 1000);
      else t.erase(ids[Math.floor(rnd() * ids.length)]!);
      const after = modelOf(t);
      const d = diffModels(before, after);
      expect(d.steps, `operation ${i}`).not.toBeNull();
      rotated += d.rotations.length;
      before = after;
    }
    expect(rotated).toBeGreaterThan(100);
  });

  test("of an insertion before an erasure are proved, and of two insertions in either order", () => {
    const rnd = random(21);
    for (let round = 0; round < 60; round++) {
      const keys = Array.from({ length: 12 }, () => Math.floor(rnd() * 1e6));
      const d = between(keys, (t) => {
        t.insert(40, Math.floor(rnd() * 1e6));
        if (round % 2) t.insert(30, Math.floor(rnd() * 1e6));
        else t.erase(1 + Math.floor(rnd() * 12));
      });
      expect(d.ops).toBe(2);
      expect(d.steps, `round ${round}`).not.toBeNull();
    }
  });

  test("of ten insertions at once are proved, in the order of their fds", () => {
    const d = between([5, 1, 9], (t) => {
      for (let i = 0; i < 10; i++) t.insert(10 + i, 20 + i);
    });
    expect(d.ops).toBe(10);
    expect(d.steps).not.toBeNull();
  });

  test("are found by pairs where the order of operations is not known", () => {
    // The same node goes and comes back at its place: no run of the algorithm
    // from erasures to insertions need lead there.
    const a = modelOf(treeOf([10, 20, 30, 40, 50, 60]));
    const rows = [...a.nodes.values()];
    const turned = rows.map((r) => ({ ...r }));
    const at = turned.find((r) => r.left !== 0 && r.parent !== 0)!;
    const pivot = turned.find((r) => r.id === at.left)!;
    const inner = turned.find((r) => r.id === pivot.right);
    const above = turned.find((r) => r.id === at.parent)!;
    if (above.left === at.id) above.left = pivot.id;
    else above.right = pivot.id;
    pivot.parent = above.id;
    pivot.right = at.id;
    at.parent = pivot.id;
    at.left = inner?.id ?? 0;
    if (inner) inner.parent = at.id;
    const b = new EpollStream().push(
      writeFrame({ sequence: 1, flags: 1, nodes: turned, root: a.instance!.root }),
    ).model;
    const d = diffModels(a, b);
    expect(d.steps).toBeNull();
    expect(d.rotations).toEqual([{ direction: "right", at: at.id, pivot: pivot.id }]);
  });

  test("a modified mask is told apart from a ready node", () => {
    const t = treeOf([1, 2]);
    const before = modelOf(t);
    const after = new EpollStream().push(
      keyFrame(t, {
        sequence: 1,
        nodes: rowsOf(t, (id) => (id === 1 ? { events: 5 } : {})).map((r) =>
          r.id === 2 ? { ...r, flags: r.flags | NodeFlag.ready } : r,
        ),
        ready: [{ node: 2, fd: 2 }],
      }),
    ).model;
    const d = diffModels(before, after);
    expect(d.modified).toEqual([1]);
    expect(d.readied).toEqual([2]);
    expect(d.ops).toBe(0);
  });
});
