import { describe, expect, it } from "vitest";
import { about, bytes, clock, decimals, exactly, figure, ratio } from "./numbers";

describe("figures", () => {
  it.each([
    // median, low, high, what may be said
    [0.41234, 0.4, 0.42, "0.41"],
    [0.41234, 0.4122, 0.4125, "0.4123"],
    [0.41234, 0.412339, 0.412341, "0.4123"], // no more than four digits, however sure
    [0.41234, 0.41234, 0.41234, "0.412"],
    [12.345, 11, 14, "12"],
    [12.345, 12.3, 12.4, "12.3"],
    [523412, 500000, 540000, "520,000"],
    [1873, 1780, 1960, "1,900"],
    [0.00123, 0.0009, 0.0015, "0.0012"], // two digits at least, however unsure
    [99.6, 90, 110, "100"],
    [0, 0, 0, "0.00"],
  ])("%d between %d and %d is %s", (median, low, high, want) => {
    expect(figure(median, low, high, false, "en-GB").value).toBe(want);
  });

  it("shows bounds with the digits of the median, and none that say the same", () => {
    expect(figure(0.41234, 0.4, 0.42, false, "en-GB")).toMatchObject({
      low: "0.40",
      high: "0.42",
      wide: true,
    });
    expect(figure(5, 5.00001, 5.00002, false, "en-GB").wide).toBe(false);
  });

  it("says of a small ratio by how many it is less", () => {
    expect(ratio(0.00827, 0.00787, 0.0133, "en-GB")).toEqual({
      value: "1/120",
      low: "1/130",
      high: "1/80",
      wide: true,
    });
    const exact = Math.exp(Math.log(32 / 1048576));
    expect(ratio(exact, exact, exact, "en-GB")).toMatchObject({ value: "1/32,768", wide: false });
    expect(ratio(0.5, 0.4, 0.6, "en-GB").value).toBe("0.50");
    expect(ratio(0, 0, 0, "en-GB").value).toBe("0.00");
  });

  it("keeps every digit of a count", () => {
    expect(figure(1048576, 1048576, 1048576, true, "en-GB")).toMatchObject({
      value: "1,048,576",
      wide: false,
    });
    expect(exactly(32.5, "en-GB")).toBe("32.5");
  });

  it("never asks for digits that are not there", () => {
    for (const v of [1e-9, 3e-4, 0.5, 7, 1e4, 4e12]) {
      for (const width of [0, v / 1000, v / 10, v * 3]) {
        const size = Math.floor(Math.log10(v));
        const d = decimals(v, width) + size + 1; // significant digits
        expect(d).toBeGreaterThanOrEqual(2);
        expect(d).toBeLessThanOrEqual(4);
      }
    }
  });

  it("tells times and sizes shortly", () => {
    expect([clock(8.4), clock(80), clock(-1)]).toEqual(["8 s", "1 min 20 s", "0 s"]);
    expect([about(12), about(180), about(0)]).toEqual(["12 s", "3 min", "1 s"]);
    expect([bytes(2 ** 33), bytes(25_000_000_000), bytes(512)]).toEqual(["8 GiB", "23 GiB", "512 B"]);
  });
});
