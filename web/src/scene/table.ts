// The table twin: the same items, in order, as rows.
import type { EpollModel } from "../model/epoll";
import { eventText } from "../model/events";
import { fileWords, type FileWords } from "../model/files";
import { NodeFlag } from "../wire/epoll";

export interface TableRow {
  id: number;
  rank: number;
  fd: number;
  colour: "red" | "black" | "unknown";
  /** -1 where the shape is unknown. */
  depth: number;
  /** -1 where there is none, or it is not known. */
  parentFd: number;
  leftFd: number;
  rightFd: number;
  events: string;
  file: FileWords;
  fileId: number;
  ready: boolean;
  overflow: boolean;
  delivering: boolean;
  orphan: boolean;
  /** event.data; null in a culled picture, which does not carry it. */
  data: bigint | null;
  owner: number;
  nested: number;
  /** Items the row stands for; above 1 it is a subtree, described by its root. */
  count: number;
}

/** Every item held, in order. Subtrees of a culled picture are one row each. */
export function tableRows(model: EpollModel): TableRow[] {
  const ids = model.inOrder();
  const fdOf = (id: number): number => (id === 0 ? -1 : (model.brief(id)?.fd ?? -1));
  return ids.map((id, i) => {
    const n = model.node(id);
    const b = model.brief(id)!;
    return {
      id,
      rank: model.shape || model.glyphs ? model.rank(id) : i,
      fd: b.fd,
      colour: model.membership ? "unknown" : b.flags & NodeFlag.black ? "black" : "red",
      depth: model.depth(id),
      parentFd: fdOf(n?.parent ?? model.glyph(id)?.parent ?? 0),
      leftFd: fdOf(n?.left ?? 0),
      rightFd: fdOf(n?.right ?? 0),
      events: eventText(b.events),
      file: fileWords(model.file(b.file)),
      fileId: b.file,
      ready: (b.flags & NodeFlag.ready) !== 0,
      overflow: (b.flags & NodeFlag.overflow) !== 0,
      delivering: (b.flags & NodeFlag.delivering) !== 0,
      orphan: (b.flags & NodeFlag.orphan) !== 0,
      data: n?.data ?? null,
      owner: n?.owner ?? 0,
      nested: b.nested,
      count: b.count,
    };
  });
}
