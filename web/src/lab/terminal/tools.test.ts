import { describe, expect, it } from "vitest";
import { arrow } from "./arrows";
import { Leave } from "./leave";
import { mostPaste, tooLong } from "./paste";
import { firstTabs, freeTab, withoutTab, withTab } from "./tabs";

describe("a paste", () => {
  it.each([
    ["short text", "ls -l\n", 0],
    ["as much as may be", "x".repeat(mostPaste), 0],
    ["one byte more", "x".repeat(mostPaste + 1), mostPaste + 1],
    ["characters of three bytes", "中".repeat(mostPaste / 2), (mostPaste / 2) * 3],
    ["as many in fewer bytes", "中".repeat(mostPaste / 4), 0],
  ])("%s", (_, text, want) => {
    expect(tooLong(text)).toBe(want);
  });
});

describe("tabs of terminals", () => {
  it("begin with those that run, and with the one that is asked for", () => {
    expect(firstTabs([], 1)).toEqual([1]);
    expect(firstTabs([3, 1], 1)).toEqual([1, 3]);
    expect(firstTabs([1], 2)).toEqual([1, 2]);
    expect(firstTabs([0, 9], 7)).toEqual([1]);
  });

  it("take the first free number, up to four", () => {
    expect(freeTab([1, 3])).toBe(2);
    expect(withTab([1, 3], 2)).toEqual([1, 2, 3]);
    expect(freeTab([1, 2, 3, 4])).toBe(0);
    expect(withTab([1], 5)).toEqual([1]);
  });

  it("show a neighbour when the one in front is closed", () => {
    expect(withoutTab([1, 2, 4], 2, 2)).toEqual({ tabs: [1, 4], current: 4 });
    expect(withoutTab([1, 2, 4], 4, 4)).toEqual({ tabs: [1, 2], current: 2 });
    expect(withoutTab([1, 2, 4], 1, 4)).toEqual({ tabs: [2, 4], current: 4 });
    expect(withoutTab([2], 2, 2)).toEqual({ tabs: [2], current: 2 });
  });

  it.each([
    ["ArrowLeft", 0, 2],
    ["ArrowRight", 2, 0],
    ["ArrowRight", 0, 1],
    ["Home", 2, 0],
    ["End", 0, 2],
    ["a", 1, -1],
  ])("%s at %d leads to %d", (key, at, want) => {
    expect(arrow(key, at, 3)).toBe(want);
  });
});

describe("leaving by keyboard", () => {
  const press = (...keys: [string, number][]) => {
    let now = 0;
    const leave = new Leave(() => now);
    return keys.map(([key, at]) => {
      now = at;
      return leave.leaves(key);
    });
  };

  it.each<[string, [string, number][], boolean]>([
    ["Tab alone is the shell's", [["Tab", 0]], false],
    [
      "Escape, Tab",
      [
        ["Escape", 0],
        ["Tab", 500],
      ],
      true,
    ],
    [
      "Escape, Shift+Tab",
      [
        ["Escape", 0],
        ["Shift", 300],
        ["Tab", 500],
      ],
      true,
    ],
    [
      "too late",
      [
        ["Escape", 0],
        ["Tab", 2001],
      ],
      false,
    ],
    [
      "something between",
      [
        ["Escape", 0],
        ["j", 100],
        ["Tab", 200],
      ],
      false,
    ],
    [
      "once only",
      [
        ["Escape", 0],
        ["Tab", 100],
        ["Tab", 200],
      ],
      false,
    ],
  ])("%s", (_, keys, want) => {
    expect(press(...keys).at(-1)).toBe(want);
  });
});
