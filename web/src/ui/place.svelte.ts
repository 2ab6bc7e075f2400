// The current route, kept in step with the address bar.

import { formatRoute, langOf, parseRoute, plainLook, withLang, type Look, type Route } from "./route";

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
  if (!("look" in r)) return;
  replace({ ...r, look: { ...r.look, ...change } });
}

/** labLink is the address of a lesson, for the learner and the language of this one. */
export function labLink(lab: string): string {
  const r = current;
  const kept = r.page === "lab" ? r.learner : null;
  return formatRoute({
    page: "lab",
    lab,
    step: null,
    learner: kept,
    look: { ...plainLook, lang: langOf(r) },
  });
}

/** experimentLink is the address of an experiment, or of a run of it. */
export function experimentLink(id: string, run: number | null = null, beside: number | null = null): string {
  return formatRoute({ page: "experiment", id, run, beside, metric: null, lang: langOf(current) });
}

/** listLink is the address of a page that is a list. */
export function listLink(page: "experiments" | "claims"): string {
  const lang = langOf(current);
  return formatRoute(page === "claims" ? { page, section: null, lang } : { page, lang });
}

/** reading changes what the link says of an experiment or of claims, without a step in history. */
export function reading(change: { metric?: string | null; section?: string | null }): void {
  const r = current;
  if (r.page === "experiment" && change.metric !== undefined) replace({ ...r, metric: change.metric });
  if (r.page === "claims" && change.section !== undefined) replace({ ...r, section: change.section });
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
  replace(withLang(current, lang));
}

function replace(to: Route): void {
  current = to;
  history.replaceState(null, "", formatRoute(to));
}
