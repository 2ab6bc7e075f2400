// The strip of truth: what the page may say about the picture it shows.

import type { Instance, Truth } from "../core";
import type { Key } from "../i18n/more";
import type { Params } from "../i18n/format";
import type { Tier } from "../net/messages";
import { tierLabel, tierReason } from "./machine";
import type { Mode } from "./stage";
import { duration, nanos, percent } from "./words";

/** Fact is one item of the strip: a sentence with its tooltip. */
export interface Fact {
  id: string;
  text: Key;
  tip: Key;
  params: Params;
  tone: "plain" | "good" | "warn" | "bad";
}

/** What every view tells in the same words. */
export interface Shared {
  truth: Truth;
  tiers: readonly Tier[];
  mode: Mode | "ended";
  /** ms since the frame came, and between the picture shown and the newest. */
  since: number;
  behind: number;
  /** Frames this page missed. */
  skipped: number;
}

export interface Telling extends Shared {
  instance: Instance | null;
}

const sources: Record<Shared["mode"], { text: Key; tip: Key }> = {
  live: { text: "truth.live", tip: "truth.live.tip" },
  paused: { text: "truth.replay", tip: "truth.replay.tip" },
  replay: { text: "truth.replay", tip: "truth.replay.tip" },
  ended: { text: "truth.ended", tip: "truth.ended.tip" },
};

export function facts(f: Telling): Fact[] {
  return [...sharedFacts(f), shape(f), ...instant(f)];
}

/** sharedFacts are source, tier, age, what was torn, skipped or lost, and what it costs. */
export function sharedFacts(f: Shared): Fact[] {
  const { truth, mode } = f;
  const tier = f.tiers[truth.tier];
  const out: Fact[] = [
    {
      id: "source",
      ...sources[mode],
      params: { behind: duration(f.behind) },
      tone: "plain",
    },
    {
      id: "tier",
      text: "truth.tier",
      tip: "truth.tier.tip",
      params: {
        tier: tier ? tierLabel(tier) : "?",
        reason: tier ? tierReason(tier, f.tiers) : "",
      },
      tone: "plain",
    },
  ];
  if (mode === "live") {
    out.push({
      id: "age",
      text: "truth.age",
      tip: "truth.age.tip",
      params: {
        age: duration(truth.age / 1e6 + f.since),
        read: nanos(truth.read),
        check: nanos(truth.check),
      },
      tone: "plain",
    });
  }
  out.push({
    id: "torn",
    text: "truth.torn",
    tip: "truth.torn.tip",
    params: { n: truth.torn, of: truth.samples },
    tone: "plain",
  });
  if (truth.marked > 0) {
    out.push({
      id: "marked",
      text: "truth.marked",
      tip: "truth.marked.tip",
      params: { n: truth.marked },
      tone: "warn",
    });
  }
  const skipped = f.skipped + truth.skipped;
  out.push({
    id: "skipped",
    text: "truth.skipped",
    tip: "truth.skipped.tip",
    params: { n: skipped },
    tone: "plain",
  });
  if (truth.attached || truth.lost > 0) {
    out.push({
      id: "lost",
      text: "truth.lost",
      tip: "truth.lost.tip",
      params: { n: truth.lost },
      tone: truth.lost > 0 ? "warn" : "plain",
    });
  }
  out.push({
    id: "cost",
    text: "truth.cost",
    tip: "truth.cost.tip",
    params: { cost: percent(truth.cost) },
    tone: "plain",
  });
  return out;
}

function shape({ truth, instance }: Telling): Fact {
  if (instance?.membership) {
    return { id: "shape", text: "truth.membership", tip: "truth.membership.tip", params: {}, tone: "warn" };
  }
  if (truth.whole) {
    return { id: "shape", text: "truth.whole", tip: "truth.whole.tip", params: {}, tone: "good" };
  }
  return {
    id: "shape",
    text: "truth.broken",
    tip: "truth.broken.tip",
    params: { n: truth.broken },
    tone: "bad",
  };
}

function instant({ truth, instance }: Telling): Fact[] {
  if (!truth.whole || instance?.membership) return [];
  return truth.instant
    ? [{ id: "instant", text: "truth.instant", tip: "truth.instant.tip", params: {}, tone: "good" }]
    : [{ id: "instant", text: "truth.legal", tip: "truth.legal.tip", params: {}, tone: "plain" }];
}
