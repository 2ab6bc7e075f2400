import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const css = readFileSync(new URL("./tokens.css", import.meta.url), "utf8");

function tokens(block: string): Record<string, string> {
  return Object.fromEntries([...block.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6})/g)].map((m) => [m[1]!, m[2]!]));
}

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5]
    .map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high! + 0.05) / (low! + 0.05);
}

const [light, media, dark] = css.split(/@media|:root\[data-theme="dark"\]/).map(tokens);
const themes = { light: light!, dark: { ...light!, ...dark! } };
const text = ["ink", "soft", "accent", "red", "ready", "wait", "warn", "bad"];

describe("tokens", () => {
  it("says dark the same way in both places", () => {
    expect(media).toEqual(dark);
  });

  for (const [name, theme] of Object.entries(themes)) {
    it.each(text.flatMap((t) => ["paper", "panel", "sunk"].map((g) => [t, g] as const)))(
      `${name}: %s on %s is AA`,
      (t, ground) => {
        expect(contrast(theme[t]!, theme[ground]!)).toBeGreaterThanOrEqual(4.5);
      },
    );

    it.each([
      ["on-accent", "accent"],
      ["blacktext", "blackfill"],
      ["red", "redfill"],
      ["ready", "ready-wash"],
      ["warn", "warn-wash"],
      ["bad", "bad-wash"],
      ["ink", "accent-wash"],
      ["accent", "accent-wash"],
    ])(`${name}: %s on %s is AA`, (t, ground) => {
      expect(contrast(theme[t]!, theme[ground]!)).toBeGreaterThanOrEqual(4.5);
    });
  }
});
