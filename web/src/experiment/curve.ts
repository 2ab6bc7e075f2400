// Curves over x, where series form one: queue depth, active descriptors.

import type { Info, Result, Summary } from "../net/experiments";
import { linearScale, logScale, tickText, valueScale, type Scale } from "./axis";
import { wrapped, type Drawing, type Mark } from "./drawing";
import { seriesLabel, shapeOf, styles, variantLabel, type Lang } from "./rows";

export interface CurveLine {
  variant: string;
  label: string;
  style: number;
  /** By x of the curve; null where it was not measured. */
  points: (Summary | null)[];
}

export interface Curve {
  id: string;
  label: string; // of the axis x, or ""
  x: number[]; // rising
  series: string[]; // ids, by x
  names: string[]; // labels of the series, by x
  log: boolean; // the axis x
  lines: CurveLine[];
}

/** curves are the families of series that lie on one axis; three points at least. */
export function curves(info: Info | null, result: Result, metric: string, lang: Lang): Curve[] {
  const families = new Map<string, Result["series"]>();
  for (const s of result.series) {
    if (!(s.x > 0)) continue;
    const key = familyOf(s.id);
    families.set(key, [...(families.get(key) ?? []), s]);
  }
  const style = styles(info, result);
  const out: Curve[] = [];
  for (const [id, all] of families) {
    const rising = [...all].sort((a, b) => a.x - b.x);
    if (rising.length < 3 || new Set(rising.map((s) => s.x)).size !== rising.length) continue;
    const ids = [...new Set(rising.flatMap((s) => s.variants.map((v) => v.id)))];
    const lines = ids
      .map((variant) => ({
        variant,
        label: variantLabel(info, rising[0]!.id, variant, lang),
        style: style.get(variant) ?? 0,
        points: rising.map((s) => {
          const m = s.variants.find((v) => v.id === variant)?.metrics[metric];
          return m && m.values.length > 0 ? m : null;
        }),
      }))
      .filter((l) => l.points.filter((p) => p !== null).length >= 2);
    if (lines.length === 0) continue;
    const x = rising.map((s) => s.x);
    const names = rising.map((s) => seriesLabel(info, s.id, lang));
    out.push({
      id,
      label: axisName(names, x),
      x,
      series: rising.map((s) => s.id),
      names,
      log: x.at(-1)! / x[0]! >= 8,
      lines,
    });
  }
  return out;
}

// "lo-4096" and "lo-65536" are of one family, "veth-4096" is of another.
function familyOf(id: string): string {
  return id.replace(/[-_.]?\d+([.,]\d+)?[a-z%]*$/i, "");
}

/** valueAxis is the scale of values that all lines of a curve fit on. */
export function valueAxis(c: Curve): Scale {
  return valueScale(c.lines.flatMap((l) => l.points.flatMap((p) => (p ? [p.low, p.high] : []))));
}

const amount = /\d[\d,. ]*\s*(?:[kKMGT]i?B|B|%)?/u;

/**
 * axisName is what the labels of a curve's series have in common, with "n" for
 * x where it does not stand at an end; "" if they have nothing in common.
 */
export function axisName(labels: readonly string[], x: readonly number[]): string {
  const rest = new Set(
    labels.map((l, i) => {
      const own = new RegExp(`(?<![\\d.,])${x[i]}(?![\\d.,]\\d|\\d)`);
      const at = own.test(l.replaceAll(",", ""))
        ? l.replaceAll(",", "").replace(own, "#")
        : l.replace(amount, "#");
      return at.replace(/\s+/g, " ").trim();
    }),
  );
  if (rest.size !== 1) return "";
  const [name] = [...rest] as [string];
  if (!name.includes("#")) return "";
  return name
    .replace(/^#[\s,;:，、·]*(?=[a-z])(?!of\b)/i, "")
    .replace(/[\s,;:，、·]*#$/, "")
    .replace("#", "n");
}

/** Columns are what uPlot wants: x, then median, low and high of each line. */
export function columns(c: Curve): (number | null)[][] {
  return [
    c.x,
    ...c.lines.flatMap((l) => [
      l.points.map((p) => p?.median ?? null),
      l.points.map((p) => p?.low ?? null),
      l.points.map((p) => p?.high ?? null),
    ]),
  ];
}

export const dashes = ["", "6 3", "2 3", "8 3 2 3", "4 2", "10 4", "1 2", "6 2 1 2"] as const;

/** dashOf is how the line of a variant is broken: not by hue alone. */
export function dashOf(style: number): string {
  return dashes[style % dashes.length]!;
}

/** curveChart is the same curve for a picture file. */
export function curveChart(c: Curve, width: number, metric: string): Drawing {
  const height = 300;
  const left = 64;
  const right = 220;
  const top = 34;
  const bottom = height - 48;
  const x1 = width - right;
  const xs = c.log ? logScale(c.x[0]!, c.x.at(-1)!) : linearScale(Math.min(0, c.x[0]!), c.x.at(-1)!);
  const ys = valueAxis(c);
  const px = (v: number) => left + xs.at(v) * (x1 - left);
  const py = (v: number) => bottom - ys.at(v) * (bottom - top);
  const marks: Mark[] = [{ kind: "text", x: left, y: 12, text: metric, size: 12, tone: "soft" }];
  for (const v of ys.ticks) {
    marks.push(
      {
        kind: "line",
        points: [
          [left, py(v)],
          [x1, py(v)],
        ],
        tone: "line",
        width: 1,
      },
      { kind: "text", x: left - 8, y: py(v), text: tickText(v), size: 12, tone: "soft", align: "end" },
    );
  }
  for (const v of c.x) {
    marks.push({
      kind: "text",
      x: px(v),
      y: bottom + 16,
      text: tickText(v),
      size: 12,
      tone: "soft",
      align: "middle",
    });
  }
  if (c.label) {
    marks.push({
      kind: "text",
      x: (left + x1) / 2,
      y: bottom + 36,
      text: c.label,
      size: 12,
      tone: "soft",
      align: "middle",
    });
  }
  const ends = c.lines.map((l) => {
    const at = l.points.flatMap((p, i) => (p ? [{ p, x: px(c.x[i]!) }] : []));
    marks.push({
      kind: "area",
      points: [
        ...at.map(({ p, x }) => [x, py(p.high)] as const),
        ...[...at].reverse().map(({ p, x }) => [x, py(p.low)] as const),
      ],
      tone: l.style,
      alpha: 0.16,
    });
    const dash = dashOf(l.style);
    marks.push({
      kind: "line",
      points: at.map(({ p, x }) => [x, py(p.median)] as const),
      tone: l.style,
      width: 2,
      ...(dash && { dash }),
    });
    for (const { p, x } of at) {
      marks.push({ kind: "dot", x, y: py(p.median), r: 4.5, shape: shapeOf(l.style), tone: l.style });
    }
    return { l, y: py(at.at(-1)!.p.median) };
  });
  // Labels at the ends of lines, moved apart.
  ends.sort((a, b) => a.y - b.y);
  let free = top;
  for (const { l, y } of ends) {
    const at = Math.max(y, free);
    free = at + 18;
    marks.push(
      { kind: "dot", x: x1 + 18, y: at, r: 4.5, shape: shapeOf(l.style), tone: l.style },
      {
        kind: "text",
        x: x1 + 30,
        y: at,
        text: wrapped(l.label, right - 34, 12, 1)[0] ?? "",
        size: 12,
        tone: "ink",
      },
    );
  }
  return { width, height: Math.max(height, free + 8), marks };
}
