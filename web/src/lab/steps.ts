// What the state of a step means to its learner.

import type { Key } from "../i18n/more";
import type { Params } from "../i18n/format";
import type { Part, Step } from "../net/labs";
import type { LabState, StepState, Text } from "../net/messages";

/** pick is a text in a language; where that is missing, in English. */
export function pick(text: Text | undefined, lang: "en" | "zh"): string {
  return text?.[lang] || text?.en || text?.zh || "";
}

/** asksForNode tells whether an open question is answered by a click on the stage. */
export function asksForNode(steps: readonly Step[], states: readonly StepState[]): boolean {
  return states.some(
    (s) => s.state === "predict" && steps.some((x) => x.id === s.id && x.predict?.node === true),
  );
}

/** currentStep is the first that is not done; null when all are. */
export function currentStep(steps: readonly StepState[]): string | null {
  return steps.find((s) => s.state !== "done")?.id ?? null;
}

/** revealed is the last part of a lesson that may be read: the current step's, or all. */
export function revealed(parts: readonly Part[], current: string | null): number {
  const at = parts.findIndex((p) => "step" in p && p.step === current);
  return at < 0 || !parts.slice(at + 1).some((p) => !("step" in p)) ? parts.length : at;
}

/** newlyDone are the steps that were ticked between two states of one attempt. */
export function newlyDone(before: LabState | null, after: LabState): string[] {
  if (!before || before.attempt !== after.attempt) return [];
  const was = new Map(before.steps.map((s) => [s.id, s.state]));
  return after.steps
    .filter((s) => s.state === "done" && was.has(s.id) && was.get(s.id) !== "done")
    .map((s) => s.id);
}

/** lost tells of the steps whose tick went: the check of a level step turned false. */
export function newlyOpen(before: LabState | null, after: LabState): string[] {
  if (!before || before.attempt !== after.attempt) return [];
  const was = new Map(before.steps.map((s) => [s.id, s.state]));
  return after.steps.filter((s) => s.state !== "done" && was.get(s.id) === "done").map((s) => s.id);
}

export interface Note {
  key: Key;
  params: Params;
  tone: "plain" | "warn";
}

/** notes say in plain words what of an open step is not plain to see. */
export function notes(step: Step, state: StepState): Note[] {
  const out: Note[] = [];
  const say = (key: Key, tone: Note["tone"] = "plain", params: Params = {}) =>
    out.push({ key, params, tone });
  if (state.state !== "open") return out;
  if (state.stale) say("lab.note.stale", "warn");
  if (state.late) say("lab.note.late", "warn", { n: step.within });
  else if (step.within > 0) say("lab.note.within", "plain", { n: step.within });
  if (step.kind === "level") say("lab.note.level");
  return out;
}

/** mayAct tells whether the buttons of a step work: not before its prediction is answered. */
export function mayAct(state: StepState | undefined): boolean {
  return state?.state === "open" || state?.state === "done";
}

/** letter names the choice i of a prediction. */
export function letter(i: number): string {
  return String.fromCharCode(65 + (i % 26));
}

/** hintsLeft tells whether another hint can be asked for. */
export function hintsLeft(state: StepState): boolean {
  return (state.state === "open" || state.state === "predict") && state.more;
}
