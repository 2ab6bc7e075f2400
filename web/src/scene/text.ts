// Widths of text without a document: the mono face advances 0.6 em, the rest
// is an estimate of Inter at text sizes.

export function monoWidth(text: string, size: number): number {
  let em = 0;
  for (const c of text) em += c.codePointAt(0)! >= 0x2e80 ? 1 : 0.6;
  return em * size;
}

export function sansWidth(text: string, size: number): number {
  let em = 0;
  for (const c of text) em += c.codePointAt(0)! >= 0x2e80 ? 1 : 0.52;
  return em * size;
}

/** 1234567 → "1,234,567". */
export function grouped(n: number): string {
  const digits = String(Math.trunc(n));
  let out = "";
  for (let i = 0; i < digits.length; i++) {
    if (i > 0 && (digits.length - i) % 3 === 0 && digits[i - 1] !== "-") out += ",";
    out += digits[i];
  }
  return out;
}

/** A time span in ns, short: "2.4 s", "41 s", "3 min", "5 h". */
export function span(ns: number): string {
  const s = Math.max(0, ns) / 1e9;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return `${Math.round(s / 3600)} h`;
}
