// The current route, kept in step with the address bar.

import { formatRoute, parseRoute, plainLook, type Look, type Route } from "./route";

let current = $state.raw<Route>(parseRoute(location.hash));

export function route(): Route {
  return current;
}

export function followAddress(): void {
  addEventListener("hashchange", () => {
    current = parseRoute(location.hash);
  });
}

/** go is a step that "back" undoes. */
export function go(to: Route): void {
  location.hash = formatRoute(to);
}

/** look changes what the link says about the view, without a step in history. */
export function look(change: Partial<Look>): void {
  const r = current;
  if (r.page === "home") return;
  replace({ ...r, look: { ...r.look, ...change } });
}

/** labLink is the address of a lesson, for the learner and the language of this one. */
export function labLink(lab: string): string {
  const r = current;
  const kept = r.page === "lab" ? r.learner : null;
  const lang = r.page === "home" ? r.lang : r.look.lang;
  return formatRoute({ page: "lab", lab, step: null, learner: kept, look: { ...plainLook, lang } });
}

/** atStep changes the step that the link of a lesson names. */
export function atStep(step: string | null): void {
  const r = current;
  if (r.page === "lab" && r.step !== step) replace({ ...r, step });
}

/** asMyself takes the learner out of the link. */
export function asMyself(): void {
  const r = current;
  if (r.page === "lab" && r.learner) replace({ ...r, learner: null });
}

export function setRouteLang(lang: string): void {
  const r = current;
  replace(r.page === "home" ? { ...r, lang } : { ...r, look: { ...r.look, lang } });
}

function replace(to: Route): void {
  current = to;
  history.replaceState(null, "", formatRoute(to));
}
