// @vitest-environment jsdom
import { fireEvent, render, screen } from "@testing-library/svelte";
import { describe, expect, it, vi } from "vitest";
import type { LabAction, Step } from "../net/labs";
import type { StepState } from "../net/messages";
import StepBox from "./StepBox.svelte";

const say = (en: string) => ({ en, zh: "" });
const step: Step = {
  id: "rotate",
  title: say("Make the root move"),
  text: say("<p>Now there are <output data-value='0'></output>.</p>"),
  do: [
    { action: "add-one", label: say("Add one") },
    { action: "look", label: say("Look") },
  ],
  predict: {
    question: say("<p>What moves?</p>"),
    node: false,
    choices: [
      { id: "a", text: say("<p>Nothing</p>") },
      { id: "b", text: say("<p>The root</p>") },
    ],
  },
  check: "epoll.root != before.epoll.root",
  kind: "edge",
  within: 0,
  hints: 1,
};
const actions: Record<string, LabAction> = {
  "add-one": { kind: "workload", workload: "puppet", text: "adds to {{0}}", file: "", line: null, tab: "" },
  look: { kind: "run", workload: "", text: "cat /proc/{{1}}/fdinfo/3", file: "", line: null, tab: "" },
};
const at = (state: StepState["state"], more: Partial<StepState> = {}): StepState => ({
  id: "rotate",
  state,
  holds: false,
  stale: false,
  late: false,
  shown: 0,
  more: false,
  hints: [],
  prediction: null,
  said: "",
  ...more,
});

function show(state: StepState, more: Record<string, unknown> = {}) {
  const on = { onaction: vi.fn(), onanswer: vi.fn(), onhint: vi.fn(), onretry: vi.fn() };
  const props = {
    step,
    state,
    previous: "Add thirty",
    current: true,
    fresh: false,
    values: ["7", "4211"],
    actions,
    node: null,
    busy: [] as string[],
    enabled: true,
    ...on,
    ...more,
  };
  return { ...render(StepBox, props), ...on, props };
}
const button = (name: string) => screen.getByRole<HTMLButtonElement>("button", { name });

describe("a step", () => {
  it("that is locked tells its title and what opens it, and not its check", () => {
    show(at("locked"));
    expect(screen.getByText(/Opens when “Add thirty” is done/)).toBeTruthy();
    expect(screen.queryByText(/epoll\.root/)).toBeNull();
    expect(screen.queryByRole("button")).toBeNull();
  });

  it("asks first: its buttons do not work, and the check is not told", async () => {
    const { onanswer, onaction } = show(at("predict"));
    expect(button("Add one").disabled).toBe(true);
    expect(screen.queryByText(/epoll\.root/)).toBeNull();
    expect(button("Answer").disabled).toBe(true);
    await fireEvent.click(screen.getAllByRole("radio")[0]!);
    await fireEvent.click(button("Answer"));
    expect(onanswer).toHaveBeenCalledExactlyOnceWith({ choice: "a" });
    expect(onaction).not.toHaveBeenCalled();
  });

  it("says why an answer is wrong, and takes another but not the same again", async () => {
    const wrong = { choice: "a", fd: 0, right: false, why: say("<p>It moves.</p>") };
    const { onanswer } = show(at("predict", { prediction: wrong }));
    expect(screen.getByText("It moves.")).toBeTruthy();
    expect(button("Answer").disabled).toBe(true);
    await fireEvent.click(screen.getAllByRole("radio")[1]!);
    await fireEvent.click(button("Answer"));
    expect(onanswer).toHaveBeenCalledExactlyOnceWith({ choice: "b" });
  });

  it("unlocks its buttons with the right answer, and keeps the answer in sight", async () => {
    const right = { choice: "b", fd: 0, right: true, why: say("<p>Its uncle is black.</p>") };
    const { onaction } = show(at("open", { prediction: right }));
    expect(screen.getByText("Its uncle is black.")).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Answer" })).toBeNull();
    expect(screen.getAllByRole<HTMLInputElement>("radio").every((r) => r.disabled)).toBe(true);
    await fireEvent.click(button("Add one"));
    expect(onaction).toHaveBeenCalledExactlyOnceWith("add-one");
    expect(button("Add one").title).toBe("adds to 7");
    expect(screen.getByText(/cat \/proc\/4211\/fdinfo\/3/)).toBeTruthy();
    expect(screen.getByText("epoll.root != before.epoll.root")).toBeTruthy();
  });

  it("takes the node with the focus for the answer, and names it", async () => {
    const asked: Step = { ...step, predict: { question: say("Which?"), node: true, choices: [] } };
    const { onanswer, rerender } = show(at("predict"), { step: asked });
    expect(button("Answer").disabled).toBe(true);
    expect(screen.getByText(/Click the node/)).toBeTruthy();
    await rerender({ node: { fd: 37 } });
    expect(screen.getByText("fd 37")).toBeTruthy();
    await fireEvent.click(button("Answer"));
    expect(onanswer).toHaveBeenCalledExactlyOnceWith({ fd: 37 });
  });

  it("fills in values without making its text anew", async () => {
    const { container, rerender } = show(at("open"));
    const output = container.querySelector("output");
    expect(output?.textContent).toBe("7");
    await rerender({ values: ["8", "4211"] });
    expect(container.querySelector("output")).toBe(output);
    expect(output?.textContent).toBe("8");
  });

  it("tells what held from the beginning, and offers to begin anew", async () => {
    const { onretry } = show(at("open", { holds: true, stale: true }));
    expect(screen.getByText(/true already when the step began/)).toBeTruthy();
    await fireEvent.click(button("Begin this step anew, from now"));
    expect(onretry).toHaveBeenCalledOnce();
  });

  it("that was done before is folded, and one that is done now is not", async () => {
    const { rerender } = show(at("done"));
    expect(screen.queryByText(/epoll\.root/)).toBeNull();
    await fireEvent.click(button("Show"));
    expect(screen.getByText(/epoll\.root/)).toBeTruthy();
    await fireEvent.click(button("Fold"));
    expect(screen.queryByText(/epoll\.root/)).toBeNull();
    await rerender({ step: { ...step, id: "other" }, fresh: true });
    expect(button("Show")).toBeTruthy(); // what the learner folded stays so
  });

  it("gives hints one by one", async () => {
    const { onhint, rerender } = show(at("open", { more: true }));
    await fireEvent.click(button("Show a hint"));
    expect(onhint).toHaveBeenCalledOnce();
    await rerender({ state: at("open", { shown: 1, hints: [say("<p>Look at the uncle.</p>")] }) });
    expect(screen.getByText("Look at the uncle.")).toBeTruthy();
    expect(screen.queryByRole("button", { name: /hint/ })).toBeNull();
  });

  it("does nothing while the server cannot be asked", () => {
    show(at("open"), { enabled: false });
    expect(button("Add one").disabled).toBe(true);
  });
});
