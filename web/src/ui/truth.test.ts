import { describe, expect, it } from "vitest";
import { EpollStream } from "../core";
import { goldenBytes } from "../testing/golden";
import { brokenKey } from "./broken";
import { facts, type Telling } from "./truth";

const tiers = [
  { name: "bpf-kfunc", label: "BPF, kfunc reads", chosen: true, reason: "it loads", code: "loads", fix: "" },
];
const model = new EpollStream().push(goldenBytes("key7")).model;

function tell(change: Partial<Telling> = {}, truth: object = {}, instance: object = {}) {
  const all = facts({
    truth: { ...model.truth!, ...truth },
    instance: { ...model.instance!, ...instance },
    tiers,
    mode: "live",
    since: 30,
    behind: 0,
    skipped: 2,
    ...change,
  });
  return new Map(all.map((f) => [f.id, f]));
}

describe("facts", () => {
  it("tells the frame's truth in words", () => {
    const f = tell();
    expect(f.get("tier")!.params["tier"]).toBe("BPF, kfunc reads");
    expect(f.get("age")!.params).toEqual({ age: "31 ms", read: "21 µs", check: "9.0 µs" });
    expect(f.get("torn")!.params).toEqual({ n: 3, of: 1204 });
    expect(f.get("marked")!.tone).toBe("warn");
    expect(f.get("lost")!.params).toEqual({ n: 2 });
    expect(f.get("skipped")!.params).toEqual({ n: 2 });
    expect(f.get("cost")!.params).toEqual({ cost: "0.30 %" });
    expect([f.get("shape")!.text, f.get("instant")!.text]).toEqual(["truth.whole", "truth.instant"]);
  });

  it("claims no more than is known", () => {
    expect(tell({}, { instant: false }).get("instant")!.text).toBe("truth.legal");
    const torn = tell({}, { whole: false, broken: 4 });
    expect([torn.get("shape")!.text, torn.get("shape")!.tone, torn.has("instant")]).toEqual([
      "truth.broken",
      "bad",
      false,
    ]);
    const names = tell({}, {}, { membership: true });
    expect([names.get("shape")!.text, names.has("instant")]).toEqual(["truth.membership", false]);
  });

  it("has no age in what is not live, and says that it is a replay, or the last picture", () => {
    expect(tell({ mode: "paused", behind: 2400 }).get("source")!.params).toEqual({ behind: "2.4 s" });
    expect(tell({ mode: "replay" }).has("age")).toBe(false);
    expect(tell({ mode: "ended" }).get("source")!.text).toBe("truth.ended");
  });
});

describe("brokenKey", () => {
  it("has a sentence for every number", () => {
    expect([1, 4, 10, 11, 255].map(brokenKey)).toEqual([
      "broken.foreign",
      "broken.redred",
      "broken.leftmost",
      "broken.other",
      "broken.other",
    ]);
  });
});
