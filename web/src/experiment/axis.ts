// Scales of charts: from values to pixels, with ticks at round numbers.

export interface Scale {
  log: boolean;
  lo: number;
  hi: number;
  ticks: number[];
  /** Share of the way from lo to hi, 0 to 1 inside. */
  at(value: number): number;
}

/**
 * valueScale shows quantities. It begins at zero, so that lengths can be
 * compared, unless the largest is over twenty times the smallest: then it is
 * logarithmic, and says so by its ticks.
 */
export function valueScale(values: readonly number[]): Scale {
  const finite = values.filter(Number.isFinite);
  const hi = Math.max(0, ...finite);
  const least = Math.min(...finite);
  if (finite.length > 0 && least > 0 && hi / least > 20) return logScale(least, hi);
  return linearScale(Math.min(0, finite.length > 0 ? least : 0), hi > 0 ? hi : 1);
}

export function linearScale(lo: number, hi: number): Scale {
  const step = niceStep((hi - lo) / 5);
  const ticks: number[] = [];
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i++) ticks.push(tidy(i * step));
  const top = Math.max(hi * 1.02, ticks.at(-1) ?? hi);
  return { log: false, lo, hi: top, ticks, at: (v) => (v - lo) / (top - lo) };
}

export function logScale(least: number, most: number): Scale {
  const lo = least / 1.15;
  const hi = most * 1.15;
  const span = Math.log(hi / lo);
  return { log: true, lo, hi, ticks: logTicks(lo, hi), at: (v) => Math.log(v / lo) / span };
}

/**
 * ratioScale shows ratios about 1, which is always on it; it spans at least
 * 0.8 to 1.25, so that noise does not look like much.
 */
export function ratioScale(values: readonly number[]): Scale {
  const finite = values.filter((v) => Number.isFinite(v) && v > 0);
  const s = logScale(Math.min(0.8, ...finite), Math.max(1.25, ...finite));
  return s.ticks.includes(1) ? s : { ...s, ticks: [...s.ticks, 1].sort((a, b) => a - b) };
}

const fine = [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 1.75, 2];

function logTicks(lo: number, hi: number): number[] {
  const inside = (v: number) => v >= lo && v <= hi;
  const decades = (steps: number[], every = 1) => {
    const out: number[] = [];
    for (let e = Math.floor(Math.log10(lo)); e <= Math.ceil(Math.log10(hi)); e++) {
      if (e % every === 0) for (const s of steps) out.push(tidy(s * 10 ** e));
    }
    return out.filter(inside);
  };
  if (hi / lo < 4 && lo >= 0.5 && hi <= 2) {
    const ticks = fine.filter(inside);
    return ticks.length <= 6 ? ticks : ticks.filter((v) => v === 1 || v % 0.25 < 1e-9 || v === 0.8);
  }
  if (hi / lo < 60) {
    const some = [
      [1, 2, 5],
      [1, 2, 3, 5],
      [1, 1.5, 2, 3, 4, 5, 7],
    ].map((s) => decades(s));
    return some.find((t) => t.length >= 4) ?? some.at(-1)!;
  }
  if (hi / lo < 1e5) {
    const some = [[1, 2, 5], [1, 3], [1]].map((s) => decades(s));
    return some.find((t) => t.length <= 7) ?? some.at(-1)!;
  }
  return decades([1], Math.ceil(Math.log10(hi / lo) / 5));
}

function niceStep(raw: number): number {
  const power = 10 ** Math.floor(Math.log10(raw));
  const lead = raw / power;
  return (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10) * power;
}

// Without the last bits that repeated steps leave.
function tidy(v: number): number {
  return Number(v.toPrecision(12));
}

/** tickText is short: "0.5", "20", "100k", "1M", "0.001". */
export function tickText(v: number): string {
  const a = Math.abs(v);
  if (a >= 1e9) return `${tidy(v / 1e9)}G`;
  if (a >= 1e6) return `${tidy(v / 1e6)}M`;
  if (a >= 1e4) return `${tidy(v / 1e3)}k`;
  if (a !== 0 && a < 1e-4) return v.toExponential(0);
  return String(tidy(v));
}
