import { describe, expect, it } from "vitest";
import type { Target } from "../net/messages";
import { arrange, matches, shared } from "./targets";

function target(pid: number, items: number, instance = pid): Target {
  return { view: "epoll", name: `${pid}:3`, pid, comm: `p${pid}`, fd: 3, instance, items };
}
const names = (rows: { key: string }[]) => rows.map((r) => r.key);

describe("arrange", () => {
  it("sorts by items, most first", () => {
    const rows = arrange([], [target(1, 2), target(2, 9), target(3, 2)], false);
    expect(names(rows)).toEqual(["epoll/2:3", "epoll/1:3", "epoll/3:3"]);
  });

  it("moves nothing while held", () => {
    const first = arrange([], [target(1, 9), target(2, 5)], false);
    const held = arrange(first, [target(2, 50), target(4, 7), target(5, 80)], true);
    expect(names(held)).toEqual(["epoll/1:3", "epoll/2:3", "epoll/5:3", "epoll/4:3"]);
    expect(held.map((r) => [r.gone, r.target.items])).toEqual([
      [true, 9],
      [false, 50],
      [false, 80],
      [false, 7],
    ]);
    expect(names(arrange(held, [target(2, 50), target(4, 7)], false))).toEqual(["epoll/2:3", "epoll/4:3"]);
  });
});

describe("matches", () => {
  it.each([
    ["", true],
    ["P7", true],
    ["7:3", true],
    ["p7 3", true],
    ["p7 9", false],
  ])("%j: %s", (filter, want) => expect(matches(target(7, 0), filter)).toBe(want));
});

describe("shared", () => {
  it("knows instances seen twice, and 0 means unknown", () => {
    expect([
      ...shared([target(1, 0, 4), target(2, 0, 4), target(3, 0, 5), target(4, 0, 0), target(5, 0, 0)]),
    ]).toEqual([4]);
  });
});
