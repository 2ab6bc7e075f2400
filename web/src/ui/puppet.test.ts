import { describe, expect, it } from "vitest";
import { clampNumber } from "./numbers";
import { fdRows } from "./puppet";

const fd = (n: number, kind: string) => ({ fd: n, kind, peer: 0, readable: false, in: [] });
const state = {
  fds: [fd(7, "pipe"), fd(5, "eventfd"), fd(4, "epoll"), fd(57, "udp")],
  epolls: [{ fd: 4, items: [] }],
  threads: [],
};

describe("fdRows", () => {
  it("sorts by fd and tells instances", () => {
    expect(fdRows(state, "").map((r) => [r.fd, r.epoll])).toEqual([
      [4, true],
      [5, false],
      [7, false],
      [57, false],
    ]);
  });

  it("filters by exact fd or by kind", () => {
    expect(fdRows(state, " 5 ").map((r) => r.fd)).toEqual([5]);
    expect(fdRows(state, "P").map((r) => r.fd)).toEqual([4, 7, 57]);
    expect(fdRows(null, "")).toEqual([]);
  });
});

describe("clampNumber", () => {
  it.each([
    ["30", 30],
    ["0", 1],
    ["20000", 10_000],
    ["2.6", 3],
    ["", 10],
    [null, 10],
    ["x", 10],
  ])("%j is %d", (value, want) => expect(clampNumber(value, 1, 10_000, 10)).toBe(want));
});
