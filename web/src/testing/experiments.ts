// Test fixtures: values in the shapes of internal/experiment, with made-up
// numbers. Tests only; the page shows nothing but what labserver measured.

import type { Comparison, Info, Result, SeriesResult, Summary } from "../net/experiments";

const both = (s: string) => ({ en: s, zh: s });

export function summary(values: number[]): Summary {
  const v = [...values].sort((a, b) => a - b);
  const at = (q: number) => v[Math.round(q * (v.length - 1))]!;
  const [low, median, high] = [at(0.25), at(0.5), at(0.75)];
  const spread = median === 0 ? 0 : (high - low) / 2 / median;
  return { values, median, low, high, min: v[0]!, max: v.at(-1)!, spread };
}

export function comparison(variant: string, ratio: number, low: number, high: number): Comparison {
  const clear = low > 1.03 || high < 0.97;
  return { variant, metric: "cpu", ratio, low, high, level: 0.95, clear, why: clear ? "" : "noise" };
}

export function series(id: string, x: number, fast = 0.25): SeriesResult {
  return {
    id,
    x,
    baseline: "pread",
    variants: [
      {
        id: "pread",
        metrics: { cpu: summary([1, 1.02, 0.99, 1.01, 1]), calls: summary([1048576]) },
        syscalls: { pread64: 1048576, futex: 3 },
        notes: [],
        failed: 0,
      },
      {
        id: "ring",
        metrics: { cpu: summary([fast, fast * 1.04, fast * 0.98, fast, fast]), calls: summary([32]) },
        syscalls: { io_uring_enter: 32 },
        notes: [],
        failed: 0,
      },
    ],
    comparisons: [comparison("ring", fast, fast * 0.96, fast * 1.05)],
  };
}

export function info(all: readonly SeriesResult[], label = (s: SeriesResult) => s.id): Info {
  return {
    id: "syscalls",
    title: both("System calls"),
    question: both("Are fewer calls faster?"),
    about: both("It reads.\n\nMind the disk."),
    seconds: 90,
    quick: 12,
    series: all.map((s) => ({
      id: s.id,
      label: both(label(s)),
      variants: s.variants.map((v) => ({ id: v.id, label: both(`${v.id} of 4 KiB`) })),
      baseline: s.baseline,
      quick: true,
      x: s.x,
    })),
    metrics: [
      { id: "cpu", label: both("CPU time"), unit: "s/GB", better: "lower", exact: false },
      { id: "calls", label: both("System calls"), unit: "calls", better: "lower", exact: true },
    ],
    missing: [],
  };
}

export function result(all: readonly SeriesResult[], run = 7): Result {
  return {
    format: 1,
    run,
    experiment: "syscalls",
    quick: false,
    started: "2026-11-26T12:00:00Z",
    seconds: 88.2,
    state: "done",
    problem: "",
    version: "test",
    machine: { kernel: "6.18.0", machine: "x86_64", cpu: "Fixture", cpus: 2, memory: 2 ** 33, disk: "" },
    conditions: {
      loadBefore: 0.1,
      loadAfter: 1.2,
      cpuPressure: 0.02,
      ioPressure: -1,
      memoryPressure: 0,
      others: 0.04,
      steal: 0,
    },
    series: [...all],
    warnings: [],
    parameters: { bytes: 4294967296, rounds: 5 },
    runner: 0.4,
    trials: 10,
    verdicts: [],
  };
}
