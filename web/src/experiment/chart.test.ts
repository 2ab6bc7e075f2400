import { describe, expect, it } from "vitest";
import { info, result, series } from "../testing/experiments";
import { ratiosOf, seriesChart, type ChartWords } from "./chart";
import { dark, light } from "./colours";
import { stack, textWidth, wrapped, type Mark } from "./drawing";
import { toSVG } from "./picture";
import { groups } from "./rows";

const words: ChartWords = {
  locale: "en-GB",
  metric: "CPU time, s/GB",
  unit: "s/GB",
  exact: false,
  better: "← less is better",
  quartiles: "median, quartiles",
  ratio: "ratio to pread",
  base: "baseline",
  none: "not measured",
  log: "logarithmic",
  then: "",
  why: (r) => (r.comparison && !r.comparison.clear ? "within the noise" : ""),
  failed: (n) => `${n} failed`,
};
const s = [series("4k", 0)];
const group = () => groups(info(s), result(s), "cpu", "en")[0]!;
const texts = (marks: readonly Mark[]) => marks.flatMap((m) => (m.kind === "text" ? [m.text] : []));
const dots = (marks: readonly Mark[], tone: number) =>
  marks.filter((m) => m.kind === "dot" && m.tone === tone && m.alpha !== undefined);

describe("seriesChart", () => {
  it.each([1200, 600])("shows every trial, the median and the ratio in %d px", (width) => {
    const g = group();
    const d = seriesChart(g, width, words, ratiosOf([g]));
    expect(d.width).toBe(width);
    expect(dots(d.marks, 0)).toHaveLength(5);
    expect(dots(d.marks, 1)).toHaveLength(5);
    expect(texts(d.marks)).toEqual(
      expect.arrayContaining(["1.00 s/GB", "0.250 s/GB", "0.25×", "0.24 – 0.26", "1×", "baseline"]),
    );
    for (const m of d.marks) {
      if (m.kind === "line" || m.kind === "area") continue;
      expect(m.x).toBeGreaterThanOrEqual(0);
      expect(m.x).toBeLessThanOrEqual(width);
      expect(m.y).toBeLessThanOrEqual(d.height);
    }
  });

  it("says why a ratio is no verdict, and draws it hollow", () => {
    const g = group();
    g.rows[1]!.comparison = { ...g.rows[1]!.comparison!, low: 0.9, ratio: 1, high: 1.1, clear: false };
    const d = seriesChart(g, 1000, words, ratiosOf([g]));
    expect(texts(d.marks)).toContain("within the noise");
    expect(d.marks.some((m) => m.kind === "dot" && m.hollow)).toBe(true);
  });

  it("shows an earlier run beside it, dashed", () => {
    const g = groups(info(s), result(s), "cpu", "en", result([series("4k", 0, 0.4)], 2))[0]!;
    const d = seriesChart(g, 1000, words, ratiosOf([g]));
    expect(d.marks.filter((m) => m.kind === "line" && m.dash)).toHaveLength(3);
  });

  it("says that trials failed", () => {
    const g = group();
    g.rows[1] = { ...g.rows[1]!, summary: null, comparison: null, failed: 5 };
    const d = seriesChart(g, 1000, words, ratiosOf([g]));
    expect(texts(d.marks)).toContain("5 failed");
    expect(texts(d.marks)).not.toContain("ratio to pread");
  });

  it("tells variants apart by shape as well as by hue", () => {
    const d = seriesChart(group(), 1000, words, [1]);
    const looks = new Map(d.marks.flatMap((m) => (m.kind === "dot" ? [[m.tone, m.shape] as const] : [])));
    expect(new Set(looks.values()).size).toBe(looks.size);
  });
});

describe("as SVG", () => {
  it("is whole, says what it is, and lets no text in as markup", () => {
    const d = stack([seriesChart(group(), 900, { ...words, base: '<b & "x">' }, [1])], 8, 10);
    for (const c of [light, dark]) {
      const svg = toSVG(d, c, { title: "a < b", desc: "d", lang: "zh" });
      expect(svg).toContain('<title id="t">a &lt; b</title>');
      expect(svg).toContain("&lt;b &amp; &quot;x&quot;&gt;");
      expect(svg).not.toContain("NaN");
      expect(svg.match(/<path[^>]*fill="none"/g)!.length).toBeGreaterThan(4);
      expect(svg.trimEnd().endsWith("</svg>")).toBe(true);
      expect(svg).not.toMatch(/var\(|href=|url\(/);
    }
  });
});

describe("wrapped", () => {
  it.each([
    ["io_uring, ring of 32,768 entries", 120, 2],
    ["一次提交三万两千七百六十八个请求的环，然后等待", 120, 2],
    ["averyveryveryverylongwordwithoutanyspace", 80, 2],
    ["short", 200, 2],
    ["", 100, 2],
  ])("%s fits %d px in %d lines", (text, width, most) => {
    const lines = wrapped(text, width, 13, most);
    expect(lines.length).toBeLessThanOrEqual(most);
    for (const l of lines) expect(textWidth(l, 13)).toBeLessThanOrEqual(width);
    if (lines.join(" ").endsWith("…")) expect(textWidth(text, 13)).toBeGreaterThan(width);
    else expect(lines.join("").replaceAll(" ", "")).toBe(text.replaceAll(" ", ""));
  });
});
