// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RequestError } from "../net/client";
import { parseMessage, type Message } from "../net/messages";
import { session } from "../ui/session.svelte";
import { Lab } from "./lab.svelte";

function state(more: object, ref = 0): Message<"lab"> {
  const m = parseMessage(
    JSON.stringify({
      type: "lab",
      ref,
      lab: "growing",
      state: {
        attempt: 1,
        steps: [
          { id: "a", state: "open" },
          { id: "b", state: "locked" },
        ],
        ...more,
      },
    }),
  );
  if (m?.type !== "lab") throw new Error("not a lab message");
  return m;
}
const done = {
  steps: [
    { id: "a", state: "done" },
    { id: "b", state: "open" },
  ],
};

describe("the open lab", () => {
  const request = vi.fn<(m: object) => Promise<unknown>>();
  let lab: Lab;
  beforeEach(() => {
    request.mockReset();
    request.mockResolvedValue({ type: "done", result: { fd: 7, terminal: 0, seqs: [], fds: [] } });
    vi.spyOn(session.client, "request").mockImplementation((m) => request(m) as never);
    vi.spyOn(session.client, "lab").mockImplementation(() => {});
    vi.spyOn(session.client, "leave").mockImplementation(() => {});
    session.problems = [];
    lab = new Lab("growing", "me");
    lab.open();
  });
  afterEach(() => {
    lab.close();
    vi.restoreAllMocks();
  });

  it("is told of its own messages only", () => {
    lab.lab({ ...state({}), lab: "other" });
    expect(lab.state).toBeNull();
    lab.output({ type: "output", lab: "other", run: 1, at: 0, text: "x", lost: 0 });
    lab.output({ type: "output", lab: "growing", run: 1, at: 0, text: "hi", lost: 0 });
    expect(lab.log.text).toBe("hi");
    lab.failed(new RequestError("missing", "no bpf", "", "", "other"));
    expect(lab.failure).toBeNull();
    lab.failed(new RequestError("missing", "no bpf", "", "", "growing"));
    expect(lab.failure?.code).toBe("missing");
  });

  it("shows the output of a session that counts its runs anew", () => {
    const output = (run: number, text: string) =>
      lab.output({ type: "output", lab: "growing", run, at: 0, text, lost: 0 });
    lab.lab(state({ program: { run: 3 } }));
    output(3, "old");
    lab.lab(state({ program: { run: 3 } }));
    expect(lab.log.text).toBe("old");
    lab.lab(state({ program: { run: 0 } }));
    expect(lab.log.text).toBe("");
    output(1, "new");
    expect(lab.log.text).toBe("new");
  });

  it("announces what was ticked while it looked on", () => {
    const change = vi.fn();
    lab.onchange = change;
    lab.lab(state({}));
    expect(change).not.toHaveBeenCalled();
    lab.lab(state(done));
    expect(change).toHaveBeenLastCalledWith(["a"], []);
    expect(lab.ticked).toEqual(["a"]);
    lab.lab(state({ ...done, attempt: 2 }));
    expect(lab.ticked).toEqual([]);
  });

  it("asks for one thing once at a time, and reports what failed", async () => {
    let answer = (_: unknown) => {};
    request.mockImplementationOnce(() => new Promise((r) => (answer = r)));
    const first = lab.act("add-one");
    expect(lab.busy).toEqual(["add-one"]);
    expect(await lab.act("add-one")).toBeNull();
    expect(request).toHaveBeenCalledExactlyOnceWith({ type: "act", lab: "growing", action: "add-one" });
    answer({ type: "done", result: { fd: 9 } });
    expect((await first)?.fd).toBe(9);
    expect(lab.busy).toEqual([]);
    request.mockRejectedValueOnce(new RequestError("gone", "the puppet died"));
    expect(await lab.act("add-one")).toBeNull();
    expect(session.problems.map((p) => p.message)).toEqual(["the puppet died"]);
  });

  it("answers a prediction with a choice or a node", async () => {
    await lab.predict("a", { choice: "b" });
    await lab.predict("a", { fd: 37 });
    expect(request.mock.calls.map(([m]) => m)).toEqual([
      { type: "predict", lab: "growing", step: "a", choice: "b" },
      { type: "predict", lab: "growing", step: "a", fd: 37 },
    ]);
  });

  it("keeps a draft that a lost connection held back, and sends it with the next state", async () => {
    lab.lab(state({ drafts: { "main.c": "old" } }));
    expect(lab.textOf("main.c")).toBe("old");
    const read = lab.draftsRead;
    request.mockRejectedValueOnce(new RequestError("lost", "down"));
    lab.draft("main.c", "new");
    await vi.waitFor(() => expect(lab.unsaved).toBe(true));
    expect(session.problems).toEqual([]);
    lab.lab(state({ drafts: { "main.c": "old" } })); // opened again: the server has the older one
    expect(lab.textOf("main.c")).toBe("new");
    expect(lab.draftsRead).toBe(read);
    await vi.waitFor(() => expect(lab.unsaved).toBe(false));
    expect(request.mock.calls.at(-1)?.[0]).toEqual({
      type: "draft",
      lab: "growing",
      file: "main.c",
      text: "new",
    });
  });

  it("takes the server's drafts where it typed nothing", () => {
    lab.lab(state({ drafts: { "main.c": "one" } }));
    const read = lab.draftsRead;
    lab.lab(state({}));
    expect(lab.draftsRead).toBe(read);
    lab.lab(state({ drafts: { "main.c": "two" } }));
    expect([lab.textOf("main.c"), lab.draftsRead]).toEqual(["two", read + 1]);
  });
});
