// Figures with no more digits than their spread allows.

/**
 * decimals is how many digits after the point a value may show (negative: it
 * is rounded to tens, hundreds, …). The last digit shown is the first of the
 * width of its interval; at least two significant digits are shown and at most
 * four, three where the interval has no width.
 */
export function decimals(value: number, width: number): number {
  const size = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)));
  const fewest = 1 - size;
  if (!(width > 0)) return 2 - size;
  return Math.min(3 - size, Math.max(fewest, -Math.floor(Math.log10(width) + 1e-9)));
}

/** rounded is a value with so many decimals, its digits grouped as the language does. */
export function rounded(value: number, places: number, locale: string): string {
  const unit = 10 ** -places;
  const v = places < 0 ? Math.round(value / unit) * unit : value;
  const digits = Math.max(0, Math.min(12, places));
  return (v === 0 ? 0 : v).toLocaleString(locale, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** Figure is a median with its quartiles, rounded alike. */
export interface Figure {
  value: string;
  low: string;
  high: string;
  /** The interval has a width that the digits show. */
  wide: boolean;
}

/** exactly shows a count as it is: every digit of it is meant. */
export function exactly(value: number, locale: string): string {
  return value.toLocaleString(locale, { maximumFractionDigits: Number.isInteger(value) ? 0 : 1 });
}

export function figure(median: number, low: number, high: number, exact: boolean, locale: string): Figure {
  if (exact) {
    return {
      value: exactly(median, locale),
      low: exactly(low, locale),
      high: exactly(high, locale),
      wide: low !== high,
    };
  }
  const places = decimals(median, high - low);
  const out = {
    value: rounded(median, places, locale),
    low: rounded(low, places, locale),
    high: rounded(high, places, locale),
  };
  return { ...out, wide: out.low !== out.high };
}

/**
 * ratio is a figure of a ratio: "0.23", never more than four digits. One below
 * 0.1 is a fraction, "1/116"; its lower bound has the higher denominator.
 */
export function ratio(median: number, low: number, high: number, locale: string): Figure {
  if (!(median > 0) || median >= 0.1 || low <= 0) return figure(median, low, high, false, locale);
  // Counts are whole, but for a logarithm and back.
  const inverse = (v: number) => {
    const whole = Math.round(1 / v);
    return Math.abs(1 / v - whole) < 1e-9 * whole ? whole : 1 / v;
  };
  const [m, l, h] = [inverse(median), inverse(high), inverse(low)];
  const f = figure(m, l, h, l === h && Number.isInteger(m), locale);
  return { value: `1/${f.value}`, low: `1/${f.high}`, high: `1/${f.low}`, wide: f.wide };
}

/** bytes of memory: "24 GiB", "512 MiB". */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  let v = n;
  while (v >= 1024 && i < units.length - 1) {
    v /= 1024;
    i++;
  }
  return `${v >= 100 || Number.isInteger(v) ? Math.round(v) : v.toPrecision(2)} ${units[i]}`;
}

/** clock of seconds: "8 s", "1 min 20 s"; what an estimate can be trusted to. */
export function clock(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
}

/** about is a time that was planned: "20 s", "3 min". */
export function about(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return `${Math.round(seconds / 60)} min`;
}
