// Where the page is, as it stands after "#": "#/" is home and
// "#/epoll/4211:3?tab=table&fd=37" a watched object. The link holds all that
// another person needs to see the same.

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

export type Route = { page: "home"; lang: string | null } | { page: "watch"; topic: string; look: Look };

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const params = new URLSearchParams(query);
  const lang = params.get("lang");
  const m = /^(\w+)\/(\d+:\d+)$/.exec(decodeURIComponent(path));
  if (!m) return { page: "home", lang };
  const tab = params.get("tab");
  return {
    page: "watch",
    topic: `${m[1]}/${m[2]}`,
    look: {
      tab: tabs.find((t) => t === tab) ?? "tree",
      fd: number(params, "fd"),
      lo: number(params, "lo"),
      hi: number(params, "hi"),
      lang,
    },
  };
}

export function formatRoute(route: Route): string {
  const params = new URLSearchParams();
  if (route.page === "home") {
    if (route.lang) params.set("lang", route.lang);
    return withQuery("#/", params);
  }
  const { tab, fd, lo, hi, lang } = route.look;
  if (tab !== "tree") params.set("tab", tab);
  if (fd !== null) params.set("fd", String(fd));
  if (lo !== null && hi !== null) {
    params.set("lo", String(lo));
    params.set("hi", String(hi));
  }
  if (lang) params.set("lang", lang);
  return withQuery(`#/${route.topic}`, params);
}

export const plainLook: Look = { tab: "tree", fd: null, lo: null, hi: null, lang: null };

function number(params: URLSearchParams, name: string): number | null {
  const s = params.get(name);
  return s !== null && /^\d{1,10}$/.test(s) ? Number(s) : null;
}

function withQuery(path: string, params: URLSearchParams): string {
  const query = params.toString();
  return query ? `${path}?${query}` : path;
}
