import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { colours } from "./theme";

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");

/** The custom properties of both themes of a style sheet. */
function themes(css: string): { light: Record<string, string>; dark: Record<string, string> } {
  const [light, dark] = css
    .replace(/@media[\s\S]*?\n}\n/, "")
    .split(/:root\[data-theme="dark"\]/)
    .map((part) =>
      Object.fromEntries([...part.matchAll(/(--[\w-]+):\s*(#[0-9a-f]{6})/g)].map((m) => [m[1]!, m[2]!])),
    );
  return { light: light!, dark: dark! };
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

const page = themes(read("../../styles/tokens.css"));
const terminal = themes(read("./terminal.css"));
const editor = themes(read("../editor/editor.css"));

describe.each(["light", "dark"] as const)("%s", (name) => {
  const tokens = { ...page.light, ...page[name], ...terminal[name], ...editor[name] };

  it("has the same names as the other theme", () => {
    expect(Object.keys(terminal[name])).toEqual(Object.keys(terminal.light));
    expect(Object.keys(editor[name])).toEqual(Object.keys(editor.light));
  });

  it("has every colour that xterm.js is given", () => {
    const theme = colours((token) => tokens[token] ?? `no ${token}`);
    expect(Object.entries(theme).filter(([, value]) => !/^#[0-9a-f]{6}$/.test(String(value)))).toEqual([]);
  });

  const code = Object.keys(editor.light).filter((t) => !/line|selected|flash/.test(t));
  it.each([
    ...Array.from({ length: 16 }, (_, i) => [`--term-${i}`, "--sunk"]),
    ["--ink", "--term-selected"],
    ["--ink", "--code-selected"],
    ["--ink", "--code-flash"],
    ...code.flatMap((t) => ["--panel", "--code-line"].map((ground) => [t, ground])),
  ] as [string, string][])("%s on %s is AA", (token, ground) => {
    expect(contrast(tokens[token]!, tokens[ground]!)).toBeGreaterThanOrEqual(4.5);
  });
});
