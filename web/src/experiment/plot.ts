// A curve in uPlot: lines with bands of quartiles, a shape for each variant.
// Loaded only where there is a curve.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { tickText } from "./axis";
import type { Colours } from "./colours";
import { columns, dashOf, valueAxis, type Curve } from "./curve";
import { dotPath } from "./outline";
import { shapeOf } from "./rows";

export interface PlotWords {
  values: string; // label of the axis of values
}

/** plot draws into a host; the caller destroys it. `onpoint` gets the index of x under the pointer, or null. */
export function plot(
  host: HTMLElement,
  curve: Curve,
  width: number,
  colours: Colours,
  words: PlotWords,
  onpoint: (at: number | null) => void,
): uPlot {
  const { palette } = colours;
  const colour = (style: number) => colours.variants[style % colours.variants.length]!;
  const font = `12px ${palette.sans}`;
  const grid = { stroke: palette.line, width: 1 };
  const values = valueAxis(curve);
  const options: uPlot.Options = {
    width,
    height: 320,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
    scales: {
      x: { time: false, distr: curve.log ? 3 : 1, ...(curve.log && { log: 2 as const }) },
      y: { distr: values.log ? 3 : 1, range: [values.lo, values.hi] },
    },
    axes: [
      {
        stroke: palette.soft,
        grid,
        ticks: grid,
        font,
        label: curve.label,
        labelFont: font,
        labelSize: curve.label ? 24 : 0,
        splits: () => curve.x,
        filter: all,
        values: (_u, at) => at.map((v) => tickText(v)),
      },
      {
        stroke: palette.soft,
        grid,
        ticks: grid,
        font,
        size: 64,
        label: words.values,
        labelFont: font,
        labelSize: 24,
        splits: () => values.ticks,
        filter: all,
        values: (_u, at) => at.map((v) => tickText(v)),
      },
    ],
    series: [
      {},
      ...curve.lines.flatMap((l): uPlot.Series[] => {
        const dash = dashOf(l.style);
        const edge: uPlot.Series = { scale: "y", stroke: "transparent", width: 0, points: { show: false } };
        return [
          {
            scale: "y",
            label: l.label,
            stroke: colour(l.style),
            width: 2,
            ...(dash && { dash: dash.split(" ").map(Number) }),
            points: { show: false },
          },
          edge,
          edge,
        ];
      }),
    ],
    bands: curve.lines.map((l, i) => ({
      series: [3 * i + 3, 3 * i + 2], // from high down to low
      fill: faint(colour(l.style)),
    })),
    hooks: {
      draw: [(u) => curve.lines.forEach((l, i) => marks(u, 3 * i + 1, l.style, colour(l.style)))],
      setCursor: [(u) => onpoint(u.cursor.idx ?? null)],
    },
  };
  return new uPlot(options, columns(curve) as uPlot.AlignedData, host);
}

// All ticks get their number: on a logarithmic axis uPlot would drop some.
function all(_u: uPlot, at: number[]): number[] {
  return at;
}

function marks(u: uPlot, series: number, style: number, colour: string): void {
  const xs = u.data[0];
  const ys = u.data[series] ?? [];
  u.ctx.save();
  u.ctx.fillStyle = colour;
  xs.forEach((x, i) => {
    const y = ys[i];
    if (y === null || y === undefined) return;
    u.ctx.fill(
      new Path2D(
        dotPath({
          kind: "dot",
          x: u.valToPos(x, "x", true),
          y: u.valToPos(y, "y", true),
          r: 4.5 * uPlot.pxRatio,
          shape: shapeOf(style) === "ring" ? "circle" : shapeOf(style),
          tone: style,
        }),
      ),
    );
  });
  u.ctx.restore();
}

function faint(hex: string): string {
  return `${hex}2b`;
}
