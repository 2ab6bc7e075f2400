import { describe, expect, it } from "vitest";
import { formatRoute, langOf, parseRoute, plainLook, withLang, type Route } from "./route";

describe("route", () => {
  const cases: [string, Route][] = [
    ["#/", { page: "home", lang: null }],
    ["#/?lang=zh", { page: "home", lang: "zh" }],
    ["#/epoll/4211:3", { page: "watch", topic: "epoll/4211:3", look: plainLook }],
    ["#/uring/7:3?at=sq%3A5", { page: "watch", topic: "uring/7:3", look: { ...plainLook, at: "sq:5" } }],
    ["#/uring/7:3?at=cq.tail", { page: "watch", topic: "uring/7:3", look: { ...plainLook, at: "cq.tail" } }],
    [
      "#/epoll/4211:3?tab=table&fd=37&lo=1024&hi=2048&lang=zh",
      {
        page: "watch",
        topic: "epoll/4211:3",
        look: { tab: "table", fd: 37, lo: 1024, hi: 2048, lang: "zh" },
      },
    ],
    [
      "#/lab/epoll-growing",
      { page: "lab", lab: "epoll-growing", step: null, learner: null, look: plainLook },
    ],
    [
      "#/lab/epoll-growing?step=rotate&tab=lists&fd=7&lo=1&hi=9&lang=zh&learner=ann_2",
      {
        page: "lab",
        lab: "epoll-growing",
        step: "rotate",
        learner: "ann_2",
        look: { tab: "lists", fd: 7, lo: 1, hi: 9, lang: "zh" },
      },
    ],
    ["#/experiments", { page: "experiments", lang: null }],
    [
      "#/experiment/syscalls",
      { page: "experiment", id: "syscalls", run: null, beside: null, metric: null, lang: null },
    ],
    [
      "#/experiment/syscalls?run=7&beside=3&metric=cpu_per_gb&lang=zh",
      { page: "experiment", id: "syscalls", run: 7, beside: 3, metric: "cpu_per_gb", lang: "zh" },
    ],
    ["#/claims?section=uring&lang=en", { page: "claims", section: "uring", lang: "en" }],
  ];
  it.each(cases)("%s reads and writes the same", (hash, route) => {
    expect(parseRoute(hash)).toEqual(route);
    expect(formatRoute(route)).toBe(hash);
  });

  it("falls back where a link makes no sense", () => {
    expect(parseRoute("").page).toBe("home");
    expect(parseRoute("#/epoll/nginx").page).toBe("home");
    expect(parseRoute("#/lab/Not%20a%20lab").page).toBe("home");
    expect(parseRoute("#/lab/a/b").page).toBe("home");
    expect(parseRoute("#/%zz").page).toBe("home");
    expect(parseRoute("#/experiments/syscalls").page).toBe("home");
    expect(parseRoute("#/experiment/").page).toBe("home");
    expect(parseRoute("#/experiment/../x").page).toBe("home");
    expect(parseRoute("#/experiment/syscalls?run=-1&beside=x&metric=a%20b")).toEqual({
      page: "experiment",
      id: "syscalls",
      run: null,
      beside: null,
      metric: null,
      lang: null,
    });
    expect(parseRoute("#/lab/a?step=../x&learner=a%20b")).toEqual({
      page: "lab",
      lab: "a",
      step: null,
      learner: null,
      look: plainLook,
    });
    expect(parseRoute("#/epoll/1:2?tab=flow&fd=-1&lo=x&hi=1e9")).toEqual({
      page: "watch",
      topic: "epoll/1:2",
      look: plainLook,
    });
  });

  it("keeps all but the language when that changes", () => {
    for (const hash of ["#/", "#/epoll/4211:3?tab=table", "#/experiment/herd?run=2", "#/claims"]) {
      const zh = withLang(parseRoute(hash), "zh");
      expect(langOf(zh)).toBe("zh");
      expect(formatRoute(zh).replace(/[?&]lang=zh$/, "")).toBe(hash);
    }
  });
});
