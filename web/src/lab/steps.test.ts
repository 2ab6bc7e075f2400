import { describe, expect, it } from "vitest";
import type { Step } from "../net/labs";
import type { LabState, StepState } from "../net/messages";
import { currentStep, hintsLeft, letter, mayAct, newlyDone, newlyOpen, notes, pick, revealed } from "./steps";

const state = (id: string, s: StepState["state"], more: Partial<StepState> = {}): StepState => ({
  id,
  state: s,
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
const lab = (attempt: number, ...steps: StepState[]): LabState => ({
  attempt,
  steps,
  stage: "",
  workloads: {},
  values: [],
  drafts: null,
  program: { run: 0, state: "none", pid: 0, ended: "", diagnostics: [] },
  terminals: [],
  problem: "",
});
const step = (more: Partial<Step> = {}): Step => ({
  id: "a",
  title: { en: "A", zh: "" },
  text: { en: "", zh: "" },
  do: [],
  predict: null,
  check: "epoll.nodes > 1",
  kind: "edge",
  within: 0,
  hints: 2,
  ...more,
});

describe("pick", () => {
  it.each([
    [{ en: "one", zh: "一" }, "zh", "一"],
    [{ en: "one", zh: "" }, "zh", "one"],
    [{ en: "", zh: "一" }, "en", "一"],
    [undefined, "en", ""],
  ] as const)("%j in %s is %s", (text, lang, want) => expect(pick(text, lang)).toBe(want));
});

describe("progress of steps", () => {
  it("stands at the first that is not done", () => {
    expect(currentStep([state("a", "done"), state("b", "predict"), state("c", "locked")])).toBe("b");
    expect(currentStep([state("a", "done")])).toBeNull();
    expect(currentStep([state("a", "open"), state("b", "done")])).toBe("a");
  });

  it("sees what was ticked, and not what was so when the page opened", () => {
    const before = lab(1, state("a", "open"), state("b", "locked"));
    const after = lab(1, state("a", "done"), state("b", "open"));
    expect(newlyDone(null, after)).toEqual([]);
    expect(newlyDone(before, after)).toEqual(["a"]);
    expect(newlyDone(after, after)).toEqual([]);
    expect(newlyDone(before, lab(2, state("a", "done")))).toEqual([]);
  });

  it("sees a tick that went, but not those that a reset took", () => {
    const before = lab(1, state("a", "done"));
    expect(newlyOpen(before, lab(1, state("a", "open")))).toEqual(["a"]);
    expect(newlyOpen(before, lab(2, state("a", "open")))).toEqual([]);
  });
});

describe("notes", () => {
  const keys = (s: Step, now: StepState) => notes(s, now).map((n) => n.key);
  it.each([
    [step(), state("a", "open"), []],
    [step(), state("a", "open", { holds: true, stale: true }), ["lab.note.stale"]],
    [step({ within: 30 }), state("a", "open"), ["lab.note.within"]],
    [step({ within: 30 }), state("a", "open", { late: true }), ["lab.note.late"]],
    [step({ kind: "level" }), state("a", "open"), ["lab.note.level"]],
    [step({ kind: "level", within: 5 }), state("a", "done", { stale: true }), []],
    [step(), state("a", "predict", { stale: true }), []],
  ] as const)("case %#", (s, now, want) => expect(keys(s, now)).toEqual(want));
});

it("lets nobody act before the question is answered", () => {
  expect(
    [state("a", "locked"), state("a", "predict"), state("a", "open"), state("a", "done")].map(mayAct),
  ).toEqual([false, false, true, true]);
  expect(mayAct(undefined)).toBe(false);
});

it("offers hints while there are some and the step is not done", () => {
  expect(hintsLeft(state("a", "predict", { more: true }))).toBe(true);
  expect(hintsLeft(state("a", "open", { more: false }))).toBe(false);
  expect(hintsLeft(state("a", "done", { more: true }))).toBe(false);
  expect(hintsLeft(state("a", "locked", { more: true }))).toBe(false);
});

it("names choices by letters", () => expect([0, 1, 25].map(letter)).toEqual(["A", "B", "Z"]));

describe("revealed", () => {
  const parts = [{ html: "a" }, { step: "one" }, { html: "b" }, { step: "two" }, { html: "c" }];
  it.each([
    ["one", 1],
    ["two", 3],
    [null, 5],
    ["none", 5],
  ])("to part %j", (current, want) => {
    expect(revealed(parts, current)).toBe(want);
  });
  it("hides nothing behind a last step without text after it", () => {
    expect(revealed(parts.slice(0, 4), "two")).toBe(4);
  });
});
