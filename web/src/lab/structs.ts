// Which fields of a struct a lesson shows at first: the marked ones, with the
// number of those left out between them.

import type { StructCard } from "../net/labs";

type Field = StructCard["fields"][number];
export type StructRow = { field: Field; marked: boolean } | { gap: number; at: number };

const shownWhole = 12; // fields

export function isMarked(s: StructCard, f: Field): boolean {
  return s.marked.some((m) => f.path === m || f.path.startsWith(`${m}.`));
}

/** isLong tells whether a struct is shown in part at first. */
export function isLong(s: StructCard): boolean {
  return s.fields.length > shownWhole && s.fields.some((f) => isMarked(s, f));
}

export function structRows(s: StructCard, all: boolean): StructRow[] {
  const short = !all && isLong(s);
  const out: StructRow[] = [];
  for (const [i, field] of s.fields.entries()) {
    const marked = isMarked(s, field);
    const last = out.at(-1);
    if (!short || marked) out.push({ field, marked });
    else if (last && "gap" in last) last.gap++;
    else out.push({ gap: 1, at: i });
  }
  return out;
}
