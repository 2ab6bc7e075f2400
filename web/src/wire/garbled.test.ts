import { describe, expect, test } from "vitest";
import { random } from "../testing/frames";
import { goldenBytes, goldenNames } from "../testing/golden";
import { decodeEpoll } from "./epoll";
import { FrameError, HEADER_SIZE } from "./header";

function codeOf(b: ArrayBuffer): string {
  try {
    decodeEpoll(b);
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

const key = goldenBytes("key7");

describe("a frame that is not one", () => {
  test.each([
    ["nothing", new ArrayBuffer(0), "short"],
    ["half a header", key.slice(0, HEADER_SIZE - 1), "short"],
    ["another magic", changed(key, (v) => v.setUint8(0, 1)), "magic"],
    ["another version", changed(key, (v) => v.setUint8(4, 2)), "version"],
    ["another kind", changed(key, (v) => v.setUint8(5, 2)), "kind"],
    ["half a section header", key.slice(0, HEADER_SIZE + 4), "short"],
    ["rows of no size", changed(key, (v) => v.setUint16(HEADER_SIZE + 2, 0, true)), "section"],
    ["rows of odd size", changed(key, (v) => v.setUint16(HEADER_SIZE + 2, 87, true)), "section"],
    ["rows of another size", changed(key, (v) => v.setUint16(HEADER_SIZE + 2, 80, true)), "section"],
    ["more rows than bytes", changed(key, (v) => v.setUint32(HEADER_SIZE + 4, 0xffffffff, true)), "section"],
    ["a header that counts wrongly", changed(key, (v) => v.setUint32(20, 21, true)), "rows"],
    [
      "a section twice",
      changed(key, (v) => v.setUint16(HEADER_SIZE + 8 + 88, 1, true)), // the instance as a second truth
      "section",
    ],
  ])("%s", (_, frame, code) => {
    expect(codeOf(frame)).toBe(code);
  });

  test("a section of a later server is passed over", () => {
    const b = changed(goldenBytes("truth"), (v) => v.setUint16(HEADER_SIZE, 999, true));
    const f = decodeEpoll(b);
    expect(f.truth).toBeNull();
    expect(f.header.sequence).toBe(13);
  });

  test.each(goldenNames())("%s cut off anywhere is refused", (name) => {
    const whole = goldenBytes(name);
    for (let n = 0; n < whole.byteLength; n++)
      expect(codeOf(whole.slice(0, n)), `${n} bytes`).not.toBe("decoded");
  });

  test("random bytes and flipped bits never throw anything but FrameError", () => {
    const rnd = random(7);
    let decoded = 0;
    let refused = 0;
    for (let i = 0; i < 4000; i++) {
      const names = goldenNames();
      const b = goldenBytes(names[i % names.length]!);
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
