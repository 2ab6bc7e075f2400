import type { Target } from "../net/messages";

/** Row is a line of the playground; a gone one stays while the list is held. */
export interface Row {
  key: string;
  target: Target;
  gone: boolean;
}

/**
 * arrange makes the next list from the last one. Free, it sorts by items, most
 * first. Held (the pointer or the focus is in the list), nothing moves: rows
 * change in place, ended ones are marked, new ones come at the end.
 */
export function arrange(last: readonly Row[], targets: readonly Target[], held: boolean): Row[] {
  const rows = new Map(targets.map((t) => [`${t.view}/${t.name}`, t]));
  const fresh = (key: string, target: Target): Row => ({ key, target, gone: false });
  if (!held) return [...rows].map(([k, t]) => fresh(k, t)).sort(byItems);
  const kept = last.map((r) => {
    const target = rows.get(r.key);
    rows.delete(r.key);
    return target ? fresh(r.key, target) : { ...r, gone: true };
  });
  return [...kept, ...[...rows].map(([k, t]) => fresh(k, t)).sort(byItems)];
}

function byItems(a: Row, b: Row): number {
  return b.target.items - a.target.items || a.target.pid - b.target.pid || a.target.fd - b.target.fd;
}

/** matches finds all words of a filter in the name, pid, fd or "pid:fd" of a target. */
export function matches(target: Target, filter: string): boolean {
  const text = `${target.comm} ${target.pid} ${target.fd} ${target.name}`.toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** shared holds the instances that more than one process or fd reaches. */
export function shared(targets: readonly Target[]): Set<number> {
  const seen = new Set<number>();
  const twice = new Set<number>();
  for (const { instance } of targets) {
    if (instance === 0) continue;
    if (seen.has(instance)) twice.add(instance);
    seen.add(instance);
  }
  return twice;
}
