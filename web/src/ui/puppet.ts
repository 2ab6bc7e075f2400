// What the puppet panel offers: kept apart from how it looks.

import { eventNames, findFd, type EpollModel } from "../core";
import type { PuppetState } from "../net/messages";

/** Flags of epoll_event.events, inputs first, then how they are reported. */
export const eventFlags = [
  "EPOLLIN",
  "EPOLLOUT",
  "EPOLLPRI",
  "EPOLLRDHUP",
  "EPOLLET",
  "EPOLLONESHOT",
  "EPOLLEXCLUSIVE",
] as const;

export const mostAdded = 10_000;

/** FdRow is a line of the list of descriptors. */
export interface FdRow {
  fd: number;
  kind: string;
  peer: number;
  readable: boolean;
  /** Instances that hold it, by fd. */
  in: number[];
  /** It is an epoll instance itself. */
  epoll: boolean;
}

/** fdRows lists what the puppet has open, by fd, filtered by fd or kind. */
export function fdRows(state: PuppetState | null, filter: string): FdRow[] {
  if (!state) return [];
  const epolls = new Set(state.epolls.map((e) => e.fd));
  const word = filter.trim().toLowerCase();
  return state.fds
    .map((f) => ({ ...f, epoll: epolls.has(f.fd) }))
    .filter((f) => !word || String(f.fd) === word || f.kind.includes(word))
    .sort((a, b) => a.fd - b.fd);
}

// The kernel adds these to every mask (do_epoll_ctl in fs/eventpoll.c).
const implied = new Set(["EPOLLERR", "EPOLLHUP"]);

/** eventsOf is the mask that the watched instance holds for an fd; null if it holds none. */
export function eventsOf(model: EpollModel, fd: number): string[] | null {
  const item = model.brief(findFd(model, fd)[0] ?? 0);
  return item ? eventNames(item.events).filter((e) => !implied.has(e)) : null;
}
