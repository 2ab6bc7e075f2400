import { describe, expect, test } from "vitest";
import { goldenBytes, goldenNames, goldenRows, type GoRow } from "../testing/golden";
import { decodeEpoll, FILE_TYPES } from "./epoll";

// Go's name → ours, with what the page makes of the value.
function camel(key: string): string {
  if (/^[A-Z0-9]+$/.test(key)) return key.toLowerCase();
  return key.charAt(0).toLowerCase() + key.slice(1);
}

const ascii = (bytes: unknown): string => String.fromCharCode(...(bytes as number[]).filter((b) => b !== 0));

function expected(row: GoRow, bools: readonly string[] = []): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(row)) {
    const name = camel(key);
    out[name] = bools.includes(name) ? value === 1 : value;
  }
  return out;
}

describe("golden frames", () => {
  test("are there", () => {
    expect(goldenNames()).toEqual(
      expect.arrayContaining(["delta", "empty", "erase", "glyphs", "key7", "torn", "truth"]),
    );
  });

  test.each(goldenNames())("%s decodes to what Go wrote", (name) => {
    const g = goldenRows(name);
    const f = decodeEpoll(goldenBytes(name));
    expect(f.header).toEqual(expected(g.header));

    if (g.truth) {
      const { costPPM, ...rest } = expected(g.truth, ["whole", "instant", "attached"]);
      expect(f.truth).toEqual({ ...rest, cost: (costPPM as number) / 1e6 });
    } else expect(f.truth).toBeNull();

    if (g.instance) {
      expect(f.instance).toEqual(expected(g.instance, ["scanning", "membership", "locked", "tearing"]));
    } else expect(f.instance).toBeNull();

    expect(f.nodes).toEqual(
      g.nodes?.map((n) => ({ ...expected(n), data: BigInt(n["Data"] as string) })) ?? null,
    );
    expect(f.gone).toEqual(g.gone ?? null);
    expect(f.ready).toEqual(g.ready?.map((r) => expected(r)) ?? (g.empty?.includes(5) ? [] : null));
    expect(f.overflow).toEqual(g.overflow?.map((r) => expected(r)) ?? null);
    expect(f.waiters).toEqual(
      g.waiters?.map((w) => ({
        tid: w["TID"],
        pid: w["PID"],
        exclusive: w["Flags"] === 1,
        since: w["Since"],
        comm: ascii(w["Comm"]),
      })) ?? null,
    );
    expect(f.files).toEqual(
      g.files?.map((r) => {
        const e = expected(r);
        return {
          ...e,
          lport: r["LPort"],
          rport: r["RPort"],
          laddr: Uint8Array.from(r["LAddr"] as number[]),
          raddr: Uint8Array.from(r["RAddr"] as number[]),
          lPort: undefined,
          rPort: undefined,
          lAddr: undefined,
          rAddr: undefined,
          type: FILE_TYPES[r["Type"] as number],
          inode: BigInt(r["Inode"] as string),
          name: ascii(r["Name"]),
        };
      }) ?? null,
    );
    expect(f.transitions).toEqual(
      g.transitions?.map((r) => ({
        ...expected(r),
        cause: ["sys_exit", "sched_waking", "callback"][r["Cause"] as number],
      })) ?? null,
    );
    expect(f.glyphs).toEqual(g.glyphs?.map((r) => expected(r)) ?? null);
  });
});
