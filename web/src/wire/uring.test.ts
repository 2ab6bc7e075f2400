import { describe, expect, test } from "vitest";
import { random } from "../testing/frames";
import type { GoRow } from "../testing/golden";
import { ringGoldenBytes, ringGoldenNames, ringGoldenRows } from "../testing/ringgolden";
import { FrameError, HEADER_SIZE } from "./header";
import { decodeRing, LIFE_EVENTS, PLACES, THREAD_STATES, WORKER_KINDS } from "./uring";

const ascii = (bytes: unknown): string => String.fromCharCode(...(bytes as number[]).filter((b) => b !== 0));
const big = (v: unknown): bigint => BigInt(v as string);

/** Go's names → ours: "SQHead" → "sqHead", "ThreadPID" → "threadPID", "ID" → "id". */
function camel(key: string): string {
  if (/^[A-Z0-9]+$/.test(key)) return key.toLowerCase();
  return key.replace(/^[A-Z]+(?=[A-Z])|^[A-Z]/, (head) => head.toLowerCase());
}

function plain(row: GoRow): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).map(([k, v]) => [camel(k), v]));
}

function listOf(
  rows: GoRow[] | undefined,
  empty: boolean,
  make: (r: GoRow) => Record<string, unknown>,
): Record<string, unknown>[] | null {
  return rows?.map(make) ?? (empty ? [] : null);
}

describe("golden io_uring frames", () => {
  test("are there", () => {
    expect(ringGoldenNames()).toEqual(expect.arrayContaining(["delta", "fresh", "key", "torn"]));
  });

  test.each(ringGoldenNames())("%s decodes to what Go wrote", (name) => {
    const g = ringGoldenRows(name);
    const f = decodeRing(ringGoldenBytes(name));
    const empty = (n: number): boolean => g.empty?.includes(n) ?? false;
    expect(f.header).toEqual(plain(g.header));
    expect(f.truth?.at).toBe(g.truth?.["At"]);
    expect(f.truth?.tier).toBe(g.truth?.["Tier"]);
    expect(f.ring).toEqual({
      ...plain(g.ring!),
      threadState: THREAD_STATES[g.ring!["ThreadState"] as number],
      gone: g.ring!["Gone"] === 1,
    });
    expect(f.sqes).toEqual(
      listOf(g.sqes, empty(21), (r) => {
        const { ioPrio, ...rest } = plain(r);
        return {
          ...rest,
          ioprio: ioPrio,
          off: big(r["Off"]),
          addr: big(r["Addr"]),
          addr3: big(r["Addr3"]),
          userData: big(r["UserData"]),
          wide: r["Wide"] === 1,
        };
      }),
    );
    expect(f.cqes).toEqual(
      listOf(g.cqes, empty(22), (r) => ({
        ...plain(r),
        userData: big(r["UserData"]),
        wide: r["Wide"] === 1,
        extra: (r["Extra"] as unknown as string[]).map(BigInt),
      })),
    );
    expect(f.requests).toEqual(
      listOf(g.requests, empty(23), (r) => ({
        ...plain(r),
        where: PLACES[r["Where"] as number],
        userData: big(r["UserData"]),
      })),
    );
    expect(f.workers).toEqual(
      listOf(g.workers, empty(24), (r) => ({
        ...plain(r),
        kind: WORKER_KINDS[r["Kind"] as number],
        state: THREAD_STATES[r["State"] as number],
        comm: ascii(r["Comm"]),
      })),
    );
    expect(f.resources).toEqual(
      listOf(g.resources, empty(25), (r) => ({
        ...plain(r),
        kind: r["Kind"] === 1 ? "buffer" : "file",
        addr: big(r["Addr"]),
        name: ascii(r["Name"]),
      })),
    );
    expect(f.lives).toEqual(
      listOf(g.lives, empty(26), (r) => {
        const { sqeFlags, worker, ...rest } = plain(r);
        return {
          ...rest,
          sqeFlags,
          by: ["thread", "worker", "sqpoll"][worker as number],
          cqeFlags: r["CQEFlags"],
          what: LIFE_EVENTS[(r["What"] as number) - 1],
          userData: big(r["UserData"]),
        };
      }),
    );
  });
});

function codeOf(b: ArrayBuffer): string {
  try {
    decodeRing(b);
  } catch (e) {
    if (e instanceof FrameError) return e.code;
    throw e; // anything else is a bug of the decoder
  }
  return "decoded";
}

function changed(b: ArrayBuffer, change: (v: DataView) => void): ArrayBuffer {
  const copy = b.slice(0);
  change(new DataView(copy));
  return copy;
}

const key = ringGoldenBytes("key");

describe("an io_uring frame that is not one", () => {
  test.each([
    ["nothing", new ArrayBuffer(0), "short"],
    ["an epoll frame", changed(key, (v) => v.setUint8(5, 1)), "kind"],
    ["a truth row of another size", changed(key, (v) => v.setUint16(HEADER_SIZE + 2, 80, true)), "section"],
    ["more rows than bytes", changed(key, (v) => v.setUint32(HEADER_SIZE + 4, 0xffffffff, true)), "section"],
    ["a header that counts wrongly", changed(key, (v) => v.setUint32(20, 14, true)), "rows"],
    [
      "a section twice",
      changed(key, (v) => v.setUint16(HEADER_SIZE + 8 + 88 + 8 + 144, 20, true)), // SQEs as a second ring
      "section",
    ],
  ])("%s", (_, frame, code) => {
    expect(codeOf(frame)).toBe(code);
  });

  test.each(ringGoldenNames())("%s cut off anywhere is refused", (name) => {
    const whole = ringGoldenBytes(name);
    for (let n = 0; n < whole.byteLength; n++)
      expect(codeOf(whole.slice(0, n)), `${n} bytes`).not.toBe("decoded");
  });

  test("random bytes never throw anything but FrameError", () => {
    const rnd = random(11);
    let decoded = 0;
    let refused = 0;
    const names = ringGoldenNames();
    for (let i = 0; i < 4000; i++) {
      const b = ringGoldenBytes(names[i % names.length]!);
      const bytes = new Uint8Array(b);
      for (let k = 1 + Math.floor(rnd() * 4); k > 0; k--) {
        bytes[Math.floor(rnd() * bytes.length)] = Math.floor(rnd() * 256);
      }
      if (codeOf(b) === "decoded") decoded++;
      else refused++;
    }
    expect(decoded).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(100);
  });
});
