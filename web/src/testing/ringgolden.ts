// The io_uring frames that the Go test writes, with what they decode to.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { GoRow } from "./golden";

const dir = fileURLToPath(new URL("../../testdata/uring/", import.meta.url));

export interface RingGolden {
  name: string;
  header: GoRow;
  truth?: GoRow;
  ring?: GoRow;
  sqes?: GoRow[];
  cqes?: GoRow[];
  requests?: GoRow[];
  workers?: GoRow[];
  resources?: GoRow[];
  lives?: GoRow[];
  empty?: number[];
}

export function ringGoldenNames(): string[] {
  return readdirSync(dir)
    .filter((f) => f.endsWith(".bin"))
    .map((f) => f.slice(0, -4));
}

export function ringGoldenBytes(name: string): ArrayBuffer {
  const b = readFileSync(`${dir}${name}.bin`);
  return b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength);
}

export function ringGoldenRows(name: string): RingGolden {
  // u64 fields do not survive JSON numbers.
  const text = readFileSync(`${dir}${name}.json`, "utf8")
    .replace(/"(UserData|Off|Addr|Addr3)": (\d+)/g, '"$1": "$2"')
    .replace(/"Extra": \[\s*(\d+),\s*(\d+)\s*\]/g, '"Extra": ["$1", "$2"]');
  return JSON.parse(text) as RingGolden;
}
