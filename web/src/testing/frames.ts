// Writes frames for tests, apart from the Go that writes the real ones; the
// golden files hold both to the same bytes.
import { NodeFlag, SectionType, type ListRow, type NodeRow } from "../wire/epoll";
import { HEADER_SIZE, KIND_EPOLL, MAGIC, SECTION_SIZE, VERSION } from "../wire/header";
import type { ClrsTree } from "./clrs";

export interface TestGlyph {
  id: number;
  parent: number;
  rank: number;
  count: number;
  red: number;
  ready?: number;
  depth: number;
  height: number;
  parentRank: number;
  rootRank: number;
  fd?: number;
  flags?: number;
}

export interface TestFrame {
  sequence: number;
  generation?: number;
  flags?: number;
  time?: number;
  items?: number;
  root?: number;
  depth?: number;
  membership?: boolean;
  scanning?: boolean;
  nodes?: readonly NodeRow[];
  gone?: readonly number[];
  ready?: readonly ListRow[];
  overflow?: readonly ListRow[];
  waiters?: readonly { tid: number; since: number; exclusive?: boolean }[];
  glyphs?: readonly TestGlyph[];
  /** Leave the instance row out. */
  truthOnly?: boolean;
}

/** A deterministic source of numbers in [0, 1). */
export function random(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = s;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Rows of a tree. fd is the key unless a map says otherwise. */
export function rowsOf(tree: ClrsTree, extra: (id: number) => Partial<NodeRow> = () => ({})): NodeRow[] {
  return tree.nodes().map((n) => ({
    id: n.id,
    parent: n.parent,
    left: n.left,
    right: n.right,
    file: n.id,
    fd: n.key,
    events: 1,
    flags: n.red ? 0 : NodeFlag.black,
    data: BigInt(n.id),
    owner: 100,
    nested: 0,
    ...extra(n.id),
  }));
}

export function writeFrame(f: TestFrame): ArrayBuffer {
  const sections: { type: number; size: number; count: number; write: (v: DataView, i: number) => void }[] =
    [];
  const time = f.time ?? 1_000_000_000 + f.sequence * 33_000_000;
  sections.push({
    type: SectionType.truth,
    size: 88,
    count: 1,
    write: (v) => {
      v.setBigUint64(0, BigInt(time), true);
      v.setUint8(77, (f.flags ?? 0) & 2 ? 0 : 1);
    },
  });
  if (!f.truthOnly) {
    sections.push({
      type: SectionType.instance,
      size: 64,
      count: 1,
      write: (v) => {
        v.setUint32(0, 1, true);
        v.setUint32(4, f.items ?? f.nodes?.length ?? 0, true);
        v.setUint32(12, f.root ?? 0, true);
        v.setUint16(20, f.depth ?? 0, true);
        v.setUint32(24, f.ready?.length ?? 0, true);
        v.setUint32(28, f.overflow?.length ?? 0, true);
        v.setUint32(32, f.waiters?.length ?? 0, true);
        v.setUint8(40, f.scanning ? 1 : 0);
        v.setUint8(41, f.membership ? 1 : 0);
      },
    });
  }
  if (f.nodes) {
    const rows = f.nodes;
    sections.push({
      type: SectionType.node,
      size: 48,
      count: rows.length,
      write: (v, i) => {
        const n = rows[i]!;
        [n.id, n.parent, n.left, n.right, n.file].forEach((x, k) => v.setUint32(4 * k, x, true));
        v.setInt32(20, n.fd, true);
        v.setUint32(24, n.events, true);
        v.setUint32(28, n.flags, true);
        v.setBigUint64(32, n.data, true);
        v.setUint32(40, n.owner, true);
        v.setUint32(44, n.nested, true);
      },
    });
  }
  if (f.gone) {
    const ids = f.gone;
    sections.push({
      type: SectionType.gone,
      size: 8,
      count: ids.length,
      write: (v, i) => v.setUint32(0, ids[i]!, true),
    });
  }
  for (const [type, list] of [
    [SectionType.ready, f.ready],
    [SectionType.overflow, f.overflow],
  ] as const) {
    if (!list) continue;
    sections.push({
      type,
      size: 8,
      count: list.length,
      write: (v, i) => {
        v.setUint32(0, list[i]!.node, true);
        v.setInt32(4, list[i]!.fd, true);
      },
    });
  }
  if (f.waiters) {
    const rows = f.waiters;
    sections.push({
      type: SectionType.waiter,
      size: 40,
      count: rows.length,
      write: (v, i) => {
        const w = rows[i]!;
        v.setUint32(0, w.tid, true);
        v.setUint32(8, w.exclusive ? 1 : 0, true);
        v.setBigUint64(16, BigInt(w.since), true);
      },
    });
  }
  if (f.glyphs) {
    const rows = f.glyphs;
    sections.push({
      type: SectionType.glyph,
      size: 56,
      count: rows.length,
      write: (v, i) => {
        const g = rows[i]!;
        [g.id, g.parent, g.rank, g.count, g.red, g.ready ?? 0].forEach((x, k) => v.setUint32(4 * k, x, true));
        v.setUint16(24, g.depth, true);
        v.setUint16(26, g.height, true);
        v.setInt32(28, g.fd ?? g.id, true);
        v.setUint32(36, g.flags ?? (g.count === 1 && g.red === 0 ? NodeFlag.black : 0), true);
        v.setUint32(40, g.parentRank, true);
        v.setUint32(48, g.rootRank, true);
      },
    });
  }
  const bytes = sections.reduce((n, s) => n + SECTION_SIZE + s.size * s.count, HEADER_SIZE);
  const out = new ArrayBuffer(bytes);
  const v = new DataView(out);
  v.setUint32(0, MAGIC, true);
  v.setUint8(4, VERSION);
  v.setUint8(5, KIND_EPOLL);
  v.setUint16(6, f.flags ?? 0, true);
  v.setUint32(8, 7, true);
  v.setUint32(12, f.generation ?? 1, true);
  v.setUint32(16, f.sequence, true);
  v.setUint32(
    20,
    sections.reduce((n, s) => n + Math.max(1, s.count), 0),
    true,
  );
  v.setBigUint64(24, BigInt(time), true);
  let at = HEADER_SIZE;
  for (const s of sections) {
    v.setUint16(at, s.type, true);
    v.setUint16(at + 2, s.size, true);
    v.setUint32(at + 4, s.count, true);
    at += SECTION_SIZE;
    for (let i = 0; i < s.count; i++) {
      s.write(new DataView(out, at, s.size), i);
      at += s.size;
    }
  }
  return out;
}

/** A key frame of a tree. */
export function keyFrame(tree: ClrsTree, f: Partial<TestFrame> & { sequence: number }): ArrayBuffer {
  const nodes = f.nodes ?? rowsOf(tree);
  return writeFrame({ flags: 1, nodes, root: tree.rootId, items: nodes.length, ...f });
}

/**
 * Glyphs of a perfectly balanced tree of n nodes, as the server makes them for
 * the ranks [lo, hi) on px pixels.
 */
export function balancedGlyphs(n: number, lo: number, hi: number, px: number): TestGlyph[] {
  const narrow = Math.floor((3 * (hi - lo)) / px);
  const out: TestGlyph[] = [];
  const visit = (from: number, to: number, depth: number, parent: number, parentRank: number): void => {
    if (from >= to || to <= lo || from >= hi) return;
    const mid = (from + to) >> 1;
    const id = mid + 1;
    const count = to - from;
    const whole = count > 1 && count <= narrow;
    out.push({
      id,
      parent,
      rank: whole ? from : mid,
      count: whole ? count : 1,
      red: whole ? Math.floor(count / 3) : depth % 2,
      depth,
      height: whole ? Math.ceil(Math.log2(count + 1)) : 1,
      parentRank,
      rootRank: mid,
    });
    if (whole) return;
    visit(from, mid, depth + 1, id, mid);
    visit(mid + 1, to, depth + 1, id, mid);
  };
  visit(0, n, 0, 0, 0);
  return out;
}

/** Levels of balancedGlyphs' tree. */
export function balancedDepth(n: number): number {
  return Math.ceil(Math.log2(n + 1));
}
