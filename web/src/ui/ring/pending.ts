// A preset outlives the panel that it was pressed in: the ring made for it has a
// page of its own.

import type { Pending } from "./panel";

let pending: Pending | null = null;

export function setPending(p: Pending): void {
  pending = p;
}

/** takePending gives the preset that waits for that ring, once. */
export function takePending(topic: string): Pending | null {
  if (pending?.topic !== topic) return null;
  const p = pending;
  pending = null;
  return p;
}
