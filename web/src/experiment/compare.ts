// Two runs side by side.

import type { Info, MachineInfo, Result } from "../net/experiments";
import { seriesLabel, variantLabel, type Lang } from "./rows";

/** Interval is a ratio with its bounds. */
export interface Interval {
  ratio: number;
  low: number;
  high: number;
  clear: boolean;
}

export interface Pair {
  series: string;
  variant: string;
  label: string; // "64 KiB: sendfile"
  then: Interval | null;
  now: Interval | null;
  /** agrees: the intervals overlap; changed: they do not; one: only one run has it. */
  outcome: "agrees" | "changed" | "one";
}

export function pairs(info: Info | null, now: Result, then: Result, metric: string, lang: Lang): Pair[] {
  const out: Pair[] = [];
  const all = [...now.series, ...then.series.filter((s) => !now.series.some((n) => sameSeries(n, s)))];
  for (const s of all) {
    const a = now.series.find((x) => sameSeries(x, s));
    const b = then.series.find((x) => sameSeries(x, s));
    const variants = [
      ...new Set(
        [...(a?.comparisons ?? []), ...(b?.comparisons ?? [])]
          .filter((c) => c.metric === metric)
          .map((c) => c.variant),
      ),
    ];
    for (const variant of variants) {
      const of = (r: typeof a) => r?.comparisons.find((c) => c.variant === variant && c.metric === metric);
      const n = of(a) ?? null;
      const t = of(b) ?? null;
      out.push({
        series: s.id,
        variant,
        label: `${seriesLabel(info, s.id, lang)}: ${variantLabel(info, s.id, variant, lang)}`,
        now: n,
        then: t,
        outcome: !n || !t ? "one" : n.low <= t.high && t.low <= n.high ? "agrees" : "changed",
      });
    }
  }
  return out;
}

// A ratio to another baseline is another ratio.
function sameSeries(a: Result["series"][number], b: Result["series"][number]): boolean {
  return a.id === b.id && a.baseline === b.baseline;
}

export type Difference =
  | { what: keyof MachineInfo | "version" | "quick"; then: string; now: string }
  | { what: "parameter"; name: string; then: string; now: string };

/** differences are what was not the same when two runs were made. */
export function differences(now: Result, then: Result): Difference[] {
  const out: Difference[] = [];
  for (const what of ["kernel", "machine", "cpu", "cpus", "memory", "disk"] as const) {
    const [a, b] = [then.machine[what], now.machine[what]];
    if (a !== b) out.push({ what, then: String(a), now: String(b) });
  }
  if (then.version !== now.version) out.push({ what: "version", then: then.version, now: now.version });
  if (then.quick !== now.quick) out.push({ what: "quick", then: String(then.quick), now: String(now.quick) });
  const names = [...new Set([...Object.keys(then.parameters), ...Object.keys(now.parameters)])].sort();
  for (const name of names) {
    const a = told(then.parameters[name]);
    const b = told(now.parameters[name]);
    if (a !== b) out.push({ what: "parameter", name, then: a, now: b });
  }
  return out;
}

/** told is a parameter as it is shown. */
export function told(v: unknown): string {
  if (v === undefined || v === null) return "–";
  return typeof v === "string" || typeof v === "number" || typeof v === "boolean"
    ? String(v)
    : JSON.stringify(v);
}
