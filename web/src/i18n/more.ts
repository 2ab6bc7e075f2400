// Every string, for the parts that come after the first picture: what they need
// in English is loaded with the first of them.

import type { Params } from "./format";
import first from "./en.json";
import rest from "./en.more.json";
import { say } from "./index.svelte";

const en = { ...first, ...rest };

export type Key = keyof typeof en;

export function t(key: Key, params?: Params): string {
  return say(key, en[key], params);
}

/** isKey tells whether there are words for a name that the server sent. */
export function isKey(key: string): key is Key {
  return Object.hasOwn(en, key);
}
