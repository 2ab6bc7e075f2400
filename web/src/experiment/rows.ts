// What a chart and a table show of a result, joined with the labels of the
// experiment. A result may be older than the experiment is now: what it names
// and the experiment no longer knows is shown by its id.

import type {
  Comparison,
  Info,
  Metric,
  Result,
  SeriesResult,
  Summary,
  VariantResult,
} from "../net/experiments";
import type { Text } from "../net/messages";
import { shapes, type Shape } from "./drawing";

export type Lang = "en" | "zh";

export function pick(text: Text | undefined, lang: Lang): string {
  return text?.[lang] || text?.en || text?.zh || "";
}

/** Row is one variant of a series, by one metric. */
export interface Row {
  id: string;
  label: string;
  style: number; // of its colour and shape
  base: boolean;
  summary: Summary | null; // null: no trial of it was measured
  comparison: Comparison | null;
  /** The same comparison in an earlier run. */
  then: Comparison | null;
  failed: number;
  notes: VariantResult["notes"];
}

export interface Group {
  id: string;
  label: string;
  x: number;
  baseline: string; // label
  rows: Row[];
}

export function metricsOf(info: Info | null, result: Result): Metric[] {
  const seen = new Set(result.series.flatMap((s) => s.variants.flatMap((v) => Object.keys(v.metrics))));
  const known = info?.metrics.filter((m) => seen.has(m.id)) ?? [];
  const rest = [...seen].filter((id) => !known.some((m) => m.id === id));
  return [
    ...known,
    ...rest.map((id) => ({ id, label: { en: id, zh: id }, unit: "", better: "", exact: false })),
  ];
}

/** styles gives every variant a number, the same in all series and all runs of an experiment. */
export function styles(info: Info | null, result: Result | null): Map<string, number> {
  const out = new Map<string, number>();
  const ids = [
    ...(info?.series.flatMap((s) => s.variants.map((v) => v.id)) ?? []),
    ...(result?.series.flatMap((s) => s.variants.map((v) => v.id)) ?? []),
  ];
  for (const id of ids) if (!out.has(id)) out.set(id, out.size);
  return out;
}

export function shapeOf(style: number): Shape {
  // Where colours come round again the shapes are others.
  return shapes[(style + Math.floor(style / shapes.length) * 3) % shapes.length]!;
}

/** alike are the series that compare the same variants, together. */
export function alike(info: Info, lang: Lang): { series: string[]; variants: string[] }[] {
  const out = new Map<string, { series: string[]; variants: string[] }>();
  for (const s of info.series) {
    const key = JSON.stringify(s.variants);
    const label = pick(s.label, lang) || s.id;
    const known = out.get(key);
    if (known) known.series.push(label);
    else out.set(key, { series: [label], variants: s.variants.map((v) => pick(v.label, lang) || v.id) });
  }
  return [...out.values()];
}

export function seriesLabel(info: Info | null, id: string, lang: Lang): string {
  return pick(info?.series.find((s) => s.id === id)?.label, lang) || id;
}

export function variantLabel(info: Info | null, series: string, id: string, lang: Lang): string {
  const of = info?.series.find((s) => s.id === series)?.variants.find((v) => v.id === id);
  const any = info?.series.flatMap((s) => s.variants).find((v) => v.id === id);
  return pick((of ?? any)?.label, lang) || id;
}

export function comparisonOf(s: SeriesResult, variant: string, metric: string): Comparison | null {
  return s.comparisons.find((c) => c.variant === variant && c.metric === metric) ?? null;
}

/** groups are the series of a result with what was measured by one metric. */
export function groups(
  info: Info | null,
  result: Result,
  metric: string,
  lang: Lang,
  earlier: Result | null = null,
): Group[] {
  const style = styles(info, result);
  return result.series
    .map((s) => {
      const old = earlier?.series.find((e) => e.id === s.id && e.baseline === s.baseline);
      const baseline = s.baseline ? variantLabel(info, s.id, s.baseline, lang) : "";
      return {
        id: s.id,
        label: seriesLabel(info, s.id, lang),
        x: s.x,
        baseline,
        rows: s.variants.map((v) => ({
          id: v.id,
          label: variantLabel(info, s.id, v.id, lang),
          style: style.get(v.id) ?? 0,
          base: v.id === s.baseline,
          summary: measured(v.metrics[metric]),
          comparison: comparisonOf(s, v.id, metric),
          then: old ? comparisonOf(old, v.id, metric) : null,
          failed: v.failed,
          notes: v.notes,
        })),
      };
    })
    .filter((g) => g.rows.some((r) => r.summary !== null || r.failed > 0));
}

function measured(s: Summary | undefined): Summary | null {
  return s && s.values.length > 0 ? s : null;
}

/** SyscallTable has the system calls of one series: names down, variants across. */
export interface SyscallTable {
  variants: string[]; // ids
  rows: { name: string; counts: (number | null)[] }[];
  totals: (number | null)[];
}

/** syscallTable is null where none were counted. */
export function syscallTable(s: SeriesResult): SyscallTable | null {
  const counted = s.variants.filter((v) => Object.keys(v.syscalls).length > 0);
  if (counted.length === 0) return null;
  const most = new Map<string, number>();
  for (const v of counted) {
    for (const [name, n] of Object.entries(v.syscalls)) most.set(name, Math.max(n, most.get(name) ?? 0));
  }
  const names = [...most].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([name]) => name);
  return {
    variants: counted.map((v) => v.id),
    rows: names.map((name) => ({ name, counts: counted.map((v) => v.syscalls[name] ?? 0) })),
    totals: counted.map((v) => Object.values(v.syscalls).reduce((a, b) => a + b, 0)),
  };
}

/** Headline is the strongest comparison of a result by its first metric. */
export interface Headline {
  series: string;
  variant: string;
  baseline: string;
  metric: Metric;
  ratio: Comparison;
}

export function headline(info: Info | null, result: Result): Headline | null {
  const metric = metricsOf(info, result)[0];
  if (!metric) return null;
  let best: Headline | null = null;
  for (const s of result.series) {
    for (const c of s.comparisons) {
      if (c.metric !== metric.id || !c.clear || !(c.ratio > 0)) continue;
      if (best && strength(c) <= strength(best.ratio)) continue;
      best = { series: s.id, variant: c.variant, baseline: s.baseline, metric, ratio: c };
    }
  }
  return best;
}

// How far the interval stays away from 1.
function strength(c: Comparison): number {
  const edge = c.ratio < 1 ? c.high : c.low;
  return edge > 0 ? Math.abs(Math.log(edge)) : 0;
}
