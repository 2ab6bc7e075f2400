import { describe, expect, it } from "vitest";
import { command, type Focus, type Key } from "./keys";

function press(key: string, focus: Focus = "page", mod: Partial<Key> = {}) {
  return command({ key, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false, ...mod }, focus);
}

describe("keys", () => {
  it("walks, and with shift steps in time", () => {
    expect(press("ArrowUp")).toEqual({ do: "walk", to: "parent" });
    expect(press("ArrowLeft")).toEqual({ do: "walk", to: "previous" });
    expect(press("ArrowLeft", "page", { shiftKey: true })).toEqual({ do: "step", n: -1 });
    expect(press("End", "page", { shiftKey: true })).toEqual({ do: "live" });
  });

  it("leaves browser shortcuts, text and controls alone", () => {
    expect(press("r", "page", { ctrlKey: true })).toBeNull();
    expect(press("ArrowLeft", "page", { altKey: true })).toBeNull();
    expect(press("/", "text")).toBeNull();
    expect(press(" ", "control")).toBeNull();
    expect(press("ArrowDown", "list")).toBeNull();
    expect(press("k", "control")).toEqual({ do: "pause" });
  });

  it("knows ? whatever the layout does to shift, and capitals", () => {
    expect(press("?", "page", { shiftKey: true })).toEqual({ do: "help" });
    expect(press("J", "page", { shiftKey: true })).toEqual({ do: "back" });
    expect(press("3")).toEqual({ do: "tab", tab: "struct" });
    expect(press("q")).toBeNull();
  });
});
