// The struct card of a node: what the page itself knows from the frame, and
// why the node stands where it does.

import { eventText, fileWords, type EpollModel, type NodeRow } from "../core";
import { NodeFlag } from "../core";
import type { Params } from "../i18n/format";
import type { Key } from "../i18n/index.svelte";

export interface Line {
  name: string; // of the struct member
  value: string;
}

export function hex(data: bigint): string {
  return data < 1_000_000n ? data.toString() : `0x${data.toString(16)}`;
}

/** lines are the members of struct epitem that the frame carries. */
export function lines(m: EpollModel, n: NodeRow, say: (k: Key, p?: Params) => string): Line[] {
  const known = !m.instance?.membership;
  const colour = n.flags & NodeFlag.black ? "colour.black" : "colour.red";
  const parent = m.node(n.parent);
  const out: Line[] = [];
  if (known) {
    const place = parent ? say("card.under", { fd: parent.fd }) : say("card.root");
    out.push({ name: "rbn", value: `${say(colour)}, ${say("card.depth", { n: m.depth(n.id) })}, ${place}` });
  }
  out.push(
    { name: "ffd.file", value: `#${n.file} ${fileWords(m.file(n.file)).line}` },
    { name: "ffd.fd", value: String(n.fd) },
    { name: "event.events", value: eventText(n.events) },
    { name: "event.data", value: hex(n.data) },
  );
  if (known) out.push({ name: "rdllink", value: say(listed(n)) });
  return out;
}

function listed(n: NodeRow): Key {
  if (n.flags & NodeFlag.delivering) return "card.delivering";
  if (n.flags & NodeFlag.overflow) return "card.overflow";
  if (n.flags & NodeFlag.ready) return "card.ready";
  return "card.notlinked";
}

/** why says between which keys the node stands; null where order is not known. */
export function why(m: EpollModel, n: NodeRow): { key: Key; params: Params } | null {
  if (m.instance?.membership) return null;
  const order = m.inOrder();
  const rank = order.indexOf(n.id);
  if (rank < 0) return null;
  const before = m.node(order[rank - 1] ?? 0);
  const after = m.node(order[rank + 1] ?? 0);
  const params: Params = { file: n.file, fd: n.fd };
  if (before) Object.assign(params, { bfile: before.file, bfd: before.fd });
  if (after) Object.assign(params, { afile: after.file, afd: after.fd });
  if (before?.file === n.file || after?.file === n.file) return { key: "why.samefile", params };
  if (before && after) return { key: "why.between", params };
  if (before) return { key: "why.last", params };
  if (after) return { key: "why.first", params };
  return { key: "why.only", params };
}
