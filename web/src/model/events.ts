// The events of an epitem, by the names of include/uapi/linux/eventpoll.h.

const NAMES: readonly (readonly [number, string])[] = [
  [0x001, "EPOLLIN"],
  [0x002, "EPOLLPRI"],
  [0x004, "EPOLLOUT"],
  [0x008, "EPOLLERR"],
  [0x010, "EPOLLHUP"],
  [0x020, "EPOLLNVAL"],
  [0x040, "EPOLLRDNORM"],
  [0x080, "EPOLLRDBAND"],
  [0x100, "EPOLLWRNORM"],
  [0x200, "EPOLLWRBAND"],
  [0x400, "EPOLLMSG"],
  [0x2000, "EPOLLRDHUP"],
  [0x08000000, "EPOLL_URING_WAKE"],
  [0x10000000, "EPOLLEXCLUSIVE"],
  [0x20000000, "EPOLLWAKEUP"],
  [0x40000000, "EPOLLONESHOT"],
  [0x80000000, "EPOLLET"],
];

/**
 * ["EPOLLIN", "EPOLLET"]; unknown bits last, as one "0x…". EPOLLERR and
 * EPOLLHUP, which the kernel adds to every mask, are named like the others.
 */
export function eventNames(mask: number): string[] {
  let rest = mask >>> 0;
  const out: string[] = [];
  for (const [bit, name] of NAMES) {
    if ((rest & bit) === 0) continue;
    out.push(name);
    rest = (rest & ~bit) >>> 0;
  }
  if (rest !== 0) out.push(`0x${rest.toString(16)}`);
  return out;
}

/** "EPOLLIN|EPOLLET", as strace prints it; "0" for none. */
export function eventText(mask: number): string {
  return eventNames(mask).join("|") || "0";
}

/** "IN ET": beside a node. What ep_insert adds to every mask (ERR, HUP) is left out. */
export function eventShort(mask: number): string {
  return eventNames((mask & ~0x18) >>> 0)
    .map((n) => n.replace(/^EPOLL_?/, ""))
    .join(" ");
}

/** The mask of such names; null if one is unknown. */
export function parseEvents(names: readonly string[]): number | null {
  let mask = 0;
  for (const name of names) {
    const known = NAMES.find(([, n]) => n === name);
    if (!known) return null;
    mask |= known[0];
  }
  return mask >>> 0;
}
