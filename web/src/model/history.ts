// The last minute of an epoll instance.
import { decodeEpoll, type EpollFrame } from "../wire/epoll";
import { applyFrame, type EpollModel } from "./epoll";
import { Past, type Kind } from "./past";

export type { HistoryEntry } from "./past";

const epoll: Kind<EpollModel, EpollFrame> = {
  apply: (model, frame, last) => applyFrame(model, decodeEpoll(frame), last).model,
  // The map and shape of a model, whose rows are shared with its neighbours;
  // glyph rows, which are not.
  bytes: (m) => m.nodes.size * 140 + (m.glyphs?.length ?? 0) * 200,
  changed: (f) =>
    f.nodes !== null ||
    f.gone !== null ||
    f.glyphs !== null ||
    f.ready !== null ||
    f.overflow !== null ||
    f.waiters !== null ||
    (f.transitions?.length ?? 0) > 0,
};

/** The last minute of an epoll instance. */
export class History extends Past<EpollModel, EpollFrame> {
  constructor(opts: { seconds?: number; bytes?: number } = {}) {
    super(epoll, opts);
  }
}
