import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { EpollStream } from "../model/epoll";
import { buildEpollScene } from "../scene/epoll";
import { buildMinimap } from "../scene/minimap";
import { Motion } from "../scene/tween";
import { fit } from "../scene/viewport";
import { diffModels } from "../model/diff";
import { ClrsTree } from "../testing/clrs";
import { goldenBytes } from "../testing/golden";
import { culledModel, modelOf, optionsFor, randomTree } from "../testing/scenes";
import { drawMinimap, drawScene } from "./canvas";
import { blend, DARK, LIGHT, paletteFrom, shadeOf, SHADES, type Palette } from "./palette";
import { toSVG } from "./svg";

/** A 2D context that counts. */
function counter(): { ctx: CanvasRenderingContext2D; calls: Map<string, number>; texts: string[] } {
  const calls = new Map<string, number>();
  const texts: string[] = [];
  const target = {
    createLinearGradient: () => ({ addColorStop: () => undefined }),
    fillText: (s: string) => texts.push(s),
  } as Record<string, unknown>;
  const ctx = new Proxy(target, {
    get(t, name: string) {
      calls.set(name, (calls.get(name) ?? 0) + 1);
      return t[name] ?? (() => undefined);
    },
    set(t, name: string, value) {
      calls.set(`set ${name}`, (calls.get(`set ${name}`) ?? 0) + 1);
      t[name] = value;
      return true;
    },
  });
  return { ctx: ctx as unknown as CanvasRenderingContext2D, calls, texts };
}

describe("canvas", () => {
  test("thousands of nodes take a handful of strokes", () => {
    const m = modelOf(randomTree(3000));
    const s = buildEpollScene(m, optionsFor(m, { lanes: false }));
    const { ctx, calls } = counter();
    drawScene(ctx, s, LIGHT, 2);
    expect(calls.get("arc")).toBe(s.nodes.length);
    expect(calls.get("stroke")).toBeLessThan(30);
    expect(calls.get("fill")! - s.glyphs.length).toBeLessThan(30);
  });

  test("every label, pill and thread is written", () => {
    const m = new EpollStream().push(goldenBytes("key7")).model;
    const s = buildEpollScene(m, optionsFor(m));
    const { ctx, texts } = counter();
    drawScene(ctx, s, DARK, 1);
    for (const want of ["5", "6", "7", "8", "9", "10", "-1", "R", "ep#9", "rdllist"])
      expect(texts).toContain(want);
    for (const t of s.threads) expect(texts).toContain(t.label);
  });

  test("half way through a recolouring both colours are drawn", () => {
    const t = new ClrsTree();
    [20, 10, 30].forEach((key, i) => t.insert(i + 1, key));
    const before = modelOf(t);
    t.insert(4, 40);
    const after = modelOf(t);
    const motion = new Motion();
    motion.to(buildEpollScene(before, optionsFor(before)), null, 0);
    motion.to(buildEpollScene(after, optionsFor(after)), diffModels(before, after), 0);
    const s = motion.at(motion.duration - 60);
    const turning = s.nodes.filter((n) => n.mix > 0 && n.mix < 1);
    expect(turning.length).toBeGreaterThan(0);
    const { ctx, calls } = counter();
    drawScene(ctx, s, LIGHT, 1);
    expect(calls.get("arc")).toBe(s.nodes.length + turning.length + s.rings.length);
  });

  test("the minimap draws a column per px", () => {
    const m = culledModel(1_000_000, fit(1_000_000), 960);
    const { ctx, calls } = counter();
    drawMinimap(ctx, buildMinimap(m, fit(m.items), 200, 40), LIGHT, 1);
    expect(calls.get("fillRect")).toBeGreaterThanOrEqual(200);
  });
});

describe("SVG", () => {
  test("of the golden frame", async () => {
    const m = new EpollStream().push(goldenBytes("key7")).model;
    const svg = toSVG(buildEpollScene(m, optionsFor(m, { focused: 5 })), LIGHT, {
      title: "puppet 4211, epfd 3",
      desc: "7 items, 2 ready",
      lang: "en",
    });
    await expect(svg).toMatchFileSnapshot("../../testdata/svg/key7.svg");
  });

  test("is well formed, whatever the words", () => {
    const m = culledModel(1_000_000, fit(1_000_000), 960);
    const about = { title: `<script>"&'`, desc: "a < b && c > d", lang: "zh" };
    const svg = toSVG(buildEpollScene(m, optionsFor(m)), DARK, about);
    expect(svg).not.toContain("<script>");
    expect(svg).toContain("&lt;script&gt;&quot;&amp;'");
    const open = svg.match(/<[a-z][^>]*[^/]>/gi)?.length;
    const close = svg.match(/<\/[a-z]+>/gi)?.length;
    expect(open).toBe(close);
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  });

  test("has a disc for every node and an edge for every edge", () => {
    const m = modelOf(randomTree(300));
    const s = buildEpollScene(m, optionsFor(m, { lanes: false }));
    const svg = toSVG(s, LIGHT, { title: "t", desc: "d", lang: "en" });
    expect(svg.match(/<circle/g)).toHaveLength(s.nodes.length + s.rings.length);
    expect(svg.match(/<path[^>]*fill="none"/g)).toHaveLength(s.edges.length);
  });
});

describe("palette", () => {
  const css = readFileSync(fileURLToPath(new URL("../styles/tokens.css", import.meta.url)), "utf8");

  function tokens(block: RegExp): Map<string, string> {
    const body = block.exec(css)?.[1] ?? "";
    return new Map([...body.matchAll(/(--[a-z-]+):\s*([^;]+);/g)].map((m) => [m[1]!, m[2]!.trim()]));
  }

  test.each<[string, Palette, RegExp]>([
    ["light", LIGHT, /^:root \{([^}]*)\}/m],
    ["dark", DARK, /^:root\[data-theme="dark"\] \{([^}]*)\}/m],
  ])("%s is the page's", (_, palette, block) => {
    const page = tokens(block);
    for (const key of Object.keys(palette)) {
      if (key === "sans" || key === "mono") continue;
      expect(page.get(`--${key}`), key).toBe(palette[key as keyof Palette]);
    }
  });

  test("reads custom properties, and falls back", () => {
    const style = { getPropertyValue: (name: string) => (name === "--red" ? " #123456 " : "") };
    expect(paletteFrom(style, LIGHT)).toEqual({ ...LIGHT, red: "#123456" });
  });

  test("shades run from black to red", () => {
    expect(blend("#000000", "#ffffff", 0.5)).toBe("#808080");
    expect([shadeOf(0), shadeOf(0.25), shadeOf(0.5), shadeOf(1)]).toEqual([0, 4, SHADES - 1, SHADES - 1]);
  });
});
