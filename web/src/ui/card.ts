// The struct card of a node: what the page itself knows from the frame, and
// why the node stands where it does.

import { eventText, fileWords, NodeFlag, type EpollModel } from "../core";
import type { Params } from "../i18n/format";
import type { Key } from "../i18n/more";
import type { Field } from "../net/messages";

export interface Line {
  name: string; // of the struct member
  value: string;
}

/** Item is an epitem as far as the frame tells of it: a glyph has no user data. */
export type Item = NonNullable<ReturnType<typeof itemOf>>;

/** itemOf finds a node drawn singly, in a whole tree or in a culled one; null for a subtree. */
export function itemOf(m: EpollModel, id: number) {
  const brief = m.brief(id);
  if (!brief || brief.count > 1) return null;
  const parent = m.node(id)?.parent ?? m.glyph(id)?.parent ?? 0;
  return { ...brief, data: m.node(id)?.data ?? null, depth: m.depth(id), parent: m.brief(parent)?.fd ?? -1 };
}

export function hex(data: bigint | null): string {
  if (data === null) return "";
  return data < 1_000_000n ? data.toString() : `0x${data.toString(16)}`;
}

/** lines are the members of struct epitem that the frame carries. */
export function lines(m: EpollModel, n: Item, say: (k: Key, p?: Params) => string): Line[] {
  const known = !m.instance?.membership;
  const out: Line[] = [];
  if (known) {
    const colour = say(n.flags & NodeFlag.black ? "colour.black" : "colour.red");
    const place = n.parent >= 0 ? say("card.under", { fd: String(n.parent) }) : "";
    const words = [colour, say("card.depth", { n: n.depth }), n.depth === 0 ? say("card.root") : place];
    out.push({ name: "rbn", value: words.filter(Boolean).join(", ") });
  }
  out.push(
    { name: "ffd.file", value: fileText(m, n.file) },
    { name: "ffd.fd", value: String(n.fd) },
    { name: "event.events", value: eventText(n.events).replaceAll("EPOLL", "") },
  );
  if (n.data !== null) out.push({ name: "event.data", value: hex(n.data) });
  if (known) out.push({ name: "rdllink", value: say(listed(n.flags)) });
  return out;
}

// A culled frame does not tell what kind of file it is.
function fileText(m: EpollModel, id: number): string {
  const file = m.file(id);
  return file ? `#${id} ${fileWords(file).line}` : `#${id}`;
}

function listed(flags: number): Key {
  if (flags & NodeFlag.delivering) return "card.delivering";
  if (flags & NodeFlag.overflow) return "card.overflow";
  if (flags & NodeFlag.ready) return "card.ready";
  return "card.notlinked";
}

/** why says between which keys the node stands; null where that is not known. */
export function why(m: EpollModel, n: Item): { key: Key; params: Params } | null {
  if (m.instance?.membership) return null;
  const order = m.inOrder();
  const i = order.indexOf(n.id);
  const rank = m.rank(n.id);
  if (i < 0) return null;
  const before = neighbour(m, order[i - 1], rank - 1);
  const after = neighbour(m, order[i + 1], rank + 1);
  if ((!before && rank > 0) || (!after && rank < m.items - 1)) return null;
  const params: Params = { file: String(n.file) };
  if (before) Object.assign(params, { bfile: String(before.file), bfd: String(before.fd) });
  if (after) Object.assign(params, { afile: String(after.file), afd: String(after.fd) });
  if (before?.file === n.file || after?.file === n.file) return { key: "why.samefile", params };
  if (before && after) return { key: "why.between", params };
  if (before) return { key: "why.last", params };
  if (after) return { key: "why.first", params };
  return { key: "why.only", params };
}

// The item at that rank, if it is drawn singly.
function neighbour(m: EpollModel, id: number | undefined, rank: number): Item | null {
  if (id === undefined || m.rank(id) !== rank) return null;
  return itemOf(m, id);
}

/** isInner: locks and the other views of a union hide what a struct is about. */
export function isInner(f: Field): boolean {
  return f.note === "union" || /lock|osq|dep_map/.test(f.path);
}
