// Which terminals of a lab have a tab: numbers 1 to 4, in order.

export const mostTabs = 4;

/** firstTabs are those that run already; there is always one. */
export function firstTabs(running: readonly number[], current: number): number[] {
  return sorted([...running, current]);
}

export function withTab(tabs: readonly number[], n: number): number[] {
  return sorted([...tabs, n]);
}

/** freeTab is the number for one more tab, 0 if there is none. */
export function freeTab(tabs: readonly number[]): number {
  for (let n = 1; n <= mostTabs; n++) if (!tabs.includes(n)) return n;
  return 0;
}

/** withoutTab closes a tab and says which is shown then. The last one stays. */
export function withoutTab(
  tabs: readonly number[],
  n: number,
  current: number,
): { tabs: number[]; current: number } {
  if (tabs.length < 2) return { tabs: [...tabs], current };
  const left = tabs.filter((t) => t !== n);
  if (current !== n) return { tabs: left, current };
  return { tabs: left, current: left[Math.min(tabs.indexOf(n), left.length - 1)]! };
}

function sorted(tabs: number[]): number[] {
  const kept = tabs.filter((n, i) => n >= 1 && n <= mostTabs && tabs.indexOf(n) === i);
  return kept.length > 0 ? kept.sort((a, b) => a - b) : [1];
}
