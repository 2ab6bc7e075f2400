// The chart of one series: every trial as a dot, the median as a tick, the
// quartiles as a bar; beside it the ratio to the baseline with its interval, on
// a logarithmic axis with 1 marked.

import { ratioScale, tickText, valueScale, type Scale } from "./axis";
import { textWidth, wrapped, type Drawing, type Mark } from "./drawing";
import { figure, ratio } from "./numbers";
import { shapeOf, type Group, type Row } from "./rows";

export interface ChartWords {
  locale: string;
  metric: string; // with its unit: "CPU time, s/GB"
  unit: string;
  exact: boolean;
  better: string; // "← less is better", or ""
  quartiles: string; // head of the column of figures
  ratio: string; // "ratio to pread 4 KiB"
  base: string; // "baseline"
  none: string; // "not measured"
  log: string; // "logarithmic axis"
  then: string; // which run the dashed intervals are of, or ""
  why(row: Row): string; // why a ratio is not clear, or ""
  failed(n: number): string;
}

const rowHeight = 44;
const head = 46;
const foot = 34;
const small = 12;
const label = 13;
const narrow = 860;

/** seriesChart draws a group into a width; `ratios` are all that the axis of ratios must hold. */
export function seriesChart(g: Group, width: number, w: ChartWords, ratios: readonly number[]): Drawing {
  const compared = g.rows.some((r) => r.comparison !== null || r.then !== null);
  if (!compared) return dots(g, width, w);
  if (width >= narrow) {
    const left = Math.round(width * 0.58);
    const a = dots(g, left, w);
    const b = ratioPanel(g, width - left, w, ratios, false);
    return {
      width,
      height: a.height,
      marks: [...a.marks, ...b.marks.map((m) => shifted(m, left))],
    };
  }
  const a = dots(g, width, w);
  const b = ratioPanel(g, width, w, ratios, true);
  return {
    width,
    height: a.height + b.height,
    marks: [...a.marks, ...b.marks.map((m) => shifted(m, 0, a.height))],
  };
}

/** ratiosOf are the bounds of all intervals of ratios, for one axis for all series. */
export function ratiosOf(gs: readonly Group[]): number[] {
  return gs.flatMap((g) =>
    g.rows.flatMap((r) => [r.comparison, r.then].flatMap((c) => (c ? [c.low, c.ratio, c.high] : []))),
  );
}

function shifted(m: Mark, dx: number, dy = 0): Mark {
  if (m.kind === "line" || m.kind === "area") {
    return { ...m, points: m.points.map(([x, y]) => [x + dx, y + dy] as const) };
  }
  return { ...m, x: m.x + dx, y: m.y + dy };
}

function labelWidth(width: number): number {
  return Math.max(112, Math.min(216, width * 0.26));
}

function dots(g: Group, width: number, w: ChartWords): Drawing {
  const left = labelWidth(width);
  const right = 132;
  const x0 = left + 16;
  const x1 = width - right - 16;
  const height = head + g.rows.length * rowHeight + foot;
  const values = g.rows.flatMap((r) =>
    r.summary ? [...r.summary.values, r.summary.low, r.summary.high] : [],
  );
  const scale = valueScale(values);
  const at = (v: number) => x0 + scale.at(v) * (x1 - x0);
  const marks: Mark[] = [
    heading(x0, w.metric + (scale.log ? ` · ${w.log}` : ""), x1 - x0),
    { kind: "text", x: width - 16, y: 14, text: w.quartiles, size: small, tone: "soft", align: "end" },
    ...axis(scale, at, g.rows.length, tickText),
  ];
  if (w.better) {
    marks.push({ kind: "text", x: x0, y: height - 8, text: w.better, size: small, tone: "soft" });
  }
  g.rows.forEach((r, i) => {
    const y = head + (i + 0.5) * rowHeight;
    marks.push(...rowLabel(r, y, left, w));
    if (!r.summary) {
      const text = r.failed > 0 ? w.failed(r.failed) : w.none;
      marks.push({ kind: "text", x: x0 + 8, y, text, size: small, tone: "soft" });
      return;
    }
    const s = r.summary;
    marks.push({
      kind: "rect",
      x: Math.min(at(s.low), at(s.high) - 1),
      y: y - 9,
      w: Math.max(2, at(s.high) - at(s.low)),
      h: 18,
      tone: r.style,
      alpha: 0.2,
    });
    s.values.forEach((v, k) => {
      marks.push({
        kind: "dot",
        x: at(v),
        y: y + jitter(k, s.values.length),
        r: 3.2,
        shape: shapeOf(r.style),
        tone: r.style,
        alpha: 0.72,
      });
    });
    marks.push({
      kind: "line",
      points: [
        [at(s.median), y - 13],
        [at(s.median), y + 13],
      ],
      tone: r.style,
      width: 2.5,
    });
    const f = figure(s.median, s.low, s.high, w.exact, w.locale);
    const tall = f.wide ? 8 : 0;
    marks.push({
      kind: "text",
      x: width - 16,
      y: y - tall,
      text: w.unit && w.unit.length < 7 ? `${f.value} ${w.unit}` : f.value,
      size: label,
      tone: "ink",
      align: "end",
      bold: true,
    });
    if (f.wide) {
      marks.push({
        kind: "text",
        x: width - 16,
        y: y + 9,
        text: `${f.low} – ${f.high}`,
        size: small,
        tone: "soft",
        align: "end",
      });
    }
  });
  return { width, height, marks };
}

// A trial keeps its place above or below the line, so that dots do not hide each other.
function jitter(k: number, n: number): number {
  return n < 2 ? 0 : (((k * 0.618034 + 0.5) % 1) - 0.5) * 15;
}

function heading(x: number, text: string, width: number): Mark {
  return {
    kind: "text",
    x,
    y: 14,
    text: wrapped(text, Math.max(60, width), small, 1)[0] ?? "",
    size: small,
    tone: "soft",
  };
}

function rowLabel(r: Row, y: number, width: number, w: ChartWords): Mark[] {
  const lines = wrapped(r.label, width - 26, label, 2);
  if (r.base) lines.push(w.base);
  const step = 16;
  const top = y - ((lines.length - 1) * step) / 2;
  return [
    { kind: "dot", x: 8, y: top, r: 5, shape: shapeOf(r.style), tone: r.style },
    ...lines.map((text, i): Mark => {
      const isBase = r.base && i === lines.length - 1;
      return {
        kind: "text",
        x: 22,
        y: top + i * step,
        text,
        size: isBase ? small : label,
        tone: isBase ? "soft" : "ink",
      };
    }),
  ];
}

function axis(scale: Scale, at: (v: number) => number, rows: number, text: (v: number) => string): Mark[] {
  const bottom = head + rows * rowHeight;
  let free = -Infinity;
  return scale.ticks.flatMap((v): Mark[] => {
    const x = at(v);
    const t = text(v);
    const line: Mark = {
      kind: "line",
      points: [
        [x, head - 8],
        [x, bottom],
      ],
      tone: "line",
      width: 1,
    };
    const half = textWidth(t, small) / 2 + 4;
    if (x - half < free) return [line];
    free = x + half;
    return [line, { kind: "text", x, y: head - 16, text: t, size: small, tone: "soft", align: "middle" }];
  });
}

function ratioPanel(
  g: Group,
  width: number,
  w: ChartWords,
  ratios: readonly number[],
  labelled: boolean,
): Drawing {
  const left = labelled ? labelWidth(width) : 8;
  const right = 132;
  const x0 = left + 16;
  const x1 = width - right - 16;
  const height = head + g.rows.length * rowHeight + foot;
  const scale = ratioScale(ratios);
  const at = (v: number) => x0 + Math.min(1.01, Math.max(-0.01, scale.at(v))) * (x1 - x0);
  const bottom = head + g.rows.length * rowHeight;
  const marks: Mark[] = [
    heading(x0, w.then ? `${w.ratio} · ${w.then}` : w.ratio, width - x0 - 16),
    ...axis(scale, at, g.rows.length, (v) => `${tickText(v)}×`),
    {
      kind: "line",
      points: [
        [at(1), head - 8],
        [at(1), bottom],
      ],
      tone: "soft",
      width: 1.5,
    },
  ];
  g.rows.forEach((r, i) => {
    const y = head + (i + 0.5) * rowHeight;
    if (labelled) marks.push(...rowLabel(r, y, left, w));
    if (r.base) {
      marks.push({ kind: "dot", x: at(1), y, r: 4.5, shape: shapeOf(r.style), tone: r.style });
      return;
    }
    if (r.then) marks.push(...interval(r.then, at, y + (r.comparison ? 9 : 0), r.style, true));
    const c = r.comparison;
    if (!c) return;
    marks.push(...interval(c, at, r.then ? y - 5 : y, r.style, false));
    const f = ratio(c.ratio, c.low, c.high, w.locale);
    marks.push({
      kind: "text",
      x: width,
      y: y - 8,
      text: `${f.value}×`,
      size: label,
      tone: c.clear ? "ink" : "soft",
      align: "end",
      bold: c.clear,
    });
    const why = w.why(r);
    marks.push({
      kind: "text",
      x: width,
      y: y + 9,
      text: why || (f.wide ? `${f.low} – ${f.high}` : ""),
      size: small,
      tone: "soft",
      align: "end",
    });
  });
  return { width, height, marks };
}

function interval(
  c: { ratio: number; low: number; high: number; clear: boolean },
  at: (v: number) => number,
  y: number,
  style: number,
  old: boolean,
): Mark[] {
  const cap = old ? 3 : 5;
  const tone = style;
  const width = old ? 1.2 : 2;
  const line = (x1: number, y1: number, x2: number, y2: number): Mark => ({
    kind: "line",
    points: [
      [x1, y1],
      [x2, y2],
    ],
    tone,
    width,
    ...(old && { dash: "3 2" }),
  });
  return [
    line(at(c.low), y, at(c.high), y),
    line(at(c.low), y - cap, at(c.low), y + cap),
    line(at(c.high), y - cap, at(c.high), y + cap),
    {
      kind: "dot",
      x: at(c.ratio),
      y,
      r: old ? 3.6 : 5,
      shape: shapeOf(style),
      tone,
      hollow: old || !c.clear,
    },
  ];
}
