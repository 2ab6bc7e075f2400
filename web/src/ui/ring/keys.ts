// The keyboard of a ring: from a key to a command. What a view of trees and one
// of rings have in common has the same keys.

import type { RingWalk } from "../../scene/uringnav";
import { focusOf, type Focus, type Key } from "../keys";
import { ringTabs, type RingTab } from "../route";

export { focusOf };

export type RingCommand =
  | { do: "walk"; to: RingWalk }
  | { do: "toggle" | "back" | "pause" | "forward" | "live" | "oldest" }
  | { do: "find" | "help" | "leave" | "open" | "slow" }
  | { do: "step"; n: number }
  | { do: "event"; n: 1 | -1 }
  | { do: "tab"; tab: RingTab };

const walks: Record<string, RingWalk> = {
  ArrowLeft: "previous",
  ArrowRight: "next",
  ArrowUp: "before",
  ArrowDown: "after",
  Home: "first",
  End: "last",
};

const plain: Record<string, RingCommand> = {
  j: { do: "back" },
  k: { do: "pause" },
  l: { do: "forward" },
  s: { do: "slow" },
  ".": { do: "event", n: 1 },
  ",": { do: "event", n: -1 },
  "/": { do: "find" },
  "?": { do: "help" },
  " ": { do: "toggle" },
  Enter: { do: "open" },
};

const shifted: Record<string, RingCommand> = {
  ArrowLeft: { do: "step", n: -1 },
  ArrowRight: { do: "step", n: 1 },
  Home: { do: "oldest" },
  End: { do: "live" },
};

/** ringCommand is what a key means there; null leaves it to the browser. */
export function ringCommand(k: Key, focus: Focus): RingCommand | null {
  if (k.ctrlKey || k.metaKey || k.altKey || focus === "text") return null;
  if (k.key === "Escape") return { do: "leave" };
  if (focus === "control" && /^(Enter| |Arrow|Home|End)/.test(k.key)) return null;
  if (focus === "list" && /^(Arrow|Home|End)/.test(k.key) && !k.shiftKey) return null;
  if (k.shiftKey && shifted[k.key]) return shifted[k.key]!;
  const to = walks[k.key];
  if (to) return { do: "walk", to };
  if (/^[1-4]$/.test(k.key)) return { do: "tab", tab: ringTabs[Number(k.key) - 1]! };
  return plain[k.key.length === 1 ? k.key.toLowerCase() : k.key] ?? null;
}
