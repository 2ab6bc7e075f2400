// The frames that the Go test writes, with what they decode to.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const dir = fileURLToPath(new URL("../../testdata/frames/", import.meta.url));

export type GoRow = Record<string, number | string | number[] | boolean>;

export interface Golden {
  name: string;
  header: GoRow;
  truth?: GoRow;
  instance?: GoRow;
  nodes?: GoRow[];
  gone?: number[];
  ready?: GoRow[];
  overflow?: GoRow[];
  waiters?: GoRow[];
  files?: GoRow[];
  transitions?: GoRow[];
  glyphs?: GoRow[];
  empty?: number[];
}

export function goldenNames(): string[] {
  return readdirSync(dir)
    .filter((f) => f.endsWith(".bin"))
    .map((f) => f.slice(0, -4));
}

export function goldenBytes(name: string): ArrayBuffer {
  const b = readFileSync(`${dir}${name}.bin`);
  return b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength);
}

export function goldenRows(name: string): Golden {
  // u64 fields do not survive JSON numbers.
  const text = readFileSync(`${dir}${name}.json`, "utf8").replace(/"(Data|Inode)": (\d+)/g, '"$1": "$2"');
  return JSON.parse(text) as Golden;
}
