import { describe, expect, test } from "vitest";
import { EpollStream } from "../model/epoll";
import { keyFrame, rowsOf, writeFrame } from "../testing/frames";
import { goldenBytes } from "../testing/golden";
import { culledModel, modelOf, optionsFor, randomTree } from "../testing/scenes";
import { NodeFlag, type NodeRow } from "../wire/epoll";
import { buildEpollScene } from "./epoll";
import { laneHeight } from "./lanes";
import { monoWidth } from "./text";
import type { Scene } from "./types";
import { fit } from "./viewport";

function nodeAt(s: Scene, id: number): Scene["nodes"][number] {
  const n = s.nodes.find((x) => x.id === id);
  if (!n) throw new Error(`node ${id} is not in the scene`);
  return n;
}

describe("a small tree", () => {
  test("the golden frame's scene", () => {
    const m = new EpollStream().push(goldenBytes("key7")).model;
    expect(buildEpollScene(m, optionsFor(m, { focused: 5 }))).toMatchSnapshot();
  });

  test("x is the rank, y the depth, edges join parent and child", () => {
    const t = randomTree(31);
    const m = modelOf(t);
    const s = buildEpollScene(m, optionsFor(m));
    expect(s.counts).toEqual({ items: 31, nodes: 31, glyphs: 0, covered: 31 });
    const xs = m.inOrder().map((id) => nodeAt(s, id).x);
    for (let i = 1; i < xs.length; i++) expect(xs[i]! - xs[i - 1]!).toBeCloseTo(s.dx, 6);
    expect(s.edges).toHaveLength(30);
    for (const e of s.edges) {
      const parent = nodeAt(s, m.node(e.id)!.parent);
      expect([e.x1, e.y1]).toEqual([parent.x, parent.y]);
      expect(e.y2).toBeCloseTo(e.y1 + s.dy, 6);
    }
  });

  test.each([1, 2, 3, 7, 15])("%i items are large and stay apart", (n) => {
    const m = modelOf(randomTree(n));
    const s = buildEpollScene(m, optionsFor(m));
    expect(s.nodes.every((x) => x.r === 18 && x.label !== "")).toBe(true);
    expect(s.dy).toBeLessThanOrEqual(72);
    for (const a of s.nodes) {
      for (const b of s.nodes) if (a !== b) expect(Math.hypot(a.x - b.x, a.y - b.y)).toBeGreaterThan(40);
    }
    const middle = s.bounds.x + s.bounds.w / 2;
    expect(Math.abs(middle - 480)).toBeLessThan(s.dx);
  });

  test("nothing: an empty scene with its lanes", () => {
    const m = new EpollStream().push(goldenBytes("empty")).model;
    const s = buildEpollScene(m, optionsFor(m));
    expect(s.empty).toBe(true);
    expect([s.nodes, s.edges, s.glyphs]).toEqual([[], [], []]);
    expect(s.lanes.map((l) => l.name)).toEqual(["rdllist", "ovflist", "wq"]);
    expect(s.texts.map((t) => t.text)).toContain("no scan runs");
  });

  test("signs: ready, overflow, delivering, orphan, nested", () => {
    const m = new EpollStream();
    m.push(goldenBytes("key7"));
    const { model } = m.push(goldenBytes("delta"));
    const s = buildEpollScene(model, optionsFor(model));
    const rings = s.rings.map((r) => `${r.tone} ${r.id}`);
    expect(rings.sort()).toEqual(["delivering 5", "overflow 3"]);
    expect(s.marks.map((k) => [k.id, k.sign])).toEqual([[7, "orphan"]]);
    expect(s.stubs).toMatchObject([{ id: 6, instance: 9, label: "ep#9" }]);
    expect(s.pills).toMatchObject([{ id: 3, list: "overflow", label: "7" }]);
  });

  test("the way to the focused node is marked", () => {
    const m = modelOf(randomTree(15));
    const leaf = m.inOrder().find((id) => m.depth(id) === 3)!;
    const s = buildEpollScene(m, optionsFor(m, { focused: leaf }));
    expect(s.edges.filter((e) => e.tone === "accent")).toHaveLength(3);
    expect(s.rings).toMatchObject([{ id: leaf, tone: "accent", dash: true }]);
  });

  test("what stands beside a node never runs into the next one", () => {
    for (const n of [7, 15, 31, 63]) {
      const m = modelOf(randomTree(n, n));
      const s = buildEpollScene(m, optionsFor(m));
      for (const t of s.texts.filter((x) => x.id !== 0)) {
        const right = t.x + monoWidth(t.text, t.size);
        const own = nodeAt(s, t.id);
        for (const o of s.nodes) {
          if (o.y !== own.y || o.x <= own.x) continue;
          expect(right, `${n} items: "${t.text}" at ${t.id}, next ${o.id}`).toBeLessThanOrEqual(o.x - o.r);
        }
        expect(right).toBeLessThanOrEqual(s.width);
      }
    }
  });

  test("a red node is told by ring and letter, not by hue alone", () => {
    const m = modelOf(randomTree(31));
    const s = buildEpollScene(m, optionsFor(m));
    for (const n of s.nodes) {
      expect(n.tone).toBe(m.node(n.id)!.flags & NodeFlag.black ? "black" : "red");
      expect(n.mark).toBe(n.tone === "red");
    }
  });
});

describe("a large tree", () => {
  const t = randomTree(3000);
  const m = modelOf(t, [5, 900, 2700]);

  test("is drawn whole: every item once, alone or counted in one subtree", () => {
    const s = buildEpollScene(m, optionsFor(m));
    expect(s.counts.covered).toBe(3000);
    expect(s.counts.nodes + s.counts.glyphs).toBeLessThan(1000);
    const drawn = new Set(s.nodes.map((n) => m.rank(n.id)));
    for (const g of s.glyphs) {
      for (let r = g.lo; r < g.lo + g.count; r++) {
        expect(drawn.has(r)).toBe(false);
        drawn.add(r);
      }
      expect(g.x2 - g.x1).toBeLessThan(3);
    }
    expect(drawn.size).toBe(3000);
    const ready = s.rings.filter((r) => r.tone === "ready").length;
    expect(ready + s.glyphs.reduce((sum, g) => sum + g.ready, 0)).toBe(3);
  });

  test("has discs that shrink with the depth and do not touch", () => {
    const s = buildEpollScene(m, optionsFor(m));
    const levels = new Map<number, Scene["nodes"]>();
    for (const n of s.nodes) levels.set(n.y, [...(levels.get(n.y) ?? []), n]);
    let last = Infinity;
    for (const [, row] of [...levels].sort(([a], [b]) => a - b)) {
      const r = row[0]!.r;
      expect(r).toBeLessThanOrEqual(last);
      last = r;
      row.sort((a, b) => a.x - b.x);
      if (r <= 1.2) continue; // the smallest dot there is
      for (let i = 1; i < row.length; i++) expect(row[i]!.x - row[i - 1]!.x).toBeGreaterThan(2 * r);
    }
  });

  test("opens in place: zoomed in, subtrees are nodes and what is outside is skipped", () => {
    const s = buildEpollScene(m, optionsFor(m, { viewport: { lo: 1000, hi: 1100 } }));
    expect(s.glyphs).toHaveLength(0);
    const ranks = s.nodes.map((n) => m.rank(n.id)).sort((a, b) => a - b);
    for (let r = 1000; r < 1100; r++) expect(ranks).toContain(r);
    expect(s.nodes.every((n) => n.x >= -24 && n.x <= 984)).toBe(true);
    const roots = s.nodes.filter((n) => m.node(n.id)!.parent === 0);
    expect(roots).toEqual([]); // the root is elsewhere; its edges still pass through
    expect(s.edges.some((e) => e.x1 < 0 || e.x1 > 960)).toBe(true);
  });

  test("panning moves nothing up or down and changes no size", () => {
    const a = buildEpollScene(m, optionsFor(m, { viewport: { lo: 1000, hi: 1200 } }));
    const b = buildEpollScene(m, optionsFor(m, { viewport: { lo: 1050, hi: 1250 } }));
    const inA = new Map(a.nodes.map((n) => [n.id, n]));
    let both = 0;
    for (const n of b.nodes) {
      const was = inA.get(n.id);
      if (!was) continue;
      both++;
      expect([n.y, n.r]).toEqual([was.y, was.r]);
      expect(was.x - n.x).toBeCloseTo(50 * a.dx, 6);
    }
    expect(both).toBeGreaterThan(100);
  });
});

describe("glyphs from the server", () => {
  test("a million items: the same picture code, counts exact", () => {
    const m = culledModel(1_000_000, fit(1_000_000), 960);
    const s = buildEpollScene(m, optionsFor(m));
    expect(s.counts.items).toBe(1_000_000);
    expect(s.counts.covered).toBe(1_000_000);
    expect(s.counts.nodes + s.counts.glyphs).toBeLessThan(2000);
    expect(s.nodes.length + s.glyphs.length).toBe(s.edges.length + 1);
  });

  test("agree with a tree held whole", () => {
    // 4,095 balanced items, once as glyphs and once culled here.
    const n = 4095;
    const glyphs = buildEpollScene(culledModel(n, fit(n), 880), optionsFor(culledModel(n, fit(n), 880)));
    const rows: NodeRow[] = [];
    const build = (lo: number, hi: number, parent: number, depth: number): number => {
      if (lo >= hi) return 0;
      const mid = (lo + hi) >> 1;
      const id = mid + 1;
      const left = build(lo, mid, id, depth + 1);
      const right = build(mid + 1, hi, id, depth + 1);
      const flags = depth % 2 ? 0 : NodeFlag.black;
      rows.push({
        id,
        parent,
        left,
        right,
        file: id,
        fd: id,
        events: 0,
        flags,
        data: 0n,
        owner: 1,
        nested: 0,
      });
      return id;
    };
    const root = build(0, n, 0, 0);
    const whole = new EpollStream().push(
      writeFrame({ sequence: 1, flags: 1, nodes: rows, root, depth: 12 }),
    ).model;
    const here = buildEpollScene(whole, optionsFor(whole));
    const places = (s: Scene): string[] =>
      s.nodes.map((x) => `${x.id} ${x.x.toFixed(3)} ${x.y.toFixed(3)}`).sort();
    expect(places(here)).toEqual(places(glyphs));
    expect(here.glyphs.map((g) => `${g.id} ${g.count}`).sort()).toEqual(
      glyphs.glyphs.map((g) => `${g.id} ${g.count}`).sort(),
    );
  });

  test("a subtree with room for it shows its exact count", () => {
    const m = new EpollStream().push(goldenBytes("glyphs")).model;
    const s = buildEpollScene(m, optionsFor(m));
    expect(s.glyphs.map((g) => g.label).sort()).toEqual(["262,143", "262,143", "475,712"]);
  });

  test("close up, levels that only pass through are drawn together", () => {
    const v = { lo: 400_000, hi: 400_040 };
    const m = culledModel(1_000_000, v, 960);
    const s = buildEpollScene(m, optionsFor(m, { viewport: v }));
    const ys = [...new Set(s.nodes.map((n) => n.y))].sort((a, b) => a - b);
    const lastStep = ys.at(-1)! - ys.at(-2)!;
    expect(lastStep).toBeCloseTo(s.dy, 6);
    expect(lastStep).toBeGreaterThan(1.7 * (s.tree.h / 19)); // 20 levels, evenly spread
    expect(ys.at(-1)).toBeLessThanOrEqual(s.tree.y + s.tree.h + 1);
  });
});

describe("membership without shape", () => {
  test("items stand in rows, in no colour, without edges", () => {
    const flat = rowsOf(randomTree(100), () => ({ parent: 0, left: 0, right: 0 }));
    const m = new EpollStream().push(
      writeFrame({ sequence: 1, flags: 1, membership: true, nodes: flat }),
    ).model;
    const s = buildEpollScene(m, optionsFor(m));
    expect(s.nodes).toHaveLength(100);
    expect(s.edges).toEqual([]);
    expect(new Set(s.nodes.map((n) => n.tone))).toEqual(new Set(["unknown"]));
    for (const n of s.nodes) {
      expect(n.x - n.r).toBeGreaterThanOrEqual(0);
      expect(n.y + n.r).toBeLessThan(s.lanes[0]!.y);
    }
  });
});

describe("lanes", () => {
  const t = randomTree(400);
  const ids = Array.from({ length: 300 }, (_, i) => i + 1);

  test("show what fits and say how many more there are", () => {
    const m = modelOf(t, ids, { waiters: Array.from({ length: 9 }, (_, i) => ({ tid: 100 + i, since: 1 })) });
    const s = buildEpollScene(m, optionsFor(m));
    const [ready, , wq] = s.lanes;
    expect(ready).toMatchObject({ length: 300 });
    expect(ready!.shown).toBe(s.pills.length);
    expect(s.arrows).toHaveLength(ready!.shown - 1);
    expect(s.texts.map((x) => x.text)).toContain(`+ ${300 - ready!.shown} more`);
    expect(wq!.shown).toBe(s.threads.length);
    expect(s.texts.map((x) => x.text)).toContain(`+ ${9 - wq!.shown} more`);
    expect(s.pills.map((p) => p.id)).toEqual(ids.slice(0, ready!.shown)); // in order
    for (const p of s.pills) expect(p.x + p.w / 2).toBeLessThanOrEqual(ready!.x + ready!.w);
    for (const c of s.threads) expect(c.x + c.w).toBeLessThanOrEqual(wq!.x + wq!.w);
  });

  test.each([1280, 960, 700, 420])("at %i px they do not overlap and end at the foot", (width) => {
    const m = modelOf(t, ids.slice(0, 5));
    const s = buildEpollScene(m, optionsFor(m, { width }));
    expect(s.lanes[0]!.y).toBe(600 - laneHeight(width));
    for (const l of s.lanes) {
      expect(l.x + l.w).toBeLessThanOrEqual(width + 0.001);
      expect(l.y + l.h).toBeLessThanOrEqual(600);
      for (const o of s.lanes) {
        if (o === l) continue;
        const apart = o.x >= l.x + l.w || l.x >= o.x + o.w || o.y >= l.y + l.h || l.y >= o.y + o.h;
        expect(apart).toBe(true);
      }
    }
    expect(s.bounds.y + s.bounds.h).toBeLessThan(s.lanes[0]!.y);
  });

  test("can be left out", () => {
    const m = modelOf(t);
    const s = buildEpollScene(m, optionsFor(m, { lanes: false }));
    expect(s.lanes).toEqual([]);
    expect(s.tree.y + s.tree.h).toBeGreaterThan(560);
  });

  test("a thread shows how long it sleeps and that it waits exclusively", () => {
    const t1 = randomTree(1);
    const s1 = new EpollStream().push(
      keyFrame(t1, {
        sequence: 1,
        time: 5_000_000_000,
        waiters: [
          { tid: 7, since: 2_600_000_000 },
          { tid: 8, since: 1, exclusive: true },
        ],
      }),
    ).model;
    const s = buildEpollScene(s1, optionsFor(s1, { width: 1280 }));
    expect(s.threads.map((x) => x.label)).toEqual(["tid 7  2.4 s", "tid 8  5.0 s  exclusive"]);
  });
});
