import { describe, expect, it } from "vitest";
import { parseMessage } from "./messages";

const target = { view: "epoll", name: "9:3", pid: 9, comm: "nginx", fd: 3, instance: 1, items: 4 };

describe("parseMessage", () => {
  it("ignores fields it does not know, nested ones too", () => {
    const m = parseMessage(
      JSON.stringify({ type: "targets", targets: [{ ...target, novel: true }], novel: {} }),
    );
    expect(m).toEqual({ type: "targets", targets: [target] });
  });

  it("reads null slices and missing optional fields as empty", () => {
    expect(parseMessage('{"type":"targets","targets":null}')).toEqual({ type: "targets", targets: [] });
    expect(
      parseMessage(
        '{"type":"workloads","workloads":[{"id":"p","name":"puppet","running":true,"state":null}]}',
      ),
    ).toEqual({
      type: "workloads",
      workloads: [{ id: "p", name: "puppet", pid: 0, running: true, ended: "", state: null }],
    });
  });

  it("does not judge the state of workloads other than the puppet", () => {
    const herd = { id: "h", name: "herd", running: true, state: { fds: 3, runs: [] } };
    const m = parseMessage(JSON.stringify({ type: "workloads", workloads: [herd] }));
    expect(m).toMatchObject({ workloads: [{ name: "herd", state: null }] });
  });

  it("reads the state of a lab", () => {
    const m = parseMessage(
      JSON.stringify({
        type: "lab",
        lab: "growing",
        state: { attempt: 2, steps: [{ id: "a", state: "predict", prediction: null }], program: { run: 3 } },
      }),
    );
    expect(m).toMatchObject({
      ref: 0,
      state: {
        attempt: 2,
        stage: "",
        drafts: null,
        steps: [{ id: "a", state: "predict", holds: false, hints: [], prediction: null, said: "" }],
        program: { run: 3, state: "none", diagnostics: [] },
        terminals: [],
        problem: "",
      },
    });
  });

  it("knows no other type", () => {
    expect(parseMessage('{"type":"toString"}')).toBeNull();
    expect(parseMessage('{"type":"experiment"}')).toBeNull();
  });

  it.each([
    ['{"type":7}', "message.type: want string, got number"],
    ["[]", "message: want object, got object"],
    [
      '{"type":"targets","targets":[{"view":"epoll"}]}',
      "targets.targets[0].name: want string, got undefined",
    ],
    [
      JSON.stringify({ type: "targets", targets: [{ ...target, pid: "9" }] }),
      "targets.targets[0].pid: want number, got string",
    ],
    [
      '{"type":"calls","id":"p","calls":[{"seq":null,"text":"x"}]}',
      "calls.calls[0].seq: want number, got null",
    ],
    [
      '{"type":"lab","lab":"x","state":{"steps":[{"id":"a","state":"begun"}]}}',
      "lab.state.steps[0].state: want locked|predict|open|done, got string",
    ],
  ])("refuses %s", (text, why) => {
    expect(() => parseMessage(text)).toThrow(why);
  });
});
