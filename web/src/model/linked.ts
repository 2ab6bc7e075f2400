// The moment between rb_link_node and rb_insert_color: the new node hangs red
// where its key belongs and nothing has turned yet.
import { NodeFlag, type NodeRow } from "../wire/epoll";
import type { ModelDiff } from "./diff";
import { EpollModel, partsOf, shapeOf } from "./epoll";

/**
 * The tree of `before` with the one new node linked as a leaf; null where
 * something else happened, or where the insertion ended with that. It is drawn
 * on the way to `after` and belongs to no instant the kernel was read at.
 */
export function linkedModel(before: EpollModel, after: EpollModel, diff: ModelDiff): EpollModel | null {
  const link = diff.steps?.[0];
  if (diff.ops !== 1 || link?.op !== "link" || link.side === "root" || diff.steps!.length < 2) return null;
  const row = after.node(link.node);
  const parent = before.node(link.parent);
  if (!row || !parent || !after.instance || !before.instance) return null;
  const nodes = new Map<number, NodeRow>(before.nodes);
  nodes.set(parent.id, { ...parent, [link.side]: row.id });
  nodes.set(row.id, { ...row, parent: parent.id, left: 0, right: 0, flags: row.flags & ~NodeFlag.black });
  const shape = shapeOf(nodes, before.instance.root);
  if (typeof shape === "string") return null;
  const instance = { ...after.instance, root: before.instance.root, depth: shape.levels };
  return new EpollModel({ ...partsOf(after), nodes, shape, instance });
}
