// How far a run is, for a bar and for those who hear it.

import type { Progress } from "../net/messages";

/** share is 0 to 1. */
export function share(p: Progress): number {
  if (!(p.total > 0)) return 0;
  return Math.min(1, Math.max(0, p.done / p.total));
}

/** milestone changes when something is worth saying aloud: the phase, or each quarter. */
export function milestone(p: Progress): string {
  return `${p.run} ${p.phase} ${Math.floor(share(p) * 4)}`;
}
