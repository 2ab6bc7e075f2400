// The picture of a whole result, for a file.

import type { Info, Metric, Result } from "../net/experiments";
import { ratiosOf, seriesChart, type ChartWords } from "./chart";
import { curveChart, curves } from "./curve";
import { stack, wrapped, type Drawing } from "./drawing";
import { groups, type Group, type Lang } from "./rows";

export interface ReportWords {
  title: string;
  lines: string[]; // machine, run, conditions
  metric: string;
  chart(m: Metric, g: Group): ChartWords;
}

const width = 1120;

export function report(
  info: Info | null,
  result: Result,
  metric: Metric,
  lang: Lang,
  w: ReportWords,
): Drawing {
  const gs = groups(info, result, metric.id, lang);
  const ratios = ratiosOf(gs);
  return stack(
    [
      heading(w.title, 20, true),
      ...w.lines.flatMap((l) => wrapped(l, width, 13, 3).map((x) => heading(x, 13, false))),
      ...curves(info, result, metric.id, lang).map((c) => curveChart(c, width, w.metric)),
      ...gs.map((g) =>
        stack([heading(g.label, 15, true), seriesChart(g, width, w.chart(metric, g), ratios)], 6),
      ),
    ],
    14,
    28,
  );
}

function heading(text: string, size: number, bold: boolean): Drawing {
  return {
    width,
    height: size + 4,
    marks: [{ kind: "text", x: 0, y: size / 2 + 2, text, size, tone: bold ? "ink" : "soft", bold }],
  };
}
