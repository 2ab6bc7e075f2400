// What happened between two pictures.
import { NodeFlag, type ListRow, type NodeRow, type WaiterRow } from "../wire/epoll";
import type { EpollModel } from "./epoll";
import { RbTree, type RbStep, type Rotation } from "./rbtree";

export type { RbStep, Rotation } from "./rbtree";

export interface ModelDiff {
  inserted: readonly number[];
  erased: readonly number[];
  recoloured: readonly number[];
  /** Got another parent. */
  moved: readonly { id: number; from: number; to: number }[];
  /** In the order of `steps`; without steps, every pair that changed places. */
  rotations: readonly Rotation[];
  /** The kernel's steps, proved; null where they are not known (or nothing was linked or unlinked). */
  steps: readonly RbStep[] | null;
  /** Joined or left rdllist. */
  readied: readonly number[];
  unreadied: readonly number[];
  /** Events, data, owner, file or another flag changed. */
  modified: readonly number[];
  /** tids that went to sleep in wq, or left it. */
  slept: readonly number[];
  woke: readonly number[];
  /** Insertions and erasures. */
  ops: number;
  /** Nothing above changed. */
  same: boolean;
}

/** No change. */
export const SAME: ModelDiff = {
  inserted: [],
  erased: [],
  recoloured: [],
  moved: [],
  rotations: [],
  steps: null,
  readied: [],
  unreadied: [],
  modified: [],
  slept: [],
  woke: [],
  ops: 0,
  same: true,
};

/** Above this many operations nobody follows single steps, so they are not worked out. */
const MAX_EXPLAINED = 32;

/** Up to this many operations every order of them is tried. */
const MAX_ORDERED = 3;

const OTHER_FLAGS = NodeFlag.orphan | NodeFlag.overflow | NodeFlag.delivering;

function nodeOf(m: EpollModel, id: number): NodeRow {
  return m.nodes.get(id)!;
}

type Op = { erase: number } | { insert: number };

function* permutations<T>(list: readonly T[]): Generator<T[]> {
  if (list.length <= 1) yield [...list];
  for (let i = 0; i < list.length && list.length > 1; i++) {
    for (const rest of permutations([...list.slice(0, i), ...list.slice(i + 1)])) yield [list[i]!, ...rest];
  }
}

/** Orders in which the operations may have happened. */
function* orders(after: EpollModel, inserted: readonly number[], erased: readonly number[]): Generator<Op[]> {
  // Who adds many at once mostly adds them as they were opened.
  const byFd = [...inserted].sort((a, b) => after.nodes.get(a)!.fd - after.nodes.get(b)!.fd);
  const ops: Op[] = [...erased.map((erase) => ({ erase })), ...byFd.map((insert) => ({ insert }))];
  if (ops.length <= MAX_ORDERED) yield* permutations(ops);
  else yield ops;
}

/** Runs the kernel's algorithm from `before`; null unless it arrives exactly at `after`. */
function run(before: EpollModel, after: EpollModel, ops: readonly Op[]): readonly RbStep[] | null {
  const rankOf = after.shape!.rankOf;
  const tree = new RbTree();
  for (const n of before.nodes.values()) {
    const red = (n.flags & NodeFlag.black) === 0;
    tree.put({ id: n.id, parent: n.parent, left: n.left, right: n.right, red });
  }
  // Keys are known by rank in the new tree; a node that goes has none there,
  // but lies where it lay between its neighbours in the old one.
  const key = new Map<number, number>();
  let last = -1;
  for (const id of before.shape!.ids) {
    const rank = rankOf.get(id);
    if (rank !== undefined) last = rank;
    key.set(id, rank ?? last + 0.5);
  }
  const keyOf = (id: number): number => key.get(id) ?? rankOf.get(id)!;
  for (const op of ops) {
    if ("erase" in op) tree.erase(op.erase);
    else tree.insert(op.insert, (a, b) => keyOf(a) < keyOf(b));
  }
  if (tree.size !== after.nodes.size) return null;
  for (const n of after.nodes.values()) {
    const t = tree.get(n.id);
    if (!t || t.parent !== n.parent || t.left !== n.left || t.right !== n.right) return null;
    if (t.red !== ((n.flags & NodeFlag.black) === 0)) return null;
  }
  return tree.steps;
}

function explain(
  before: EpollModel,
  after: EpollModel,
  inserted: readonly number[],
  erased: readonly number[],
): readonly RbStep[] | null {
  const ops = inserted.length + erased.length;
  if (ops === 0 || ops > MAX_EXPLAINED || !before.shape || !after.shape) return null;
  for (const order of orders(after, inserted, erased)) {
    const steps = run(before, after, order);
    if (steps) return steps;
  }
  return null;
}

/** Every pair whose child became the parent of its former parent. */
function turnedPairs(before: EpollModel, after: EpollModel): Rotation[] {
  const out: Rotation[] = [];
  for (const c of after.nodes.values()) {
    const was = before.nodes.get(c.id);
    if (!was || was.parent === 0 || was.parent === c.parent) continue;
    const p = after.nodes.get(was.parent);
    if (!p || p.parent !== c.id) continue;
    const wasLeft = nodeOf(before, was.parent).left === c.id;
    out.push({ direction: wasLeft ? "right" : "left", at: p.id, pivot: c.id });
  }
  return out;
}

function listChange(before: readonly ListRow[], after: readonly ListRow[]): [number[], number[]] {
  if (before === after) return [[], []];
  const was = new Set(before.map((r) => r.node));
  const is = new Set(after.map((r) => r.node));
  return [[...is].filter((id) => !was.has(id)), [...was].filter((id) => !is.has(id))];
}

function waitChange(before: readonly WaiterRow[], after: readonly WaiterRow[]): [number[], number[]] {
  if (before === after) return [[], []];
  // A thread that woke and slept again has another `since`.
  const was = new Map(before.map((w) => [w.tid, w.since]));
  const is = new Map(after.map((w) => [w.tid, w.since]));
  const slept = [...is].filter(([tid, since]) => was.get(tid) !== since).map(([tid]) => tid);
  const woke = [...was].filter(([tid, since]) => is.get(tid) !== since).map(([tid]) => tid);
  return [slept, woke];
}

/** What happened from one picture to the next. */
export function diffModels(before: EpollModel, after: EpollModel): ModelDiff {
  // The first picture is not a change of anything.
  if (before === after || before.instance === null) return SAME;
  const inserted: number[] = [];
  const erased: number[] = [];
  const recoloured: number[] = [];
  const modified: number[] = [];
  const moved: { id: number; from: number; to: number }[] = [];
  if (before.nodes !== after.nodes && !before.glyphs && !after.glyphs) {
    for (const n of after.nodes.values()) {
      const was = before.nodes.get(n.id);
      if (was === n) continue;
      if (!was) {
        inserted.push(n.id);
        continue;
      }
      if ((was.flags ^ n.flags) & NodeFlag.black) recoloured.push(n.id);
      if (was.parent !== n.parent) moved.push({ id: n.id, from: was.parent, to: n.parent });
      if (
        was.events !== n.events ||
        was.data !== n.data ||
        was.owner !== n.owner ||
        was.file !== n.file ||
        (was.flags ^ n.flags) & OTHER_FLAGS
      ) {
        modified.push(n.id);
      }
    }
    for (const id of before.nodes.keys()) if (!after.nodes.has(id)) erased.push(id);
  }
  const [readied, unreadied] = listChange(before.ready, after.ready);
  const [slept, woke] = waitChange(before.waiters, after.waiters);
  const steps = explain(before, after, inserted, erased);
  const rotations = steps
    ? steps.flatMap((s) => (s.op === "rotate" ? [{ direction: s.direction, at: s.at, pivot: s.pivot }] : []))
    : turnedPairs(before, after);
  const same =
    inserted.length === 0 &&
    erased.length === 0 &&
    recoloured.length === 0 &&
    moved.length === 0 &&
    modified.length === 0 &&
    readied.length === 0 &&
    unreadied.length === 0 &&
    slept.length === 0 &&
    woke.length === 0;
  if (same) return SAME;
  return {
    inserted,
    erased,
    recoloured,
    moved,
    rotations,
    steps,
    readied,
    unreadied,
    modified,
    slept,
    woke,
    ops: inserted.length + erased.length,
    same: false,
  };
}
