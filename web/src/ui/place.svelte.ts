// The current route, kept in step with the address bar.

import { formatRoute, parseRoute, type Look, type Route } from "./route";

const state = $state<{ route: Route }>({ route: parseRoute(location.hash) });

export function route(): Route {
  return state.route;
}

export function followAddress(): void {
  addEventListener("hashchange", () => {
    state.route = parseRoute(location.hash);
  });
}

/** go is a step that "back" undoes. */
export function go(to: Route): void {
  location.hash = formatRoute(to);
}

/** look changes what the link says about the view, without a step in history. */
export function look(change: Partial<Look>): void {
  const r = state.route;
  if (r.page !== "watch") return;
  replace({ ...r, look: { ...r.look, ...change } });
}

export function setRouteLang(lang: string): void {
  const r = state.route;
  replace(r.page === "home" ? { ...r, lang } : { ...r, look: { ...r.look, lang } });
}

function replace(to: Route): void {
  state.route = to;
  history.replaceState(null, "", formatRoute(to));
}
