// Where the page is, as it stands after "#": "#/" is home,
// "#/epoll/4211:3?tab=table&fd=37" a watched object,
// "#/lab/epoll-growing?step=rotate" a lesson, "#/experiments" the experiments,
// "#/experiment/syscalls?run=7" one of them and "#/claims" what the article
// says. The link holds all that another person needs to see the same.

export const tabs = ["tree", "lists", "struct", "table"] as const;
export type Tab = (typeof tabs)[number];

/** Tabs of a ring, of which "rings" is the first. */
export const ringTabs = ["rings", "timeline", "struct", "table"] as const;
export type RingTab = (typeof ringTabs)[number];

/** A link of a lesson says which tab is shown, but not of what: each view takes what it knows. */
export type AnyTab = Tab | RingTab;
export const anyTabs: readonly AnyTab[] = [...tabs, ...ringTabs];

/** epollTab is the tab of an epoll instance that the link asks for. */
export function epollTab(tab: AnyTab): Tab {
  return tabs.find((t) => t === tab) ?? "tree";
}

/** ringTab is the tab of a ring that the link asks for. */
export function ringTab(tab: AnyTab): RingTab {
  return ringTabs.find((t) => t === tab) ?? "rings";
}

/** Look is what the link says beyond the target; null leaves it to the page. */
export interface Look {
  tab: AnyTab;
  fd: number | null; // the focused node
  lo: number | null; // viewport in ranks
  hi: number | null;
  lang: string | null;
  at?: string | null; // what has the focus in a ring's picture: "sq:5", "cq.tail"
}

export type Route =
  | { page: "home"; lang: string | null }
  | { page: "watch"; topic: string; look: Look }
  | { page: "lab"; lab: string; step: string | null; learner: string | null; look: Look }
  | { page: "experiments"; lang: string | null }
  | {
      page: "experiment";
      id: string;
      run: number | null; // null: the latest
      beside: number | null; // an earlier run to compare it with
      metric: string | null; // null: the first
      lang: string | null;
    }
  | { page: "claims"; section: string | null; lang: string | null };

const name = /^[a-z0-9-]{1,64}$/; // of labs, steps and experiments
const thing = /^[a-z.]{2,16}(:\w{1,10})?$/; // of a ring's picture
const word = /^[A-Za-z0-9_-]{1,64}$/; // of metrics and sections

/** langOf is the language that a link asks for. */
export function langOf(r: Route): string | null {
  return "look" in r ? r.look.lang : r.lang;
}

export function withLang(r: Route, lang: string): Route {
  return "look" in r ? { ...r, look: { ...r.look, lang } } : { ...r, lang };
}

/** isLearner tells whether the server takes a learner's name. */
export function isLearner(s: string | null): s is string {
  return s !== null && /^[A-Za-z0-9._-]{1,32}$/.test(s);
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const params = new URLSearchParams(query);
  const lang = params.get("lang");
  const tab = params.get("tab");
  const look: Look = {
    tab: anyTabs.find((t) => t === tab) ?? "tree",
    fd: number(params, "fd"),
    lo: number(params, "lo"),
    hi: number(params, "hi"),
    lang,
  };
  const at = params.get("at");
  if (at !== null && thing.test(at)) look.at = at;
  const [first = "", second = "", more] = path.split("/");
  if (first === "lab" && name.test(second) && more === undefined) {
    const step = params.get("step");
    const learner = params.get("learner");
    return {
      page: "lab",
      lab: second,
      step: step !== null && name.test(step) ? step : null,
      learner: isLearner(learner) ? learner : null,
      look,
    };
  }
  if (second === "" && more === undefined) {
    if (first === "experiments") return { page: "experiments", lang };
    if (first === "claims") return { page: "claims", section: worded(params, "section"), lang };
  }
  if (first === "experiment" && name.test(second) && more === undefined) {
    return {
      page: "experiment",
      id: second,
      run: number(params, "run"),
      beside: number(params, "beside"),
      metric: worded(params, "metric"),
      lang,
    };
  }
  const m = /^(\w+)\/(\d+:\d+)$/.exec(decoded(path));
  return m ? { page: "watch", topic: `${m[1]}/${m[2]}`, look } : { page: "home", lang };
}

export function formatRoute(route: Route): string {
  const params = new URLSearchParams();
  if (!("look" in route)) {
    if (route.page === "experiment") {
      if (route.run !== null) params.set("run", String(route.run));
      if (route.beside !== null) params.set("beside", String(route.beside));
      if (route.metric) params.set("metric", route.metric);
    }
    if (route.page === "claims" && route.section) params.set("section", route.section);
    if (route.lang) params.set("lang", route.lang);
    if (route.page === "home") return withQuery("#/", params);
    return withQuery(route.page === "experiment" ? `#/experiment/${route.id}` : `#/${route.page}`, params);
  }
  const { tab, fd, lo, hi, lang, at } = route.look;
  if (route.page === "lab" && route.step) params.set("step", route.step);
  if (tab !== "tree" && tab !== "rings") params.set("tab", tab); // the first of their view
  if (fd !== null) params.set("fd", String(fd));
  if (lo !== null && hi !== null) {
    params.set("lo", String(lo));
    params.set("hi", String(hi));
  }
  if (at) params.set("at", at);
  if (lang) params.set("lang", lang);
  if (route.page === "watch") return withQuery(`#/${route.topic}`, params);
  if (route.learner) params.set("learner", route.learner);
  return withQuery(`#/lab/${route.lab}`, params);
}

export const plainLook: Look = { tab: "tree", fd: null, lo: null, hi: null, lang: null };

// "%" in a link may be followed by anything.
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return "";
  }
}

function number(params: URLSearchParams, name: string): number | null {
  const s = params.get(name);
  return s !== null && /^\d{1,10}$/.test(s) ? Number(s) : null;
}

function worded(params: URLSearchParams, name: string): string | null {
  const s = params.get(name);
  return s !== null && word.test(s) ? s : null;
}

function withQuery(path: string, params: URLSearchParams): string {
  const query = params.toString();
  return query ? `${path}?${query}` : path;
}
