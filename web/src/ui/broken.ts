// The words for an invariant that did not hold.

import type { Key } from "../i18n/index.svelte";

/** The invariants of an epoll snapshot, by number from 1 (internal/kernelviz/epoll/model.go). */
const broken: readonly Key[] = [
  "broken.foreign",
  "broken.parent",
  "broken.order",
  "broken.redred",
  "broken.blackheight",
  "broken.count",
  "broken.root",
  "broken.incomplete",
  "broken.moved",
  "broken.leftmost",
];

/** brokenKey is the sentence about the invariant that did not hold. */
export function brokenKey(n: number): Key {
  return broken[n - 1] ?? "broken.other";
}
