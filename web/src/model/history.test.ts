import { describe, expect, test } from "vitest";
import { ClrsTree } from "../testing/clrs";
import { keyFrame, random, rowsOf, writeFrame } from "../testing/frames";
import type { NodeRow } from "../wire/epoll";
import { EpollStream, type EpollModel } from "./epoll";
import { History } from "./history";

interface Moment {
  at: number;
  model: EpollModel;
}

/** A tree that changes every few frames, as a key frame and deltas. */
function record(history: History, frames: number, every: number): Moment[] {
  const rnd = random(5);
  const t = new ClrsTree();
  t.insert(1, 0.5);
  const s = new EpollStream();
  const out: Moment[] = [];
  let before = new Map<number, NodeRow>();
  let next = 2;
  for (let i = 0; i < frames; i++) {
    if (i % every === 0) {
      if (t.ids.length > 3 && rnd() < 0.4) t.erase(t.ids[Math.floor(rnd() * t.ids.length)]!);
      else t.insert(next++, rnd());
    }
    const rows = new Map(rowsOf(t, (id) => ({ fd: id })).map((r) => [r.id, r]));
    const changed = [...rows.values()].filter(
      (r) => JSON.stringify(r, text) !== JSON.stringify(before.get(r.id), text),
    );
    const gone = [...before.keys()].filter((id) => !rows.has(id));
    const buffer =
      i === 0
        ? keyFrame(t, { sequence: i, nodes: [...rows.values()] })
        : writeFrame({
            sequence: i,
            items: rows.size,
            root: t.rootId,
            ...(changed.length > 0 ? { nodes: changed } : {}),
            ...(gone.length > 0 ? { gone } : {}),
          });
    const applied = s.push(buffer);
    expect(applied.problem).toBeNull();
    const at = 1000 + i * 33;
    history.push(buffer, applied, at);
    out.push({ at, model: applied.model });
    before = rows;
  }
  return out;
}

function text(_: string, v: unknown): unknown {
  return typeof v === "bigint" ? String(v) : v;
}

function facts(m: EpollModel): unknown {
  return {
    seq: m.sequence,
    time: m.time,
    ids: m.inOrder(),
    nodes: m.nodes,
    instance: m.instance,
    ready: m.ready,
  };
}

describe("the last minute", () => {
  test("seeking any moment gives the very picture that was shown then", () => {
    const h = new History();
    const shown = record(h, 300, 4);
    const rnd = random(9);
    for (let i = 0; i < 60; i++) {
      const k = Math.floor(rnd() * shown.length);
      expect(facts(h.seek(shown[k]!.at + 5)!)).toEqual(facts(shown[k]!.model));
    }
    expect(facts(h.seek(0)!)).toEqual(facts(shown[0]!.model)); // before the first
    expect(facts(h.seek(1e9)!)).toEqual(facts(shown.at(-1)!.model));
  });

  test("stepping goes frame by frame and stops at the ends", () => {
    const h = new History();
    const shown = record(h, 20, 4);
    expect(h.isLive).toBe(true);
    expect(facts(h.pause()!)).toEqual(facts(shown[19]!.model));
    expect(h.isLive).toBe(false);
    expect(h.step(-1)!.sequence).toBe(18);
    expect(h.step(-3)!.sequence).toBe(15);
    expect(h.step(1)!.sequence).toBe(16);
    expect(h.step(100)!.sequence).toBe(19);
    expect(h.step(-100)!.sequence).toBe(0);
    h.live();
    expect(h.cursor).toBeNull();
  });

  test("stepping by changes passes over frames in which nothing happened", () => {
    const h = new History();
    record(h, 21, 4); // changes in 0, 4, 8, 12, 16, 20
    h.pause();
    expect(h.step(-1, { changes: true })!.sequence).toBe(16);
    expect(h.step(-2, { changes: true })!.sequence).toBe(8);
    expect(h.step(1, { changes: true })!.sequence).toBe(12);
  });

  test("what is older than a minute goes, and what stays can still be shown", () => {
    const h = new History({ seconds: 2 });
    const shown = record(h, 200, 3);
    const span = h.span()!;
    expect(span.to - span.from).toBeLessThanOrEqual(2000);
    expect(span.to - span.from).toBeGreaterThan(1900);
    const first = shown.find((m) => m.at === span.from)!;
    expect(facts(h.seek(span.from)!)).toEqual(facts(first.model));
    expect(h.entries()[0]!.key).toBe(false); // it was a delta, and stands alone now
  });

  test("memory is bounded", () => {
    const h = new History({ bytes: 40_000 });
    record(h, 400, 1);
    expect(h.bytes).toBeLessThanOrEqual(40_000);
    expect(h.length).toBeGreaterThan(10);
    expect(h.length).toBeLessThan(400);
  });

  test("a paused picture that grows too old gives way to the oldest one left", () => {
    const h = new History({ seconds: 1 });
    const s = new EpollStream();
    const t = new ClrsTree();
    t.insert(1, 1);
    const push = (sequence: number, at: number): void => {
      const b = keyFrame(t, { sequence });
      h.push(b, s.push(b), at);
    };
    push(0, 0);
    push(1, 100);
    h.seek(0);
    expect(h.cursor!.sequence).toBe(0);
    push(2, 1500);
    expect(h.cursor!.sequence).toBe(2);
  });

  test("a refused frame is not part of the past", () => {
    const h = new History();
    const s = new EpollStream();
    const t = new ClrsTree();
    t.insert(1, 1);
    const b = keyFrame(t, { sequence: 0, items: 7 });
    h.push(b, s.push(b), 0);
    expect(h.length).toBe(0);
    expect(h.pause()).toBeNull();
  });
});
