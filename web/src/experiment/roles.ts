// CPU time by role: sender and receiver, server and clients, apart and together.

import type { Info, Metric, Result } from "../net/experiments";
import { tickText, valueScale } from "./axis";
import { wrapped, type Drawing, type Mark } from "./drawing";
import { decimals, rounded } from "./numbers";
import { shapeOf, styles, variantLabel, type Lang } from "./rows";

/** rolesOf are the metrics that give the CPU time of one role each; none unless there are two in one unit. */
export function rolesOf(metrics: readonly Metric[]): Metric[] {
  const roles = metrics.filter((m) => /^[a-z]+_cpu(_|$)/.test(m.id));
  return roles.length > 1 && roles.every((m) => m.unit === roles[0]!.unit) ? roles : [];
}

export interface RoleRow {
  id: string;
  label: string;
  style: number;
  medians: number[]; // by role
  digits: number; // after the point
}

/** roleRows are the variants for which all roles were measured. */
export function roleRows(
  info: Info | null,
  result: Result,
  series: string,
  roles: readonly Metric[],
  lang: Lang,
): RoleRow[] {
  const style = styles(info, result);
  const s = result.series.find((x) => x.id === series);
  return (s?.variants ?? []).flatMap((v): RoleRow[] => {
    const of = roles.flatMap((m) => v.metrics[m.id] ?? []);
    if (roles.length === 0 || of.length < roles.length) return [];
    const medians = of.map((x) => x.median);
    const width = Math.max(...of.map((x) => x.high - x.low));
    return [
      {
        id: v.id,
        label: variantLabel(info, series, v.id, lang),
        style: style.get(v.id) ?? 0,
        medians,
        digits: Math.max(0, decimals(Math.min(...medians), width)), // so that the sum is seen to be one
      },
    ];
  });
}

const rowHeight = 30;
const head = 40;

/** roleChart stacks the roles of each variant; `names` are theirs. */
export function roleChart(
  rows: readonly RoleRow[],
  names: readonly string[],
  unit: string,
  width: number,
  locale: string,
): Drawing {
  const left = Math.max(112, Math.min(216, width * 0.2));
  const x0 = left + 16;
  const x1 = width - 220;
  const total = (r: RoleRow) => r.medians.reduce((a, b) => a + b, 0);
  const scale = valueScale([0, ...rows.map(total)]);
  const at = (v: number) => x0 + scale.at(v) * (x1 - x0);
  const height = head + rows.length * rowHeight + 4;
  const marks: Mark[] = [];
  let x = x0;
  names.forEach((name, i) => {
    marks.push(
      { kind: "rect", x, y: 4, w: 12, h: 12, tone: "soft", alpha: shade(i) },
      { kind: "text", x: x + 18, y: 10, text: name, size: 12, tone: "soft" },
    );
    x += 40 + name.length * 7;
  });
  for (const v of scale.ticks) {
    marks.push(
      {
        kind: "line",
        points: [
          [at(v), head - 6],
          [at(v), height - 4],
        ],
        tone: "line",
        width: 1,
      },
      { kind: "text", x: at(v), y: head - 12, text: tickText(v), size: 12, tone: "soft", align: "middle" },
    );
  }
  rows.forEach((r, i) => {
    const y = head + (i + 0.5) * rowHeight;
    marks.push(
      { kind: "dot", x: 8, y, r: 5, shape: shapeOf(r.style), tone: r.style },
      { kind: "text", x: 22, y, text: wrapped(r.label, left - 26, 13, 1)[0] ?? "", size: 13, tone: "ink" },
    );
    let from = 0;
    r.medians.forEach((m, k) => {
      marks.push({
        kind: "rect",
        x: at(from),
        y: y - 8,
        w: Math.max(1, at(from + m) - at(from) - 1),
        h: 16,
        tone: r.style,
        alpha: shade(k),
      });
      from += m;
    });
    const say = (v: number) => rounded(v, r.digits, locale);
    marks.push({
      kind: "text",
      x: width,
      y,
      text: `${r.medians.map(say).join(" + ")} = ${say(total(r))} ${unit}`,
      size: 12,
      tone: "ink",
      align: "end",
    });
  });
  return { width, height, marks };
}

function shade(role: number): number {
  return [0.85, 0.4, 0.2][role] ?? 0.12;
}
