// Number fields of the panels.

/** Threads that a puppet may wait in. */
export const threads = Array.from({ length: 16 }, (_, i) => i + 1);

/** clampNumber reads a number field: whole, within bounds, or the fallback. */
export function clampNumber(value: unknown, lo: number, hi: number, fallback: number): number {
  const n = Math.round(Number(value));
  return value === "" || value === null || !Number.isFinite(n) ? fallback : Math.min(hi, Math.max(lo, n));
}
