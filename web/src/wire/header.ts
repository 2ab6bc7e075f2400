// The frame around every picture: a 32-byte header, then sections of fixed
// rows, little-endian and 8-byte aligned. Mirrors internal/kernelviz/wire.

export const MAGIC = 0x315a564b; // "KVZ1"
export const VERSION = 1;
export const HEADER_SIZE = 32;
export const SECTION_SIZE = 8;

/** Kinds of view; a number is never reused. */
export const KIND_EPOLL = 1;
export const KIND_URING = 2;

/** Flags of a frame. */
export const Flag = {
  /** Stands alone: replaces what the page holds. */
  key: 1,
  /** An invariant does not hold; see the truth row. */
  torn: 2,
  /** Comes from a recording, not from the kernel. */
  replay: 4,
  /** Carries glyphs for a viewport, not every node. */
  glyphs: 8,
} as const;

export interface Header {
  readonly kind: number;
  /** Bits of Flag. */
  readonly flags: number;
  /** The id that the server's "watching" message gave. */
  readonly topic: number;
  /** Raised when the page must read everything again. */
  readonly generation: number;
  /** Raised by one per frame of a topic and view. */
  readonly sequence: number;
  /** Rows in all sections together; a section without rows counts as one. */
  readonly rows: number;
  /** CLOCK_MONOTONIC of the kernel read, ns; exact below 104 days of uptime, then to 2 ns. */
  readonly time: number;
}

/** A run of rows of one type; the rows begin at `offset` of the frame. */
export interface Section {
  readonly type: number;
  readonly rowSize: number;
  readonly count: number;
  readonly offset: number;
}

export type FrameErrorCode =
  | "short" // fewer bytes than a header or a section header
  | "magic" // not a frame
  | "version" // a frame of another version
  | "kind" // a view that this decoder does not read
  | "section" // a section longer than the frame, or rows of an impossible size
  | "rows"; // the header counts other rows than there are

/** What is wrong with the bytes. Nothing of the frame is used. */
export class FrameError extends Error {
  readonly code: FrameErrorCode;
  constructor(code: FrameErrorCode, message: string) {
    super(message);
    this.name = "FrameError";
    this.code = code;
  }
}

/** A u64 as a number: exact below 2^53. */
export function u64(v: DataView, at: number): number {
  return v.getUint32(at, true) + v.getUint32(at + 4, true) * 4294967296;
}

/** Reads the header of a frame of any kind. Throws FrameError. */
export function parseHeader(v: DataView): Header {
  if (v.byteLength < HEADER_SIZE) {
    throw new FrameError("short", `${v.byteLength} bytes, a header has ${HEADER_SIZE}`);
  }
  const magic = v.getUint32(0, true);
  if (magic !== MAGIC) {
    throw new FrameError("magic", `magic 0x${magic.toString(16)}, want 0x${MAGIC.toString(16)}`);
  }
  const version = v.getUint8(4);
  if (version !== VERSION) {
    throw new FrameError("version", `frame version ${version}, this page reads ${VERSION}`);
  }
  return {
    kind: v.getUint8(5),
    flags: v.getUint16(6, true),
    topic: v.getUint32(8, true),
    generation: v.getUint32(12, true),
    sequence: v.getUint32(16, true),
    rows: v.getUint32(20, true),
    time: u64(v, 24),
  };
}

/** Walks the sections after the header. Unknown types are returned like known ones. Throws FrameError. */
export function parseSections(v: DataView): Section[] {
  const out: Section[] = [];
  let at = HEADER_SIZE;
  while (at < v.byteLength) {
    const left = v.byteLength - at;
    if (left < SECTION_SIZE) throw new FrameError("short", `${left} bytes after the last section`);
    const type = v.getUint16(at, true);
    const rowSize = v.getUint16(at + 2, true);
    const count = v.getUint32(at + 4, true);
    at += SECTION_SIZE;
    if (rowSize === 0 || rowSize % 8 !== 0) {
      throw new FrameError("section", `section ${type} has rows of ${rowSize} bytes, want a multiple of 8`);
    }
    // Division, not multiplication: count * rowSize of a hostile frame is still
    // exact in a double, but the comparison reads the same as in Go.
    if (count > Math.floor((v.byteLength - at) / rowSize)) {
      throw new FrameError(
        "section",
        `section ${type} has ${count} rows of ${rowSize} bytes but ${v.byteLength - at} bytes are left`,
      );
    }
    out.push({ type, rowSize, count, offset: at });
    at += count * rowSize;
  }
  return out;
}
