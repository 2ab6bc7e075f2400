import { afterEach, describe, expect, it, vi } from "vitest";
import { fetchCurriculum, fetchLesson } from "./labs";

function answer(body: string, status = 200): void {
  vi.stubGlobal(
    "fetch",
    vi.fn(() => Promise.resolve(new Response(body, { status }))),
  );
}
afterEach(() => vi.unstubAllGlobals());

const lesson = {
  id: "epoll-growing",
  module: { id: "epoll", title: { en: "Epoll", zh: "epoll" } },
  number: 2,
  of: 9,
  lang: "en",
  title: "Growing",
  parts: [{ html: "<p>x</p>" }, { step: "rotate" }, { struct: { name: "struct epitem", fields: null } }],
  actions: { go: { kind: "open", file: "main.c", line: 12 } },
  steps: [{ id: "rotate", title: { en: "Rotate" }, check: "epoll.nodes > 1" }],
};

describe("labs over HTTP", () => {
  it("asks for a learner and a language", async () => {
    answer('{"modules":[]}');
    await fetchCurriculum("ann.b");
    expect(vi.mocked(fetch).mock.calls[0]?.[0]).toBe("/api/v1/labs?learner=ann.b");
    answer(JSON.stringify(lesson));
    await fetchLesson("epoll-growing", "zh");
    expect(vi.mocked(fetch).mock.calls[0]?.[0]).toBe("/api/v1/labs/epoll-growing?lang=zh");
  });

  it("reads a lesson, and what is left out as empty", async () => {
    answer(JSON.stringify(lesson));
    const l = await fetchLesson("epoll-growing", "en");
    expect(l.parts.map((p) => Object.keys(p)[0])).toEqual(["html", "step", "struct"]);
    expect(l.steps[0]).toEqual({
      id: "rotate",
      title: { en: "Rotate", zh: "" },
      text: { en: "", zh: "" },
      do: [],
      predict: null,
      check: "epoll.nodes > 1",
      kind: "edge",
      within: 0,
      hints: 0,
    });
    expect([l.stage, l.code, l.terminal, l.values]).toEqual([null, null, false, []]);
    expect(l.actions["go"]?.line).toBe(12);
  });

  it.each([
    [404, '{"error":{"code":"labs_off","message":"off","fix":"--labs"}}', "labs_off", "off"],
    [404, "404 page not found", "http_404", "with 404"],
    [200, '{"modules":[{"id":7}]}', "unreadable", "modules[0].id: want string, got number"],
    [200, "<html>", "unreadable", "cannot read"],
  ])("%i %s is an error for people", async (status, body, code, message) => {
    answer(body, status);
    const e: unknown = await fetchCurriculum("me").catch((e: unknown) => e);
    expect(e).toMatchObject({ code, message: expect.stringContaining(message) as string });
  });

  it("says that the server does not answer", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("fetch failed")));
    await expect(fetchCurriculum("me")).rejects.toMatchObject({ code: "lost" });
  });
});
