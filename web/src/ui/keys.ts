// The keyboard of the watch page: from a key to a command.

import type { Walk } from "../core";
import { tabs, type Tab } from "./route";

export type Command =
  | { do: "walk"; to: Walk }
  | { do: "zoom"; factor: number }
  | { do: "pan"; screens: number }
  | {
      do:
        | "fit"
        | "toggle"
        | "back"
        | "pause"
        | "forward"
        | "live"
        | "oldest"
        | "find"
        | "help"
        | "leave"
        | "open";
    }
  | { do: "step"; n: number }
  | { do: "tab"; tab: Tab };

/** Where the keyboard is: keys that a control needs stay with it. */
export type Focus = "text" | "control" | "list" | "page";

export interface Key {
  key: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

const walks: Record<string, Walk> = {
  ArrowUp: "parent",
  ArrowLeft: "previous",
  ArrowRight: "next",
  Home: "first",
  End: "last",
  r: "root",
  x: "sibling",
};

const plain: Record<string, Command> = {
  w: { do: "zoom", factor: 1.25 },
  s: { do: "zoom", factor: 0.8 },
  a: { do: "pan", screens: 0.15 },
  d: { do: "pan", screens: -0.15 },
  f: { do: "fit" },
  j: { do: "back" },
  k: { do: "pause" },
  l: { do: "forward" },
  "/": { do: "find" },
  "?": { do: "help" },
};

const shifted: Record<string, Command> = {
  ArrowLeft: { do: "step", n: -1 },
  ArrowRight: { do: "step", n: 1 },
  Home: { do: "oldest" },
  End: { do: "live" },
};

/** command is what a key means there; null leaves it to the browser. */
export function command(k: Key, focus: Focus): Command | null {
  if (k.ctrlKey || k.metaKey || k.altKey || focus === "text") return null;
  if (k.key === "Escape") return { do: "leave" };
  if (focus === "control" && /^(Enter| |Arrow|Home|End)/.test(k.key)) return null;
  if (focus === "list" && /^(Arrow|Home|End)/.test(k.key) && !k.shiftKey) return null;
  if (k.shiftKey && shifted[k.key]) return shifted[k.key]!;
  if (k.key === " ") return { do: "toggle" };
  if (k.key === "Enter") return { do: "open" };
  if (k.key === "ArrowDown") return { do: "walk", to: "left" };
  const to = walks[k.key.length === 1 ? k.key.toLowerCase() : k.key];
  if (to) return { do: "walk", to };
  if (/^[1-4]$/.test(k.key)) return { do: "tab", tab: tabs[Number(k.key) - 1]! };
  return plain[k.key.length === 1 ? k.key.toLowerCase() : k.key] ?? null;
}

/** focusOf says where the keyboard is, from the focused element. */
export function focusOf(target: EventTarget | null): Focus {
  if (!(target instanceof Element)) return "page";
  if (target.closest("input, textarea, select, [contenteditable]")) return "text";
  if (target.closest("[role=tree]")) return "page";
  if (target.closest("button, a, summary, [role=tab], [role=separator], [role=slider]")) return "control";
  if (target.closest("[data-scroll]")) return "list";
  return "page";
}
