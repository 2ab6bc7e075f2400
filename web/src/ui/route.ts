// Where the page is, as it stands after "#": "#/" is home,
// "#/epoll/4211:3?tab=table&fd=37" a watched object and
// "#/lab/epoll-growing?step=rotate" a lesson. The link holds all that another
// person needs to see the same.

export const tabs = ["tree", "lists", "struct", "table"] as const;
export type Tab = (typeof tabs)[number];

/** Look is what the link says beyond the target; null leaves it to the page. */
export interface Look {
  tab: Tab;
  fd: number | null; // the focused node
  lo: number | null; // viewport in ranks
  hi: number | null;
  lang: string | null;
}

export type Route =
  | { page: "home"; lang: string | null }
  | { page: "watch"; topic: string; look: Look }
  | { page: "lab"; lab: string; step: string | null; learner: string | null; look: Look };

const name = /^[a-z0-9-]{1,64}$/; // of labs and steps

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
    tab: tabs.find((t) => t === tab) ?? "tree",
    fd: number(params, "fd"),
    lo: number(params, "lo"),
    hi: number(params, "hi"),
    lang,
  };
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
  const m = /^(\w+)\/(\d+:\d+)$/.exec(decoded(path));
  return m ? { page: "watch", topic: `${m[1]}/${m[2]}`, look } : { page: "home", lang };
}

export function formatRoute(route: Route): string {
  const params = new URLSearchParams();
  if (route.page === "home") {
    if (route.lang) params.set("lang", route.lang);
    return withQuery("#/", params);
  }
  const { tab, fd, lo, hi, lang } = route.look;
  if (route.page === "lab" && route.step) params.set("step", route.step);
  if (tab !== "tree") params.set("tab", tab);
  if (fd !== null) params.set("fd", String(fd));
  if (lo !== null && hi !== null) {
    params.set("lo", String(lo));
    params.set("hi", String(hi));
  }
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

function withQuery(path: string, params: URLSearchParams): string {
  const query = params.toString();
  return query ? `${path}?${query}` : path;
}
