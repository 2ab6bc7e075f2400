import { expect, test } from "vitest";
import { buildRingScene } from "../scene/uring";
import { busyRing, ringOptions } from "../testing/ringscenes";
import { LIGHT } from "./palette";
import { drawShapes, hatchLines, shapesToSVG } from "./shapes";

test("SVG and canvas have the same words, and patterns for every hatch", () => {
  const p = buildRingScene(busyRing, ringOptions());
  const svg = shapesToSVG(p, LIGHT, { title: "a < b", desc: "", lang: "en" });
  expect(svg).toContain("a &lt; b");
  const drawn: string[] = [];
  const ctx = new Proxy({} as Record<string, unknown>, {
    get: (_, name: string) => (name === "fillText" ? (s: string) => drawn.push(s) : () => undefined),
    set: () => true,
  }) as unknown as CanvasRenderingContext2D;
  drawShapes(ctx, p, LIGHT, 1);
  for (const t of drawn) expect(svg).toContain(`>${t.replace(/&/g, "&amp;")}<`);
  expect(drawn.length).toBeGreaterThan(30);
  for (const kind of ["rising", "falling", "cross", "level", "upright", "dots"] as const) {
    expect(hatchLines(kind, 0, 0, 20, 20).length).toBeGreaterThan(2);
  }
  expect(hatchLines("none", 0, 0, 20, 20)).toEqual([]);
});
