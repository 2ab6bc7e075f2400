import { expect, it } from "vitest";
import { duration, nanos, percent } from "./words";

it.each([
  [0, "0 ms"],
  [12.4, "12 ms"],
  [2400, "2.4 s"],
  [185_000, "3 min 05 s"],
])("duration %d is %s", (ms, want) => expect(duration(ms)).toBe(want));

it.each([
  [840, "840 ns"],
  [2460, "2.5 µs"],
  [15_500, "16 µs"],
  [3_100_000, "3.1 ms"],
  [78_000_000, "78 ms"],
])("nanos %d is %s", (ns, want) => expect(nanos(ns)).toBe(want));

it.each([
  [0, "0 %"],
  [0.00004, "< 0.01 %"],
  [0.0003, "0.03 %"],
  [0.042, "4.2 %"],
  [0.37, "37 %"],
])("percent %d is %s", (share, want) => expect(percent(share)).toBe(want));
