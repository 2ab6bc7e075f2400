import { describe, expect, it } from "vitest";
import { info, result, series } from "../testing/experiments";
import { axisName, columns, curveChart, curves } from "./curve";

const depths = [8, 1, 128].map((x) => series(`depth-${x}`, x, 1 / x));

describe("curves", () => {
  it("are series with x, in its order", () => {
    const [c, ...more] = curves(
      info(depths, (s) => `queue depth ${s.x}`),
      result(depths),
      "cpu",
      "en",
    );
    expect(more).toEqual([]);
    expect(c).toMatchObject({ label: "queue depth", x: [1, 8, 128], log: true });
    expect(c!.lines.map((l) => l.points.map((p) => p?.median))).toEqual([
      [1, 1, 1],
      [1, 0.125, 1 / 128],
    ]);
  });

  it("keeps families apart and needs three points", () => {
    const sizes = (p: string) => [4096, 65536, 1048576].map((x) => series(`${p}-${x}`, x));
    const all = [...sizes("lo"), ...sizes("veth"), series("tcp-1", 1), series("tcp-2", 2), series("one", 0)];
    expect(curves(null, result(all), "cpu", "en").map((c) => c.id)).toEqual(["lo", "veth"]);
    expect(curves(null, result(all), "other", "en")).toEqual([]);
  });

  it("leave a gap where nothing was measured", () => {
    const s = depths.map((d) => ({ ...d, variants: d.x === 8 ? d.variants.slice(0, 1) : d.variants }));
    const c = curves(null, result(s), "cpu", "en")[0]!;
    expect(columns(c)[4]).toEqual([1, null, 1 / 128]);
    expect(columns(c)).toHaveLength(1 + 3 * c.lines.length);
  });
});

it.each([
  [["queue depth 1", "queue depth 128"], [1, 128], "queue depth"],
  [["4 KiB, loopback", "1 MiB, loopback"], [4096, 1048576], "loopback"],
  [["队列深度 1", "队列深度 8"], [1, 8], "队列深度"],
  [["10 % active", "50 % active"], [10, 50], "n % active"],
  [["10 of 9000 ready", "9,000 of 9000 ready"], [10, 9000], "n of 9000 ready"],
  [["9000 个中有 10 个就绪", "9000 个中有 900 个就绪"], [10, 900], "9000 个中有 n 个就绪"],
  [["4 个线程", "64 个线程"], [4, 64], "n 个线程"],
  [["64 workers", "4 workers"], [64, 4], "workers"],
  [["few", "many"], [1, 2], ""],
  [["few", "few"], [1, 2], ""],
])("the axis of %j at %j is %j", (labels, x, want) => {
  expect(axisName(labels, x)).toBe(want);
});

it("a curve's picture stays inside itself and names its lines", () => {
  const c = curves(null, result(depths), "cpu", "en")[0]!;
  const d = curveChart(c, 900, "CPU time");
  const texts = d.marks.flatMap((m) => (m.kind === "text" ? [m.text] : []));
  expect(texts).toEqual(expect.arrayContaining(["pread", "ring", "CPU time", "128"]));
  for (const m of d.marks) {
    if (m.kind !== "dot") continue;
    expect(m.x).toBeGreaterThanOrEqual(0);
    expect(m.x).toBeLessThanOrEqual(d.width);
    expect(m.y).toBeLessThanOrEqual(d.height);
  }
});
