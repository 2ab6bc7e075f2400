// What the page says of claims: one outcome each, counted and sorted.

import type { Claim, ClaimVerdict } from "../net/experiments";
import type { Text } from "../net/messages";

export const outcomes = ["holds", "part", "not", "none", "cannot", "unmeasured", "later", "lesson"] as const;
/** Outcome is a verdict of the server, or what stands in place of one. */
export type Outcome = (typeof outcomes)[number];

const words: Record<string, Outcome> = {
  holds: "holds",
  "holds in part": "part",
  "does not hold here": "not",
  "no verdict": "none",
  "cannot be tested here": "cannot",
  "not measured yet": "unmeasured",
  "comes later": "later",
  "shown by lesson": "lesson",
};

/** outcomeOf is null for a word of a newer server. */
export function outcomeOf(word: string): Outcome | null {
  return Object.hasOwn(words, word) ? words[word]! : null;
}

export function claimOutcome(c: Claim): Outcome {
  const own = outcomeOf(c.standing.verdict?.verdict ?? "");
  return own ?? outcomeOf(c.standing.status) ?? (c.lesson ? "lesson" : c.later ? "later" : "unmeasured");
}

/** lacksFull tells that a verdict lacks something that only full runs measure. */
export function lacksFull(v: ClaimVerdict): boolean {
  return v.parts.some((p) => p.why === "quick");
}

/** marks of outcomes: shapes, so that they are told apart without hue. */
export const outcomeMarks: Record<Outcome, string> = {
  holds: "✓",
  part: "◐",
  not: "✕",
  none: "≈",
  cannot: "–",
  unmeasured: "○",
  later: "…",
  lesson: "▸",
};

/** wantText is what a part asks, as people write it: "ratio ≤ 0.77". */
export function wantText(want: string): string {
  return want
    .replace("<=", "≤")
    .replace(">=", "≥")
    .replace("==", "=")
    .replace(/ \.\. /, " – ");
}

export interface Tally {
  all: number;
  measured: number;
  counts: { outcome: Outcome; n: number }[]; // those that occur, in the order of `outcomes`
}

export function tally(list: readonly Claim[]): Tally {
  const of = list.map(claimOutcome);
  return {
    all: list.length,
    measured: of.filter((o) => o === "holds" || o === "part" || o === "not" || o === "none").length,
    counts: outcomes
      .map((outcome) => ({ outcome, n: of.filter((o) => o === outcome).length }))
      .filter((c) => c.n > 0),
  };
}

/** sections in the order in which the claims come, each once. */
export function sections(list: readonly Claim[]): string[] {
  return [...new Set(list.map((c) => c.section))];
}

/** ModuleName is how a module of the curriculum is called. */
export interface ModuleName {
  number: number; // from 1, in the curriculum's order
  title: Text;
}

/** modulesOf names modules by their ids. */
export function modulesOf(list: readonly { id: string; title: Text }[]): Record<string, ModuleName> {
  return Object.fromEntries(list.map((m, i) => [m.id, { number: i + 1, title: m.title }]));
}

/** outcomesOf counts the verdicts of a run. */
export function verdictTally(list: readonly ClaimVerdict[]): { outcome: Outcome; n: number }[] {
  return outcomes
    .map((outcome) => ({ outcome, n: list.filter((v) => outcomeOf(v.verdict) === outcome).length }))
    .filter((c) => c.n > 0);
}

/** toRun are the experiments that would settle what is not measured yet, each once. */
export function toRun(list: readonly Claim[]): string[] {
  return [
    ...new Set(list.filter((c) => c.experiment && claimOutcome(c) === "unmeasured").map((c) => c.experiment)),
  ];
}
