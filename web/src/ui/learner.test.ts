// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

beforeEach(() => {
  localStorage.clear();
  location.hash = "";
  vi.resetModules();
});

async function load(hash = "") {
  location.hash = hash;
  return { ...(await import("./learner.svelte")), ...(await import("./place.svelte")) };
}

describe("the learner", () => {
  it("is me until named, and remembered then", async () => {
    const first = await load();
    expect(first.learner()).toBe("me");
    expect(first.setLearner("ann_2")).toBe(true);
    expect(first.learner()).toBe("ann_2");
    vi.resetModules();
    expect((await load()).learner()).toBe("ann_2");
  });

  it("cannot have a name that the server refuses", async () => {
    const l = await load();
    for (const bad of ["", "a b", "é", "x".repeat(33), "../x"])
      expect([bad, l.setLearner(bad)]).toEqual([bad, false]);
    expect(l.learner()).toBe("me");
  });

  it("may be named by the link of a lesson, which goes on to the next lesson", async () => {
    const l = await load("#/lab/growing?learner=bob");
    expect(l.learner()).toBe("bob");
    expect(localStorage.getItem("kernelviz.learner")).toBeNull();
    expect(l.labLink("ready")).toBe("#/lab/ready?learner=bob");
    l.setLearner("ann");
    expect([l.learner(), location.hash]).toEqual(["ann", "#/lab/growing"]);
  });

  it("keeps the language of the link, and no step", async () => {
    const l = await load("#/lab/growing?step=a&lang=zh&fd=7");
    expect(l.labLink("ready")).toBe("#/lab/ready?lang=zh");
    l.atStep("b");
    expect(location.hash).toBe("#/lab/growing?step=b&fd=7&lang=zh");
  });
});
