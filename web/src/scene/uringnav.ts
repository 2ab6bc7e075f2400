// Walking a ring by keyboard, and the hidden tree for a screen reader, in the
// order SQ, kernel, CQ, threads. Free slots have an index worth hearing: they
// stand behind the tail, by the position that will be written there next.
import { fillOf, plus, sees, slotOf, type RingModel } from "../model/uring";
import { dataText, opShort, resText } from "../model/uringnames";
import { LANES, MOST_SLOTS } from "./uring";

export type RingWalk = "previous" | "next" | "before" | "after" | "first" | "last";
export type Part = "sq" | "kernel" | "cq" | "threads";
export const PARTS: readonly Part[] = ["sq", "kernel", "cq", "threads"];

/** Whether a position lies behind the tail: its slot is free. */
export function isFree(m: RingModel, id: string): boolean {
  const [queue, rest] = id.split(":");
  const position = Number(rest);
  if (!m.ring || (queue !== "sq" && queue !== "cq") || !Number.isInteger(position)) return false;
  return slots(m, queue).free.includes(position);
}

// Positions of a queue from its head, and how many of them are taken.
function slots(m: RingModel, queue: "sq" | "cq"): { used: number[]; free: number[] } {
  const ring = m.ring!;
  const sq = queue === "sq";
  const rows = (sq ? m.sqes : m.cqes).map((e) => e.position);
  const entries = sq ? ring.sqEntries : ring.cqEntries;
  const fill = fillOf(ring);
  if (!sees(ring, "heads") || (sq ? fill.sqBroken : fill.cqBroken) || entries > MOST_SLOTS) {
    return { used: rows, free: [] };
  }
  const head = sq ? ring.sqHead : ring.cqHead;
  const used = sq ? fill.pending : fill.unread;
  const all = Array.from({ length: entries }, (_, i) => plus(head, i));
  return { used: all.slice(0, used), free: all.slice(used) };
}

/** Ids of what stands in a part of the picture, in order. */
export function idsOf(m: RingModel, part: Part): string[] {
  const ring = m.ring;
  if (!ring) return [];
  switch (part) {
    case "sq":
    case "cq": {
      const { used, free } = slots(m, part);
      return [...used, ...free].map((position) => `${part}:${position}`);
    }
    case "kernel":
      return LANES.flatMap((name) => m.requests.filter((q) => q.where === name).map((q) => `req:${q.id}`));
    case "threads":
      return [
        ...((ring.setup & 2) !== 0 ? ["thread"] : []),
        ...m.workers.filter((w) => w.kind !== "sqpoll").map((w) => `worker:${w.tid}`),
        ...(sees(ring, "overflow") ? ["overflow"] : []),
      ];
  }
}

/** The part that an id belongs to; null for one that is not in the picture any more. */
export function partOf(m: RingModel, id: string): Part | null {
  return PARTS.find((p) => idsOf(m, p).includes(id)) ?? null;
}

/** The next id in that direction; from nowhere the first there is. "" if there is none. */
export function walkRing(m: RingModel, from: string, to: RingWalk): string {
  const lists = PARTS.map((p) => idsOf(m, p));
  const all = lists.flat();
  if (to === "first") return all[0] ?? "";
  if (to === "last") return all.at(-1) ?? "";
  const part = lists.findIndex((l) => l.includes(from));
  if (part < 0) return all[0] ?? "";
  const list = lists[part]!;
  const at = list.indexOf(from);
  if (to === "previous") return list[at - 1] ?? "";
  if (to === "next") return list[at + 1] ?? "";
  const step = to === "after" ? 1 : -1;
  for (let p = part + step; p >= 0 && p < lists.length; p += step) {
    const other = lists[p]!;
    if (other.length > 0) return other[Math.min(at, other.length - 1)]!;
  }
  return "";
}

/** Ids of what carries that user_data: in the SQ, under way, in the CQ. */
export function findUserData(m: RingModel, userData: bigint): string[] {
  return [
    ...m.sqes.filter((e) => e.userData === userData).map((e) => `sq:${e.position}`),
    ...m.requests.filter((q) => q.userData === userData).map((q) => `req:${q.id}`),
    ...m.cqes.filter((e) => e.userData === userData).map((e) => `cq:${e.position}`),
  ];
}

/** "7", "0x7f00…" → the number; null for what is none. */
export function parseUserData(text: string): bigint | null {
  const s = text.trim();
  if (!/^(\d{1,20}|0x[0-9a-fA-F]{1,16})$/.test(s)) return null;
  const n = BigInt(s);
  return n < 1n << 64n ? n : null;
}

export interface RingAriaRow {
  readonly id: string;
  readonly level: 1 | 2;
  readonly position: number;
  readonly setSize: number;
  /** The part, of rows of level 1. */
  readonly part: Part;
  /** Of level 1: how many there are, which may be more than are listed. */
  readonly count: number;
  /** Of level 2: kernel names and numbers; "" for a free slot. */
  readonly text: string;
  /** Index of the slot; -1 for what is none. */
  readonly slot: number;
}

function slotIn(m: RingModel, queue: "sq" | "cq", id: string): number {
  const entries = queue === "sq" ? m.ring!.sqEntries : m.ring!.cqEntries;
  return slotOf(Number(id.split(":")[1]), entries);
}

function textOf(m: RingModel, id: string): string {
  const [kind = "", rest = ""] = id.split(":");
  const n = Number(rest);
  switch (kind) {
    case "sq": {
      const e = m.sqes.find((x) => x.position === n);
      return e ? `${opShort(e.op)} fd ${e.fd}, user_data ${dataText(e.userData)}` : "?";
    }
    case "cq": {
      const e = m.cqes.find((x) => x.position === n);
      return e ? `user_data ${dataText(e.userData)}, res ${resText(e.res)}` : "?";
    }
    case "req": {
      const q = m.requests.find((x) => x.id === n);
      return q ? `${opShort(q.op)} user_data ${dataText(q.userData)}, ${q.where}` : "?";
    }
    case "worker": {
      const w = m.workers.find((x) => x.tid === n);
      return w ? `${w.comm} ${w.tid}, ${w.state}` : "?";
    }
    case "thread":
      return `iou-sqp ${m.ring?.threadPID ?? 0}, ${m.ring?.threadState ?? "unknown"}`;
    default:
      return `cq_overflow_list ${m.ring?.overflowList ?? 0}`;
  }
}

/** At most `limit` rows; of each part the first, and around the focused one. */
export function ringAriaRows(m: RingModel, focused: string, limit = 200): RingAriaRow[] {
  const ring = m.ring;
  if (!ring) return [];
  const rows: RingAriaRow[] = [];
  const each = Math.floor(limit / PARTS.length) - 1;
  PARTS.forEach((part, i) => {
    const ids = idsOf(m, part);
    const count =
      part === "sq"
        ? plus(ring.sqTail, -ring.sqHead)
        : part === "cq"
          ? plus(ring.cqTail, -ring.cqHead)
          : part === "kernel"
            ? ring.requests
            : ids.length;
    rows.push({
      id: `part-${part}`,
      level: 1,
      position: i + 1,
      setSize: PARTS.length,
      part,
      count,
      text: "",
      slot: -1,
    });
    const at = ids.indexOf(focused);
    const from = at >= each ? at - each + 1 : 0;
    ids.slice(from, from + each).forEach((id, k) => {
      rows.push({
        id,
        level: 2,
        position: from + k + 1,
        setSize: ids.length,
        part,
        count: 0,
        text: isFree(m, id) ? "" : textOf(m, id),
        slot: part === "sq" || part === "cq" ? slotIn(m, part, id) : -1,
      });
    });
  });
  return rows;
}
