import { describe, expect, it } from "vitest";
import { mostOutput, OutputLog } from "./output";

const log = (...messages: [run: number, at: number, text: string, lost?: number][]) =>
  messages.reduce((l, [run, at, text, lost = 0]) => l.add({ run, at, text, lost }), OutputLog.empty);

describe("OutputLog", () => {
  it("puts what follows together", () => {
    expect(log([1, 0, "one "], [1, 4, "two"])).toMatchObject({ run: 1, text: "one two", lost: 0 });
  });

  it("shows nothing twice after a reconnect", () => {
    expect(log([1, 0, "one "], [1, 4, "two"], [1, 0, "one two three"]).text).toBe("one two three");
    expect(log([1, 0, "one "], [1, 4, "two"], [1, 2, "e two three"]).text).toBe("one two three");
    expect(log([1, 0, "one"], [1, 0, "one"]).text).toBe("one");
  });

  it("counts bytes, not letters", () => {
    expect(log([1, 0, "树 "], [1, 4, "ok"], [1, 4, "ok!"]).text).toBe("树 ok!");
  });

  it("loses nothing after what is no UTF-8, for which more bytes come than were written", () => {
    expect(log([1, 0, "ok \uFFFD\uFFFD"], [1, 5, "more"]).text).toBe("ok \uFFFD\uFFFDmore");
  });

  it("begins anew with each run, and takes nothing from one that is over", () => {
    expect(log([1, 0, "old", 5], [2, 0, "new"], [1, 3, "late"])).toMatchObject({
      run: 2,
      text: "new",
      lost: 0,
    });
  });

  it("says how much is missing", () => {
    expect(log([1, 900, "tail"]).lost).toBe(900);
    expect(log([1, 0, "a"], [1, 1, "b", 70]).lost).toBe(70);
  });

  it("keeps the latest 64 KiB, and no half letter", () => {
    const l = log([1, 0, "树".repeat(30_000)], [1, 90_000, "x"]);
    expect(new TextEncoder().encode(l.text).length).toBeLessThanOrEqual(mostOutput);
    expect(l.text).toMatch(/^树+x$/);
    expect(l.lost).toBe(90_001 - mostOutput);
  });
});
