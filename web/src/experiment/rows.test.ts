import { describe, expect, it } from "vitest";
import { comparison, info, result, series, summary } from "../testing/experiments";
import { alike, groups, headline, metricsOf, shapeOf, styles, syscallTable, variantLabel } from "./rows";

describe("groups", () => {
  it("joins results with labels and with an earlier run", () => {
    const s = [series("4k", 0), series("64k", 0, 0.5)];
    const old = result([series("4k", 0, 0.3)], 3);
    const gs = groups(info(s), result(s), "cpu", "en", old);
    expect(gs.map((g) => [g.id, g.baseline])).toEqual([
      ["4k", "pread of 4 KiB"],
      ["64k", "pread of 4 KiB"],
    ]);
    expect(gs[0]!.rows.map((r) => [r.base, r.comparison?.ratio, r.then?.ratio])).toEqual([
      [true, undefined, undefined],
      [false, 0.25, 0.3],
    ]);
    expect(gs[1]!.rows[1]!.then).toBeNull();
  });

  it("compares with no ratio to another baseline", () => {
    const old = series("4k", 0);
    old.baseline = "ring";
    expect(groups(null, result([series("4k", 0)]), "cpu", "en", result([old]))[0]!.rows[1]!.then).toBeNull();
  });

  it("shows by id what the experiment no longer knows", () => {
    const gs = groups(null, result([series("4k", 0)]), "cpu", "zh");
    expect(gs[0]!.label).toBe("4k");
    expect(gs[0]!.rows.map((r) => r.label)).toEqual(["pread", "ring"]);
    expect(metricsOf(null, result([series("4k", 0)])).map((m) => m.id)).toEqual(["cpu", "calls"]);
  });

  it("keeps variants whose trials all failed, and leaves out what was never tried", () => {
    const s = series("4k", 0);
    s.variants[1]!.metrics = {};
    s.variants[1]!.failed = 5;
    const never = series("64k", 0);
    for (const v of never.variants) v.metrics = {};
    const gs = groups(null, result([s, never]), "cpu", "en");
    expect(gs.map((g) => g.rows.map((r) => [r.summary === null, r.failed]))).toEqual([
      [
        [false, 0],
        [true, 5],
      ],
    ]);
  });
});

it("a variant has one style in all series, and no two share colour and shape", () => {
  const s = Array.from({ length: 3 }, (_, i) => series(`s${i}`, 0));
  expect([...styles(info(s), result(s))]).toEqual([
    ["pread", 0],
    ["ring", 1],
  ]);
  const looks = Array.from({ length: 24 }, (_, i) => `${i % 8} ${shapeOf(i)}`);
  expect(new Set(looks).size).toBe(24);
});

it("tells series that compare the same variants together", () => {
  const other = series("one", 0);
  other.variants.pop();
  expect(alike(info([series("4k", 0), other, series("64k", 0)]), "en")).toEqual([
    { series: ["4k", "64k"], variants: ["pread of 4 KiB", "ring of 4 KiB"] },
    { series: ["one"], variants: ["pread of 4 KiB"] },
  ]);
});

it("finds a label in another series rather than none", () => {
  const i = info([series("4k", 0)]);
  expect(variantLabel(i, "gone", "ring", "en")).toBe("ring of 4 KiB");
  expect(variantLabel(i, "gone", "other", "en")).toBe("other");
});

describe("syscallTable", () => {
  it("counts exactly, most frequent first", () => {
    expect(syscallTable(series("4k", 0))).toEqual({
      variants: ["pread", "ring"],
      rows: [
        { name: "pread64", counts: [1048576, 0] },
        { name: "io_uring_enter", counts: [0, 32] },
        { name: "futex", counts: [3, 0] },
      ],
      totals: [1048579, 32],
    });
  });

  it("is none where nothing was counted, and leaves out who was not", () => {
    const s = series("4k", 0);
    s.variants[1]!.syscalls = {};
    expect(syscallTable(s)!.variants).toEqual(["pread"]);
    s.variants[0]!.syscalls = {};
    expect(syscallTable(s)).toBeNull();
  });
});

describe("headline", () => {
  it("is the comparison whose interval stays farthest from 1", () => {
    const a = series("4k", 0, 0.5);
    const b = series("64k", 0, 0.9);
    b.variants.push({ ...b.variants[1]!, id: "sqpoll", metrics: { cpu: summary([4, 4, 4]) } });
    b.comparisons.push(comparison("sqpoll", 4, 3.5, 4.5));
    expect(headline(info([a, b]), result([a, b]))).toMatchObject({ series: "64k", variant: "sqpoll" });
  });

  it("is none where nothing is clear", () => {
    const s = series("4k", 0);
    s.comparisons = [comparison("ring", 0.8, 0.6, 1.1)];
    expect(headline(info([s]), result([s]))).toBeNull();
  });
});
