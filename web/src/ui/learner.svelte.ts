// Whose progress this page shows and keeps: the name in the link of a lesson,
// else the one this browser remembers.

import { asMyself, route } from "./place.svelte";
import { isLearner } from "./route";

const key = "kernelviz.learner";
let own = $state.raw(stored());

function stored(): string {
  const name = localStorage.getItem(key);
  return isLearner(name) ? name : "me";
}

export function learner(): string {
  const r = route();
  return r.page === "lab" && r.learner ? r.learner : own;
}

/** setLearner changes and remembers the name; it tells whether the name will do. */
export function setLearner(name: string): boolean {
  if (!isLearner(name)) return false;
  own = name;
  localStorage.setItem(key, name);
  asMyself();
  return true;
}
