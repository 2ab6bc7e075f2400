// Numbers for people.

/** duration of ms: "12 ms", "2.4 s", "3 min 05 s". */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.floor(ms / 1000);
  return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
}

/** nanos of ns: "840 ns", "12 µs", "3.1 ms". */
export function nanos(ns: number): string {
  if (ns < 1000) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(ns < 1e4 ? 1 : 0)} µs`;
  return `${(ns / 1e6).toFixed(ns < 1e7 ? 1 : 0)} ms`;
}

/** percent of a share: "0.03 %", "4.2 %", "37 %". */
export function percent(share: number): string {
  const p = share * 100;
  if (p === 0) return "0 %";
  if (p < 0.01) return "< 0.01 %";
  return `${p < 1 ? p.toFixed(2) : p < 10 ? p.toFixed(1) : p.toFixed(0)} %`;
}

/** breakable lets a line of flags break between them. */
export function breakable(s: string): string {
  return s.replaceAll("|", "|\u200b");
}
