// What the server tells of this machine, in the page's language where it has
// the words, and in the server's where it has not.

import { isKey, t } from "../i18n/more";
import type { Capability, Tier } from "../net/messages";

/** tierLabel is the name of a tier; of "fdinfo" it is another in each view. */
export function tierLabel(tier: Tier, view = "epoll"): string {
  const key = view === "uring" ? `ring.tier.${tier.name}` : `tier.${tier.name}`;
  return isKey(key) ? t(key) : tier.label;
}

/** tierReason is why a tier is, or is not, used; `tiers` are all of its view. */
export function tierReason(tier: Tier, tiers: readonly Tier[]): string {
  const key = `tier.code.${tier.code}`;
  if (!isKey(key)) return tier.reason;
  const chosen = tiers.find((x) => x.chosen);
  return t(key, { reason: tier.reason, chosen: chosen ? tierLabel(chosen) : "" });
}

/** capabilityName is what a lab needs, in words: a capability, "root" or "tool:NAME". */
export function capabilityName(name: string): string {
  const key = `capability.${name}`;
  return isKey(key) ? t(key) : name.replace(/^tool:/, "");
}

export function capabilityTitle(c: Capability): string {
  const key = `capability.${c.name}`;
  return isKey(key) ? t(key) : c.name;
}
