import { describe, expect, it } from "vitest";
import type { Claim } from "../net/experiments";
import {
  claimOutcome,
  lacksFull,
  modulesOf,
  outcomeMarks,
  outcomeOf,
  outcomes,
  sections,
  tally,
  toRun,
  verdictTally,
  wantText,
} from "./claims";
import { milestone, share } from "./progress";

const none = { en: "", zh: "" };
// A test fixture in the shape of internal/experiment/claims.go.
function claim(id: string, status: string, more: Partial<Claim> = {}, verdict = ""): Claim {
  return {
    id,
    text: none,
    section: "epoll",
    experiment: "herd",
    lesson: "",
    later: "",
    see: [],
    means: none,
    parts: [],
    standing: {
      status,
      verdict: verdict
        ? { claim: id, verdict, when: none, reason: none, why: "", because: none, parts: [] }
        : null,
      run: 0,
      started: "",
      quick: false,
      stale: false,
      missing: [],
    },
    ...more,
  };
}

describe("claims", () => {
  it.each([
    ["measured", "holds", "holds"],
    ["measured", "holds in part", "part"],
    ["measured", "does not hold here", "not"],
    ["measured", "no verdict", "none"],
    ["cannot be tested here", "", "cannot"],
    ["not measured yet", "", "unmeasured"],
    ["comes later", "", "later"],
    ["shown by lesson", "", "lesson"],
    ["something new", "", "unmeasured"],
  ] as const)("%s, %j is %s", (status, verdict, want) => {
    expect(claimOutcome(claim("A", status, {}, verdict))).toBe(want);
  });

  it("are counted once each", () => {
    const list = [
      claim("E1", "shown by lesson", { experiment: "", lesson: "epoll-structs" }),
      claim("E5", "measured", {}, "holds"),
      claim("E6", "measured", {}, "holds"),
      claim("U2", "not measured yet", { section: "uring", experiment: "syscalls" }),
      claim("U3", "not measured yet", { section: "uring", experiment: "syscalls" }),
    ];
    const t = tally(list);
    expect(t).toMatchObject({ all: 5, measured: 2 });
    expect(t.counts.reduce((n, c) => n + c.n, 0)).toBe(5);
    expect(t.counts[0]).toEqual({ outcome: "holds", n: 2 });
    expect(sections(list)).toEqual(["epoll", "uring"]);
    expect(toRun(list)).toEqual(["syscalls"]);
  });

  it("say what they want as people write it", () => {
    expect(["ratio <= 0.77", "ratio in 0.9 .. 1.1", "value == 32"].map(wantText)).toEqual([
      "ratio ≤ 0.77",
      "ratio in 0.9 – 1.1",
      "value = 32",
    ]);
  });

  it("have a sign of their own for each outcome", () => {
    expect(new Set(Object.values(outcomeMarks)).size).toBe(outcomes.length);
    expect(outcomeOf("toString")).toBeNull();
    expect(
      verdictTally([
        { claim: "A", verdict: "no verdict", when: none, reason: none, why: "", because: none, parts: [] },
      ]),
    ).toEqual([{ outcome: "none", n: 1 }]);
  });
});

describe("what a claim points to", () => {
  it("is a module by its number and title", () => {
    const title = { en: "Redirection", zh: "连接重定向" };
    expect(
      modulesOf([
        { id: "epoll", title: none },
        { id: "redirect", title },
      ])["redirect"],
    ).toEqual({ number: 2, title });
  });
  it("is a full run where a quick one leaves something out", () => {
    const v = { claim: "A", verdict: "no verdict", when: none, reason: none, why: "noise", because: none };
    const part = {
      series: "",
      variant: "",
      against: "",
      metric: "",
      want: "",
      ratio: 0,
      low: 0,
      high: 0,
      rounds: 0,
      outcome: "missing",
    };
    const lacks = (...whys: string[]) => lacksFull({ ...v, parts: whys.map((why) => ({ ...part, why })) });
    expect([lacks("", "noise", "quick"), lacks("", "failed"), lacks()]).toEqual([true, false, false]);
  });
});

describe("progress", () => {
  const p = {
    run: 1,
    experiment: "herd",
    phase: "measuring",
    series: "",
    variant: "",
    done: 3,
    total: 12,
    elapsed: 4,
    left: 12,
  };
  it("is a share of the trials", () => {
    expect([share(p), share({ ...p, total: 0 }), share({ ...p, done: 20 })]).toEqual([0.25, 0, 1]);
  });
  it("is told aloud at phases and quarters only", () => {
    expect(milestone({ ...p, done: 4 })).toBe(milestone(p));
    expect(milestone({ ...p, done: 6 })).not.toBe(milestone(p));
    expect(milestone({ ...p, phase: "cleaning up" })).not.toBe(milestone(p));
  });
});
