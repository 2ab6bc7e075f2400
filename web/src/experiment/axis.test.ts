import { describe, expect, it } from "vitest";
import { linearScale, ratioScale, tickText, valueScale } from "./axis";

describe("valueScale", () => {
  it("begins at zero, so that lengths can be compared", () => {
    const s = valueScale([3, 4, 5]);
    expect([s.log, s.lo, s.at(0)]).toEqual([false, 0, 0]);
    expect(s.at(5)).toBeGreaterThan(0.8);
    expect(s.at(5)).toBeLessThanOrEqual(1);
  });

  it("is logarithmic where values differ twentyfold", () => {
    const s = valueScale([32, 1048576]);
    expect(s.log).toBe(true);
    expect(s.at(32)).toBeGreaterThan(0);
    expect(s.at(1048576)).toBeLessThan(1);
    expect(s.ticks).toContain(1000);
    expect(s.ticks.length).toBeLessThan(8);
  });

  it.each([[[]], [[0, 0]], [[0, 7]]])("takes %j", (values) => {
    const s = valueScale(values);
    expect(s.log).toBe(false);
    expect(Number.isFinite(s.at(0))).toBe(true);
    expect(s.ticks.length).toBeGreaterThan(1);
  });
});

describe("ratioScale", () => {
  it.each([[[]], [[0.99, 1.01]], [[0.02, 1.3]], [[0.2, 35]], [[1e-4, 3]], [[1.4, 1.6]], [[0.7, 1.9]]])(
    "has 1 on it, with few ticks, for %j",
    (values) => {
      const s = ratioScale(values);
      expect(s.ticks).toContain(1);
      expect(s.ticks.length).toBeLessThanOrEqual(9);
      expect(s.ticks.length).toBeGreaterThanOrEqual(2);
      for (const v of values) {
        expect(s.at(v)).toBeGreaterThan(0);
        expect(s.at(v)).toBeLessThan(1);
      }
    },
  );

  it("does not blow noise up", () => {
    const s = ratioScale([0.99, 1.01]);
    expect(s.at(1.01) - s.at(0.99)).toBeLessThan(0.1);
  });
});

it("ticks are round and rise", () => {
  for (const hi of [0.003, 0.7, 9, 130, 4e6]) {
    const { ticks } = linearScale(0, hi);
    expect([...ticks].sort((a, b) => a - b)).toEqual(ticks);
    expect(ticks.length).toBeGreaterThan(3);
    for (const v of ticks) expect(tickText(v).length).toBeLessThan(7);
  }
  expect([0.5, 20, 100000, 1e6, 1e9].map(tickText)).toEqual(["0.5", "20", "100k", "1M", "1G"]);
});
