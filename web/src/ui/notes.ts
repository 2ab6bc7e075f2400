// The server sends reasons as keys; these are the ones this page has words for.

import type { Key } from "../i18n/index.svelte";

const keys: Record<string, Key> = {};

export function noteKey(note: string): Key | null {
  return keys[note] ?? null;
}
