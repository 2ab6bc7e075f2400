import { describe, expect, it } from "vitest";
import { info, result, series } from "../testing/experiments";
import { differences, pairs } from "./compare";

describe("pairs", () => {
  it.each([
    [0.25, 0.26, "agrees"],
    [0.25, 0.4, "changed"],
  ] as const)("%d now and %d then: %s", (now, then, outcome) => {
    const [a, b] = [[series("4k", 0, now)], [series("4k", 0, then)]];
    expect(pairs(info(a), result(a), result(b, 2), "cpu", "en")).toMatchObject([
      { label: "4k: ring of 4 KiB", outcome, now: { ratio: now }, then: { ratio: then } },
    ]);
  });

  it("lists what only one run has, either way", () => {
    const now = [series("4k", 0), series("new", 0)];
    const then = [series("4k", 0), series("old", 0)];
    const other = series("4k", 0);
    expect(pairs(null, result(now), result(then), "cpu", "en").map((p) => [p.series, p.outcome])).toEqual([
      ["4k", "agrees"],
      ["new", "one"],
      ["old", "one"],
    ]);
    other.baseline = "ring";
    expect(
      pairs(null, result([series("4k", 0)]), result([other]), "cpu", "en").map((p) => p.outcome),
    ).toEqual(["one", "one"]);
  });
});

it("differences name machine, version, kind of run and parameters", () => {
  const a = result([]);
  const b = result([], 2);
  expect(differences(a, b)).toEqual([]);
  b.machine = { ...b.machine, kernel: "6.1.0" };
  b.quick = true;
  b.parameters = { bytes: 1, list: [1, 2] };
  expect(differences(a, b)).toEqual([
    { what: "kernel", then: "6.1.0", now: "6.18.0" },
    { what: "quick", then: "true", now: "false" },
    { what: "parameter", name: "bytes", then: "1", now: "4294967296" },
    { what: "parameter", name: "list", then: "[1,2]", now: "–" },
    { what: "parameter", name: "rounds", then: "–", now: "5" },
  ]);
});
