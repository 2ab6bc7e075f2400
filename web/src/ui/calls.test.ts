import { describe, expect, it } from "vitest";
import type { Call } from "../net/messages";
import { CallLog, clock, mainFd, pieces } from "./calls";

function call(seq: number, pending = false): Call {
  return {
    seq,
    time: "",
    tid: 1,
    thread: 0,
    text: `close(${seq})`,
    result: "",
    ok: true,
    note: "",
    pending,
    rest: "",
  };
}

describe("CallLog", () => {
  it("keeps order of seq and replaces a pending call", () => {
    const log = new CallLog();
    expect(log.add([call(2, true), call(3)])).toBe(true);
    expect(log.add([call(1)])).toBe(false);
    expect(log.add([call(2)])).toBe(false);
    expect(log.calls.map((c) => [c.seq, c.pending])).toEqual([
      [1, false],
      [2, false],
      [3, false],
    ]);
  });

  it("forgets the oldest beyond 5,000", () => {
    const log = new CallLog();
    log.add(Array.from({ length: 5003 }, (_, i) => call(i + 1)));
    expect(log.calls).toHaveLength(5000);
    expect(log.calls[0]!.seq).toBe(4);
  });
});

describe("pieces", () => {
  it.each([
    ["epoll_ctl(3, EPOLL_CTL_ADD, 5, {events=EPOLLIN|EPOLLET, data={u32=5, u64=5}})", [3, 5], 5],
    ["epoll_wait(3, [{events=EPOLLIN, data={u32=5, u64=5}}], 8, 5000)", [3], 3],
    ["epoll_wait(3, [], 8, -1)", [3], 3],
    ['write(46, "8, \\"x", 1)', [46], 46],
    ["eventfd2(0, EFD_CLOEXEC|EFD_NONBLOCK)", [], null],
    ["close(7)", [7], 7],
    ["exit", [], null],
  ])("%s", (text, fds, main) => {
    const all = pieces(text);
    expect(all.map((p) => p.text).join("")).toBe(text);
    expect(all.filter((p) => p.kind === "fd").map((p) => p.fd)).toEqual(fds);
    expect(mainFd(text)).toBe(main);
  });

  it("marks flags", () => {
    const flags = pieces("epoll_ctl(3, EPOLL_CTL_MOD, 5, {events=EPOLLIN|EPOLLONESHOT, data={u32=5}})");
    expect(flags.filter((p) => p.kind === "flag").map((p) => p.text)).toEqual([
      "EPOLL_CTL_MOD",
      "EPOLLIN",
      "EPOLLONESHOT",
    ]);
  });
});

describe("clock", () => {
  it("shows milliseconds and nothing for what is no time", () => {
    expect(clock("2026-01-02T03:04:05.0067Z")).toMatch(/^\d\d:\d\d:05\.006$/);
    expect(clock("soon")).toBe("");
  });
});
