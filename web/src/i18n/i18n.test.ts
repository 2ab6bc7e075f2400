import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import first from "./en.json";
import rest from "./en.more.json";
import { format } from "./format";
import zh from "./zh.json";

const en = { ...first, ...rest };
const src = fileURLToPath(new URL("..", import.meta.url));

function sources(): string {
  const files = readdirSync(src, { recursive: true, encoding: "utf8" });
  return files
    .filter((f) => /\.(ts|svelte)$/.test(f) && !f.endsWith(".test.ts"))
    .map((f) => readFileSync(join(src, f), "utf8"))
    .join("\n");
}

const names = (text: string) => [...text.matchAll(/\{(\w+)[:}]/g)].map((m) => m[1]!);

describe("strings", () => {
  it("are in one of the English files", () => {
    expect(Object.keys(first).filter((k) => Object.hasOwn(rest, k))).toEqual([]);
  });

  it("are the same keys in the same order in both languages", () => {
    expect(Object.keys(zh)).toEqual(Object.keys(en));
  });

  it("take the same parameters", () => {
    for (const [key, text] of Object.entries(en)) {
      const want = new Set(names(text));
      const got = new Set(names(zh[key as keyof typeof zh]));
      const plural = new Set([...text.matchAll(/\{(\w+):/g)].map((m) => m[1]!));
      for (const p of want) if (!plural.has(p)) expect([key, got.has(p)]).toEqual([key, true]);
      for (const p of got) expect([key, want.has(p)]).toEqual([key, true]);
    }
  });

  it("are all used", () => {
    const code = sources();
    const families = [...code.matchAll(/`([a-z]+\.(?:[a-z]+\.)*)\$\{/g)].map((m) => m[1]!);
    const unused = Object.keys(en).filter(
      (k) => !code.includes(`"${k}"`) && !code.includes(`'${k}'`) && !families.some((f) => k.startsWith(f)),
    );
    expect(unused).toEqual([]);
  });
});

describe("format", () => {
  it.each([
    ["{n} {n:item|items}", { n: 1 }, "1 item"],
    ["{n} {n:item|items}", { n: 1705 }, "1,705 items"],
    ["{n} {n:item|items}", { n: 0 }, "0 items"],
    ["{who} is {what}", { who: "fd 3" }, "fd 3 is {what}"],
    ["{events=EPOLLIN}", {}, "{events=EPOLLIN}"],
  ])("%j with %j is %j", (template, params, want) => {
    expect(format(template, params, "en-GB")).toBe(want);
  });
});
