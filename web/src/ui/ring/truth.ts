// The strip of truth of a ring, and what its broken invariants mean.

import { isKey, t, type Key } from "../../i18n/more";
import type { Ring } from "../../wire/uring";
import type { Tier } from "../../net/messages";
import { tierLabel } from "../machine";
import { sharedFacts, type Fact, type Shared } from "../truth";

/** Invariants of a ring by number, from 1 (internal/kernelviz/uring/model.go). */
const broken = ["memory", "mask", "entries", "sqrange", "cqrange", "sqhead", "sqtail", "cqtail"] as const;
export type BrokenRing = (typeof broken)[number] | "other";

export function brokenRing(n: number): BrokenRing {
  return broken[n - 1] ?? "other";
}

export interface RingTelling extends Shared {
  ring: Ring | null;
  /** Events that never came, as this page counts them. */
  lostEvents: number;
}

/** ringTier is the name of a tier in the page's words. */
export function ringTier(tier: Tier | undefined): string {
  return tier ? tierLabel(tier, "uring") : "?";
}

function tierTip(tier: Tier | undefined): string {
  if (!tier) return "";
  const key = `ring.tiertip.${tier.name}`;
  return isKey(key) ? t(key) : tier.reason;
}

export function ringFacts(f: RingTelling): Fact[] {
  const tier = f.tiers[f.truth.tier];
  const out = sharedFacts(f).map((fact): Fact => {
    if (fact.id === "tier") {
      return { ...fact, tip: "ring.truth.tier.tip", params: { tier: ringTier(tier), reason: tierTip(tier) } };
    }
    if (fact.id === "torn") return { ...fact, tip: "ring.truth.torn.tip" };
    if (fact.id === "lost") {
      const n = Math.max(f.truth.lost, f.lostEvents);
      return { ...fact, tip: "ring.truth.lost.tip", params: { n }, tone: n > 0 ? "warn" : "plain" };
    }
    return fact;
  });
  if (f.truth.whole) {
    out.push({ id: "shape", text: "truth.whole", tip: "ring.truth.whole.tip", params: {}, tone: "good" });
  } else {
    const key: Key = `ring.broken.${brokenRing(f.truth.broken)}`;
    out.push({ id: "shape", text: "truth.broken", tip: key, params: {}, tone: "bad" });
  }
  if (f.truth.whole && f.truth.instant) {
    out.push({ id: "instant", text: "truth.instant", tip: "truth.instant.tip", params: {}, tone: "good" });
  }
  return out;
}
