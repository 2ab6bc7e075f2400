import type { TableRow } from "../core";

export const columns = [
  "rank",
  "fd",
  "colour",
  "depth",
  "parentFd",
  "events",
  "file",
  "state",
  "data",
  "owner",
] as const;
export type Column = (typeof columns)[number];

/** sortRows sorts a copy; equal rows keep the tree's order. */
export function sortRows(rows: readonly TableRow[], by: Column, descending: boolean): TableRow[] {
  const key = (r: TableRow): number | bigint | string => {
    if (by === "file") return r.file.line;
    if (by === "state") return states(r).join(" ");
    return r[by] ?? -1n; // a culled picture does not carry data
  };
  const sign = descending ? -1 : 1;
  return rows
    .map((row) => ({ row, key: key(row) }))
    .sort((a, b) => (a.key < b.key ? -sign : a.key > b.key ? sign : a.row.rank - b.row.rank))
    .map((x) => x.row);
}

/** states are the lists a row is in, and what is odd about it. */
export function states(r: TableRow): ("ready" | "overflow" | "delivering" | "orphan")[] {
  return (["ready", "overflow", "delivering", "orphan"] as const).filter((s) => r[s]);
}
