import { describe, expect, it } from "vitest";
import { Heights } from "./virtual";

const keys = Array.from({ length: 100 }, (_, i) => i + 1);

describe("Heights", () => {
  it("renders only what is near the view", () => {
    const h = new Heights(20);
    expect(h.window(keys, 1000, 100, 0)).toEqual({ from: 49, to: 55, before: 980, after: 900 });
    expect(h.window(keys, 0, 100, 40)).toEqual({ from: 0, to: 7, before: 0, after: 1860 });
    expect(h.window([], 0, 100)).toEqual({ from: 0, to: 0, before: 0, after: 0 });
  });

  it("counts a wrapped row at its real height, whatever comes before it later", () => {
    const h = new Heights(20);
    expect(h.measured(2, 60)).toBe(true);
    expect(h.measured(2, 60)).toBe(false);
    expect(h.window(keys, 80, 20, 0)).toEqual({ from: 1, to: 3, before: 20, after: 97 * 20 });
    const w = h.window(keys.slice(1), 0, 20, 0);
    expect([w.from, w.to, w.after]).toEqual([0, 1, 98 * 20]);
    h.forget();
    expect(h.of(2)).toBe(20);
  });
});
