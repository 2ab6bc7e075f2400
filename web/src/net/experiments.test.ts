import { afterEach, describe, expect, it, vi } from "vitest";
import { info, result, series } from "../testing/experiments";
import { deleteRun, fetchClaims, fetchExperiments, fetchRun, readResult } from "./experiments";
import { parseMessage } from "./messages";

function answer(body: unknown, status = 200): void {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  vi.stubGlobal(
    "fetch",
    vi.fn(() => Promise.resolve(new Response(status === 204 ? null : text, { status }))),
  );
}
afterEach(() => vi.unstubAllGlobals());

const all = [series("4k", 0)];

describe("experiments over HTTP", () => {
  it("reads the list, and null for what Go leaves empty", async () => {
    const bare = { id: "x", title: { en: "X" }, series: null, metrics: null, missing: null };
    answer({ experiments: [info(all), bare], running: null, runs: { syscalls: [{ run: 7 }], x: null } });
    const o = await fetchExperiments();
    expect(vi.mocked(fetch).mock.calls[0]?.[0]).toBe("/api/v1/experiments");
    expect(o.experiments[0]).toEqual(info(all));
    expect(o.experiments[1]).toMatchObject({ title: { en: "X", zh: "" }, series: [], missing: [] });
    expect(o.runs).toEqual({
      syscalls: [{ run: 7, started: "", seconds: 0, state: "", quick: false }],
      x: [],
    });
    expect(o.running).toBeNull();
  });

  it("reads a run as it was written", async () => {
    answer(result(all));
    expect(await fetchRun("syscalls", 7)).toEqual(result(all));
    expect(vi.mocked(fetch).mock.calls[0]?.[0]).toBe("/api/v1/experiments/syscalls/runs/7");
  });

  it("deletes, and says why it could not", async () => {
    answer("", 204);
    await deleteRun("syscalls", 7);
    expect(vi.mocked(fetch).mock.calls[0]?.[1]).toMatchObject({ method: "DELETE" });
    answer({ error: { code: "forbidden", message: "viewers only look", fix: "ask" } }, 403);
    await expect(deleteRun("syscalls", 7)).rejects.toMatchObject({ code: "forbidden", fix: "ask" });
    answer("<html>", 502);
    await expect(deleteRun("syscalls", 7)).rejects.toMatchObject({ code: "http_502" });
  });

  it("says that experiments are off, in the server's words", async () => {
    answer({ error: { code: "experiments_off", message: "not root", fix: "run as root" } }, 503);
    await expect(fetchExperiments()).rejects.toMatchObject({ code: "experiments_off", message: "not root" });
  });

  it("reads claims with and without a verdict", async () => {
    answer({
      claims: [
        { id: "E1", section: "epoll", lesson: "epoll-structs", standing: { status: "shown by lesson" } },
        {
          id: "U2",
          experiment: "syscalls",
          parts: [{ series: "4k", variant: "ring", against: "pread", metric: "", want: "ratio <= 0.77" }],
          standing: { status: "measured", verdict: { claim: "U2", verdict: "holds", parts: null }, run: 7 },
        },
      ],
    });
    const [a, b] = await fetchClaims();
    expect(a).toMatchObject({ later: "", see: [], parts: [], standing: { verdict: null, missing: [] } });
    expect(b!.parts[0]).toMatchObject({ want: "ratio <= 0.77", when: { en: "", zh: "" } });
    expect(b!.standing).toMatchObject({ run: 7, stale: false, verdict: { verdict: "holds", parts: [] } });
  });
});

describe("messages of experiments", () => {
  it("tell progress", () => {
    const progress = {
      run: 7,
      experiment: "herd",
      phase: "measuring",
      done: 2,
      total: 9,
      elapsed: 1.5,
      left: -1,
    };
    expect(parseMessage(JSON.stringify({ type: "progress", progress }))).toEqual({
      type: "progress",
      progress: { ...progress, series: "", variant: "" },
    });
    expect(() => parseMessage('{"type":"progress","progress":{}}')).toThrow("progress.progress.run");
  });

  it("bring a result, whole for those who want to read it", () => {
    const m = parseMessage(JSON.stringify({ type: "result", result: result(all) }));
    if (m?.type !== "result") throw new Error("no result");
    expect(m.result).toMatchObject({ run: 7, experiment: "syscalls", state: "done" });
    expect(readResult(m.result.whole)).toEqual(result(all));
    expect(() => readResult({ ...result(all), series: [{ id: 3 }] })).toThrow("result.series[0].id");
  });
});
