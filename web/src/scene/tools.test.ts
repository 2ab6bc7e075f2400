import { describe, expect, test } from "vitest";
import { EpollStream } from "../model/epoll";
import { random } from "../testing/frames";
import { goldenBytes } from "../testing/golden";
import { culledModel, modelOf, optionsFor, randomTree } from "../testing/scenes";
import { ariaRows } from "./aria";
import { placeCard } from "./card";
import { buildEpollScene } from "./epoll";
import { hitTest, locate } from "./hit";
import { buildMinimap, minimapView } from "./minimap";
import { findFd, pathTo, walk } from "./nav";
import { tableRows } from "./table";
import { grouped, span } from "./text";
import {
  betweenViews,
  centreOn,
  clamp,
  fit,
  follow,
  isWhole,
  panBy,
  toView,
  zoomAt,
  zoomTo,
} from "./viewport";

const key7 = new EpollStream().push(goldenBytes("key7")).model;
const million = culledModel(1_000_000, fit(1_000_000), 960);

describe("viewport", () => {
  test("zooming keeps the rank under the pointer", () => {
    const rnd = random(2);
    for (let i = 0; i < 200; i++) {
      const items = 100 + Math.floor(rnd() * 100_000);
      const lo = rnd() * items * 0.4;
      const v = clamp({ lo, hi: lo + items * 0.3 }, items);
      const px = 200 + rnd() * 500;
      const under = v.lo + (px / 900) * (v.hi - v.lo);
      const z = zoomAt(v, items, 1.5, px, 900);
      expect(z.lo + (px / 900) * (z.hi - z.lo)).toBeCloseTo(under, 3);
      expect(z.hi - z.lo).toBeCloseTo((v.hi - v.lo) / 1.5, 3);
    }
  });

  test("it stays within the tree and never gets too close", () => {
    expect(clamp({ lo: -50, hi: 50 }, 1000)).toEqual({ lo: 0, hi: 100 });
    expect(clamp({ lo: 990, hi: 1090 }, 1000)).toEqual({ lo: 900, hi: 1000 });
    expect(clamp({ lo: 10, hi: 10.5 }, 1000)).toEqual({ lo: 8.25, hi: 12.25 });
    expect(clamp({ lo: -1e9, hi: 1e9 }, 1000)).toEqual({ lo: 0, hi: 1000 });
    expect(panBy({ lo: 100, hi: 200 }, 1000, 450, 900)).toEqual({ lo: 50, hi: 150 });
    expect(panBy({ lo: 0, hi: 100 }, 1000, 450, 900)).toEqual({ lo: 0, hi: 100 });
  });

  test("a small tree stands in the middle and is whole", () => {
    expect(fit(1)).toEqual({ lo: -4.5, hi: 5.5 });
    expect(isWhole(fit(1), 1)).toBe(true);
    expect(isWhole(fit(5000), 5000)).toBe(true);
    expect(isWhole({ lo: 0, hi: 4999 }, 5000)).toBe(false);
  });

  test("a whole view stays whole as the tree grows; a part stays where it is", () => {
    expect(follow(fit(100), 100, 130)).toEqual(fit(130));
    expect(follow({ lo: 10, hi: 30 }, 100, 130)).toEqual({ lo: 10, hi: 30 });
    expect(follow({ lo: 70, hi: 90 }, 100, 50)).toEqual({ lo: 30, hi: 50 });
  });

  test("centring and gliding end where they should", () => {
    expect(centreOn({ lo: 0, hi: 100 }, 1000, 500)).toEqual({ lo: 450.5, hi: 550.5 });
    const a = fit(1_000_000);
    const b = zoomTo(400_000, 400_100, 1_000_000);
    expect(betweenViews(a, b, 0)).toEqual(a);
    expect(betweenViews(a, b, 1)).toEqual(b);
    let last = a.hi - a.lo;
    for (let t = 0.1; t < 1; t += 0.1) {
      const v = betweenViews(a, b, t);
      expect(v.hi - v.lo).toBeLessThan(last);
      expect(v.lo).toBeLessThanOrEqual(400_050); // what is zoomed into stays in view
      expect(v.hi).toBeGreaterThanOrEqual(400_050);
      last = v.hi - v.lo;
    }
  });

  test("the view asked of the server has half a screen of air, in whole numbers", () => {
    expect(toView(fit(1_000_000), 1_000_000, 960.4)).toEqual({ lo: 0, hi: 0, px: 960 });
    expect(toView({ lo: 1000.5, hi: 2000.5 }, 1_000_000, 960)).toEqual({ lo: 500, hi: 2501, px: 1921 });
    expect(toView({ lo: 0, hi: 1000 }, 1_000_000, 960)).toEqual({ lo: 0, hi: 1500, px: 1440 });
    expect(toView({ lo: 100, hi: 5900 }, 6000, 960)).toEqual({ lo: 0, hi: 0, px: 1920 });
  });
});

describe("hit test", () => {
  test("every node and pill is hit in its middle, lanes behind", () => {
    const m = modelOf(randomTree(200), [3, 9]);
    const s = buildEpollScene(m, optionsFor(m));
    for (const n of s.nodes) expect(hitTest(s, n.x, n.y)).toMatchObject({ kind: "node", id: n.id });
    for (const p of s.pills) expect(hitTest(s, p.x, p.y)).toMatchObject({ kind: "pill", id: p.id });
    expect(hitTest(s, 2, s.lanes[0]!.y + 2)).toEqual({ kind: "lane", name: "rdllist" });
    expect(hitTest(s, 480, 3)).toBeNull();
  });

  test("a thread, a nested instance, a subtree", () => {
    const s = buildEpollScene(key7, optionsFor(key7));
    const c = s.threads[0]!;
    expect(hitTest(s, c.x + 5, c.y + 5)).toMatchObject({ kind: "thread", tid: 4213 });
    const stub = s.stubs[0]!;
    expect(hitTest(s, stub.x2 + 8, stub.y2)).toMatchObject({ kind: "stub", instance: 9 });
    const g = new EpollStream().push(goldenBytes("glyphs")).model;
    const big = buildEpollScene(g, optionsFor(g));
    const shape = big.glyphs.find((x) => x.id === 78)!;
    expect(hitTest(big, (shape.x1 + shape.x2) / 2, shape.y2 - 3)).toEqual({
      kind: "glyph",
      id: 78,
      count: 475_712,
      ready: 4,
      share: 160_000 / 475_712,
      lo: 524_288,
      hi: 1_000_000,
    });
  });

  test("an item hidden in a subtree is located at it", () => {
    const m = modelOf(randomTree(3000));
    const s = buildEpollScene(m, optionsFor(m));
    const drawn = new Set(s.nodes.map((n) => n.id));
    const hidden = m.inOrder().find((id) => !drawn.has(id))!;
    const at = locate(s, m, hidden)!;
    expect(s.glyphs.some((g) => g.x === at.x && g.y === at.y)).toBe(true);
    expect(locate(s, m, 99_999)).toBeNull();
  });
});

describe("walking", () => {
  test("the golden tree by every direction", () => {
    expect(walk(key7, 0, "next")).toBe(4); // from nowhere to the root
    expect(walk(key7, 4, "left")).toBe(2);
    expect(walk(key7, 4, "right")).toBe(6);
    expect(walk(key7, 2, "sibling")).toBe(6);
    expect(walk(key7, 6, "sibling")).toBe(2);
    expect(walk(key7, 4, "sibling")).toBe(0);
    expect(walk(key7, 5, "parent")).toBe(6);
    expect(walk(key7, 4, "parent")).toBe(0);
    expect(walk(key7, 3, "next")).toBe(4);
    expect(walk(key7, 1, "previous")).toBe(0);
    expect([walk(key7, 5, "first"), walk(key7, 5, "last"), walk(key7, 5, "root")]).toEqual([1, 7, 4]);
    expect(walk(key7, 999, "parent")).toBe(4); // a node that went
  });

  test("by glyphs: down to a subtree and back up", () => {
    const g = new EpollStream().push(goldenBytes("glyphs")).model;
    expect(walk(g, 0, "root")).toBe(500);
    expect(walk(g, 500, "left")).toBe(77);
    expect(walk(g, 500, "right")).toBe(78);
    expect(walk(g, 78, "left")).toBe(0);
    expect(walk(g, 78, "sibling")).toBe(77);
    expect(walk(g, 80, "parent")).toBe(77);
    expect(walk(g, 77, "next")).toBe(80);
  });

  test("an fd is found, the way to it told", () => {
    expect(findFd(key7, 9)).toEqual([5]);
    expect(findFd(key7, 12345)).toEqual([]);
    expect(pathTo(key7, 5)).toEqual([4, 6, 5]);
    expect(pathTo(key7, 999)).toEqual([]);
  });
});

describe("the table", () => {
  test("has the same items in order", () => {
    const rows = tableRows(key7);
    expect(rows.map((r) => r.id)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(rows[4]).toMatchObject({
      fd: 9,
      colour: "red",
      depth: 2,
      parentFd: 10,
      events: "EPOLLIN|EPOLLWAKEUP",
      ready: true,
      owner: 4211,
      data: 9n,
    });
    expect(rows[3]).toMatchObject({ parentFd: -1, leftFd: 6, rightFd: 10 });
    expect(rows[6]).toMatchObject({ orphan: true, owner: 0 });
  });

  test("of a culled picture counts every item and invents no data", () => {
    const rows = tableRows(million);
    expect(rows.reduce((sum, r) => sum + r.count, 0)).toBe(1_000_000);
    expect(rows.every((r) => r.data === null)).toBe(true);
  });
});

describe("the hidden tree", () => {
  test("is the visible tree, parents before children", () => {
    const s = buildEpollScene(key7, optionsFor(key7));
    const rows = ariaRows(key7, s, 0);
    expect(rows.map((r) => [r.id, r.level, r.position, r.setSize, r.side])).toEqual([
      [4, 1, 1, 1, "root"],
      [2, 2, 1, 2, "left"],
      [1, 3, 1, 2, "left"],
      [3, 3, 2, 2, "right"],
      [6, 2, 2, 2, "right"],
      [5, 3, 1, 2, "left"],
      [7, 3, 2, 2, "right"],
    ]);
    expect(rows[3]).toMatchObject({ fd: 7, colour: "black", ready: true });
  });

  test("has at most 200 rows, and the focused node with its ancestors among them", () => {
    const m = modelOf(randomTree(3000));
    const s = buildEpollScene(m, optionsFor(m));
    const leaf = m.inOrder()[1234]!;
    const rows = ariaRows(m, s, leaf);
    expect(rows.length).toBe(200);
    const ids = new Set(rows.map((r) => r.id));
    for (const id of pathTo(m, leaf)) expect(ids.has(id)).toBe(true);
    let last = 0;
    for (const r of rows) {
      expect(r.level).toBeLessThanOrEqual(last + 1);
      last = r.level;
    }
  });

  test("says how many items a subtree stands for", () => {
    const s = buildEpollScene(million, optionsFor(million));
    const rows = ariaRows(million, s, 0);
    expect(rows).toHaveLength(200);
    expect(rows[0]).toMatchObject({ level: 1, side: "root", fd: 500_001, count: 1 });
  });
});

describe("the card's place", () => {
  test.each([7, 31, 100])("is within the picture and not on its node, for each of %i", (n) => {
    const m = modelOf(randomTree(n));
    const s = buildEpollScene(m, optionsFor(m));
    for (const a of s.nodes) {
      const p = placeCard(s, a, { w: 292, h: 170 });
      expect(p.x).toBeGreaterThanOrEqual(0);
      expect(p.y).toBeGreaterThanOrEqual(0);
      expect(p.x + 292).toBeLessThanOrEqual(960);
      expect(p.y + 170).toBeLessThanOrEqual(s.lanes[0]!.y);
      const over = a.x > p.x && a.x < p.x + 292 && a.y > p.y && a.y < p.y + 170;
      expect(over).toBe(false);
    }
  });

  test("prefers the free side", () => {
    const m = modelOf(randomTree(31));
    const s = buildEpollScene(m, optionsFor(m));
    const root = s.nodes.find((x) => m.node(x.id)!.parent === 0)!;
    const p = placeCard(s, root, { w: 200, h: 60 });
    expect(p.covers).toBe(0);
  });

  test("a room too small for it still gets a place inside", () => {
    const s = buildEpollScene(key7, optionsFor(key7, { width: 300, height: 300 }));
    const p = placeCard(s, s.nodes[0]!, { w: 400, h: 400 });
    expect([p.x, p.y]).toEqual([12, 12]);
  });
});

describe("the minimap", () => {
  test("shows a culled tree once it was seen whole, and the frame always", () => {
    const map = buildMinimap(million, { lo: 250_000, hi: 500_000 }, 200, 40);
    expect(map.known).toBe(true);
    expect(map.columns).toHaveLength(200);
    expect(map.columns.every((c) => c.depth > 0.9 && c.share > 0.2)).toBe(true);
    expect(map.frame).toEqual({ x: 50, y: 0, w: 50, h: 40 });
    const part = culledModel(1_000_000, { lo: 250_000, hi: 260_000 }, 960);
    expect(buildMinimap(part, { lo: 250_000, hi: 260_000 }, 200, 40).known).toBe(false);
  });

  test("pressing it moves there", () => {
    const v = minimapView({ lo: 0, hi: 1000 }, 1_000_000, 100, 200);
    expect(v).toEqual({ lo: 499_500, hi: 500_500 });
  });

  test("a tree held whole reaches its deepest level somewhere", () => {
    const m = modelOf(randomTree(500));
    const map = buildMinimap(m, fit(500), 100, 30);
    expect(Math.max(...map.columns.map((c) => c.depth))).toBe(1);
  });
});

describe("numbers", () => {
  test.each([
    [0, "0"],
    [999, "999"],
    [1000, "1,000"],
    [1_234_567, "1,234,567"],
    [-1234, "-1,234"],
  ])("%i is grouped", (n, want) => expect(grouped(n)).toBe(want));
  test.each([
    [-5, "0.0 s"],
    [2.44e9, "2.4 s"],
    [9.96e9, "10 s"],
    [119e9, "119 s"],
    [180e9, "3 min"],
    [2 * 3600e9, "2 h"],
  ])("%d ns", (ns, want) => expect(span(ns)).toBe(want));
});
