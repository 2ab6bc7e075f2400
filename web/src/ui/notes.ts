// The server sends reasons as keys; these are the ones this page has words for:
// a lower-case errno, or what internal/workload/puppet calls a note.

import type { Key } from "../i18n/more";

const keys: Record<string, Key> = {
  eexist: "note.eexist",
  enoent: "note.enoent",
  eloop: "note.eloop",
  einval: "note.einval",
  ebadf: "note.ebadf",
  eperm: "note.eperm",
  eagain: "note.eagain",
  eintr: "note.eintr",
  emfile: "note.emfile",
  enfile: "note.enfile",
  enospc: "note.enospc",
  enomem: "note.enomem",
  dup_survives: "note.dupsurvives",
  close_removes: "note.closeremoves",
  oneshot_off: "note.oneshot",
  timeout: "note.timeout",
  add_ready: "note.addready",
  epoll_in_use: "note.epollinuse",
  memory: "ring.note.memory",
  ring_in_use: "ring.note.inuse",
};

export function noteKey(note: string): Key | null {
  return Object.hasOwn(keys, note) ? (keys[note] ?? null) : null;
}
