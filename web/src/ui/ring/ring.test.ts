import { describe, expect, test } from "vitest";
import { EMPTY_RING } from "../../model/uring";
import type { PuppetRing } from "../../net/ring";
import { parseMessage } from "../../net/messages";
import { life, request, ring, ringModel, sqe, writeRingFrame } from "../../testing/rings";
import type { RingWords } from "../../scene/uring";
import { ringAriaRows } from "../../scene/uringnav";
import { Seen } from "../../wire/uring";
import { describe as tellOf, setupFlags } from "./describe";
import { ringCommand } from "./keys";
import { cannot, completeFlags, fdsFor, flagsClash, presetNames, presets } from "./panel";
import { RingStage, STEP_MS, waitsFor } from "./stage";
import { tell } from "./tell";
import { brokenRing, ringFacts } from "./truth";

const key = (k: string, shiftKey = false) => ({
  key: k,
  shiftKey,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
});

function puppetRing(change: Partial<PuppetRing> = {}): PuppetRing {
  return {
    fd: 3,
    sq_entries: 8,
    cq_entries: 16,
    flags: [],
    sq_tail: 0,
    cq_head: 0,
    queued: [],
    inflight: [],
    reaped: 0,
    lost: 0,
    dropped: 0,
    scribbled: "",
    ...change,
  };
}

function stage() {
  let now = 0;
  const asked = { keys: 0 };
  const lanes = { submitted: "", armed: "", timeout: "", punted: "", taskwork: "" };
  const named = <T extends object>(known: T): T =>
    new Proxy(known, { get: (t, k) => (k in t ? Reflect.get(t, k) : String(k)) });
  const words = named({ lanes, brief: named({ lanes }) }) as unknown as RingWords;
  const s = new RingStage(
    { now: () => now, key: () => asked.keys++, dirty: () => undefined, words: () => words, comm: () => "x" },
    true,
  );
  s.resize(800, 500);
  return {
    s,
    asked,
    pass(ms: number) {
      now += ms;
      s.at(now);
    },
  };
}

const oneNop = [
  writeRingFrame({ sequence: 1, flags: 1, time: 1_000_000, ring: ring() }),
  writeRingFrame({
    sequence: 2,
    time: 1_100_000,
    ring: ring({ sqHead: 1, sqTail: 1, cqTail: 1 }),
    lives: [life(1, "submit", { op: 0 }), life(2, "complete", { op: 0 })],
  }),
];

describe("the stage of a ring", () => {
  test("shows the newest at once while live", () => {
    const { s } = stage();
    for (const f of oneNop) s.push(f);
    expect(s.model.ring?.cqTail).toBe(1);
    expect(s.told).toBeNull();
  });

  test("tells one event after the other in slow motion, and catches up when live again", () => {
    const { s, pass } = stage();
    s.push(oneNop[0]!);
    s.setSlow(true);
    s.push(oneNop[1]!);
    expect(s.model.ring?.sqTail).toBe(0);
    expect(s.ahead).toBe(3);
    pass(STEP_MS);
    expect(s.told).toMatchObject({ kind: "queue" });
    expect(s.model.ring).toMatchObject({ sqTail: 1, sqHead: 0 });
    pass(STEP_MS / 2);
    expect(s.told).toMatchObject({ kind: "queue" }); // not before its time
    pass(STEP_MS / 2);
    expect(s.model.ring).toMatchObject({ sqHead: 1, cqTail: 0 });
    s.storyStep(-1);
    expect(s.model.ring?.sqHead).toBe(0);
    pass(STEP_MS * 9);
    expect(s.model.ring?.sqHead).toBe(0); // it stands still
    s.storyStep(1);
    s.storyStep(1);
    expect(s.model.ring?.cqTail).toBe(1);
    s.setSlow(false);
    expect(s.model).toBe(s.newest);
  });

  test("of a ring that only fdinfo tells of says what is unknown, and tells by the counters", () => {
    const seen = Seen.heads | Seen.cached; // no lists, no lives, no overflow
    const { s, pass } = stage();
    const counters = { sqHead: 2, sqTail: 3, cqTail: 2, submitted: 0, completed: 0 };
    s.push(writeRingFrame({ sequence: 1, flags: 1, ring: ring({ seen, inFlight: -1 }) }));
    s.setSlow(true);
    s.push(writeRingFrame({ sequence: 2, ring: ring({ seen, inFlight: -1, ...counters }) }));
    const lines: string[] = [];
    while (s.ahead > 0) {
      pass(STEP_MS);
      lines.push(s.told!.kind);
      const ids = s.picture!.targets.map((t) => t.id);
      for (const id of ids) {
        s.focus(id);
        expect(tellOf(s.model, id)).not.toBeNull();
        expect(tell(s.told!, s.model).text).not.toBe("");
      }
      expect(ringAriaRows(s.model, ids[0] ?? "").length).toBeGreaterThan(4);
    }
    expect(lines).toEqual(["queue", "queue", "take", "post", "post", "queue"]);
    const pending = s.picture!.shapes.filter((x) => x.kind === "sector" && x.key === "sq:2");
    expect(pending).toMatchObject([{ hatch: "rising", dash: true }]);
    expect(s.find(1n)).toBe(false);
    // Not even the heads: nothing is walked to that may not be there.
    s.setSlow(false);
    s.push(writeRingFrame({ sequence: 3, ring: ring({ seen: 0, inFlight: -1 }) }));
    expect(s.picture!.targets.some((t) => t.id.startsWith("sq:"))).toBe(false);
    s.focus("");
    s.walk("first");
    expect(s.focused).toBe("");
  });

  test("shows the picture of the step it names where it skipped some, and reaches what it skipped", () => {
    const { s, pass } = stage();
    s.push(oneNop[0]!);
    s.setSlow(true);
    let seq = 0;
    for (let i = 1; i <= 40; i++) {
      const nop = { op: 0, request: i, userData: BigInt(i) };
      s.push(
        writeRingFrame({
          sequence: i + 1,
          time: 2_000_000 + i * 1_000_000,
          ring: ring({ sqHead: i, sqTail: i, cqHead: i, cqTail: i, submitted: i, completed: i }),
          lives: [
            life(++seq, "submit", { ...nop, time: 2_000_000 }),
            life(++seq, "complete", { ...nop, time: 2_000_000 }),
          ],
        }),
      );
      const told = s.told;
      if (told?.kind === "reap") expect(s.model.ring!.cqHead).toBe(told.position + 1);
      if (told?.kind === "queue") expect(s.model.ring!.sqTail).toBe(told.position + 1);
      if (told?.kind === "life") {
        const word = told.life.what === "submit" ? s.model.ring!.sqHead : s.model.ring!.cqTail;
        expect(word).toBe(told.position + 1);
      }
    }
    expect(s.ahead).toBe(64);
    const skipped = Object.fromEntries(s.untold);
    expect(skipped).toEqual({ queue: 24, submit: 24, complete: 24, reap: 24 });
    for (let i = 0; i < 64; i++) s.storyStep(-1);
    expect(s.ahead).toBe(128);
    for (let i = 0; i < 128; i++) s.storyStep(1);
    expect(s.model.ring!.cqHead).toBe(40);
    pass(0);
    s.setSlow(false);
    expect(s.untold).toEqual([]);
  });

  test("steps back from live without having told slowly", () => {
    const { s } = stage();
    for (const f of oneNop) s.push(f);
    s.storyStep(-1);
    expect(s.slow).toBe(true);
    expect(s.model.ring?.cqTail).toBe(0);
  });

  test("pauses, scrubs and comes back", () => {
    const { s, pass } = stage();
    s.push(oneNop[0]!);
    pass(1000);
    s.push(oneNop[1]!);
    s.seek(10);
    expect(s.mode).toBe("paused");
    expect(s.model.ring?.sqTail).toBe(0);
    s.live();
    expect(s.model.ring?.sqTail).toBe(1);
  });

  test("asks for a key frame where a change has no base, and goes on after a lost connection", () => {
    const { s, asked } = stage();
    s.push(oneNop[1]!);
    expect(asked.keys).toBe(1);
    s.push(oneNop[0]!);
    s.reconnected();
    s.push(oneNop[0]!);
    expect(s.model.ring).not.toBeNull();
  });

  test("knows who sleeps in io_uring_enter", () => {
    const m = ringModel({ time: 9e9 });
    expect(waitsFor([life(1, "cqwait", { res: 2 })], m)).toBe(2);
    expect(waitsFor([life(1, "cqwait", { res: 1 }), life(2, "complete")], m)).toBe(0);
    expect(waitsFor([life(1, "cqwait", { res: 1 }), life(2, "submit")], m)).toBe(0);
    expect(waitsFor([], EMPTY_RING)).toBe(0);
  });
});

test("keys of a ring, and those of players keep their meaning", () => {
  expect(ringCommand(key("."), "page")).toEqual({ do: "event", n: 1 });
  expect(ringCommand(key(","), "page")).toEqual({ do: "event", n: -1 });
  expect(ringCommand(key("j"), "page")).toEqual({ do: "back" });
  expect(ringCommand(key("ArrowRight", true), "page")).toEqual({ do: "step", n: 1 });
  expect(ringCommand(key("ArrowDown"), "page")).toEqual({ do: "walk", to: "after" });
  expect(ringCommand(key("2"), "page")).toEqual({ do: "tab", tab: "timeline" });
  expect(ringCommand(key("."), "text")).toBeNull();
  expect(ringCommand(key("Enter"), "control")).toBeNull();
});

describe("the panel", () => {
  test("says why not", () => {
    const m = ringModel();
    expect(cannot("submit", puppetRing(), m)).toBe("ring.no.queued");
    expect(cannot("submit", puppetRing(), m, 1)).toBeNull();
    expect(cannot("reap", puppetRing(), m)).toBe("ring.no.cqe");
    expect(cannot("reap", puppetRing(), ringModel({ ring: ring({ cqTail: 1 }) }))).toBeNull();
    expect(cannot("wakeup", puppetRing(), m)).toBe("ring.no.sqpoll");
    expect(cannot("queue", undefined, m)).toBe("ring.no.ring");
    expect(cannot("queue", puppetRing({ scribbled: "sq.tail" }), m)).toBe("ring.no.scribbled");
    expect(cannot("mend", puppetRing({ scribbled: "sq.tail" }), m)).toBeNull();
    expect(cannot("bad_index", puppetRing({ flags: ["NO_SQARRAY"] }), m)).toBe("ring.no.sqarray");
    const full = Array.from({ length: 8 }, (_, i) => ({ user_data: i, what: "nop", fd: -1 }));
    expect(cannot("queue", puppetRing({ queued: full }), m)).toBe("ring.no.room");
  });

  test("completes flags and refuses those that clash", () => {
    expect(completeFlags(["DEFER_TASKRUN"])).toContain("SINGLE_ISSUER");
    expect(flagsClash(["SQPOLL", "DEFER_TASKRUN"])).toBe("ring.no.sqpolldefer");
    expect(flagsClash(["SQPOLL"])).toBeNull();
  });

  test("offers the descriptors that an operation works on", () => {
    const fds = [
      { fd: 4, kind: "pipe", peer: 5, readable: false },
      { fd: 6, kind: "listener", peer: 0, readable: false },
    ];
    expect(fdsFor("accept", fds).map((f) => f.fd)).toEqual([6]);
    expect(fdsFor("nop", fds)).toEqual([]);
  });

  test.each(presetNames)("preset %s acts on its own ring and stops where something fails", async (name) => {
    const ops: string[] = [];
    const player = {
      ring: 3,
      pause: () => Promise.resolve(),
      act: (a: { op: string; ring?: number }) => {
        ops.push(a.op);
        if (a.ring !== undefined) expect(a.ring).toBe(3);
        return Promise.resolve([9]);
      },
    };
    await presets[name].play(player);
    expect(ops.length).toBeGreaterThan(2);
    const tries: string[] = [];
    await presets[name].play({ ...player, act: (a) => (tries.push(a.op), Promise.resolve(null)) });
    expect(tries).toHaveLength(1);
  });
});

test("the puppet's state is read, and may lack what older servers lack", () => {
  const m = parseMessage(
    '{"type":"workloads","workloads":[{"id":"r","name":"ring","running":true,"state":{"rings":[{"fd":3,"queued":[{"user_data":1}]}],"fds":null,"threads":[]}}]}',
  );
  expect(m).toMatchObject({ workloads: [{ state: null, ring: { rings: [{ fd: 3, scribbled: "" }] } }] });
});

describe("words", () => {
  test("of each step name who did it", () => {
    const m = ringModel({ ring: ring({ sqTail: 1 }), sqes: [sqe(0, { op: 22 })] });
    expect(tell({ kind: "queue", position: 0, sqe: m.sqes[0]! }, m)).toMatchObject({
      by: "application",
      memory: true,
    });
    const armed = tell(
      { kind: "life", life: life(2, "arm", { time: 5000, submitAt: 2000 }), position: -1 },
      m,
    );
    expect(armed).toMatchObject({ by: "kernel", memory: false, after: "+3.0 µs" });
    expect(tell({ kind: "life", life: life(3, "complete", { by: "worker" }), position: 0 }, m).by).toBe(
      "worker",
    );
    expect(tell({ kind: "life", life: life(4, "complete"), position: -1 }, m).text).toContain(
      "cq_overflow_list",
    );
  });

  test("of a card decode as strace prints", () => {
    const m = ringModel({
      ring: ring({ sqTail: 1, setup: 2 }),
      sqes: [sqe(0, { op: 22, index: 99 })],
      requests: [request(4)],
    });
    expect(tellOf(m, "sq:0")?.strace).toContain("opcode=IORING_OP_READ");
    expect(tellOf(m, "sq:0")?.notes[0]).toContain("99");
    expect(tellOf(m, "req:4")?.title).toBe("struct io_kiocb");
    expect(tellOf(m, "req:5")).toBeNull();
    expect(tellOf(m, "sq.tail")?.notes[0]).toContain("store-release");
    expect(setupFlags(2)[0]).toMatchObject({ name: "IORING_SETUP_SQPOLL" });
    expect(setupFlags(2)[0]!.meaning).not.toBe("");
  });

  test("of broken invariants are numbered as the view numbers them", () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8, 9].map(brokenRing)).toEqual([
      "memory",
      "mask",
      "entries",
      "sqrange",
      "cqrange",
      "sqhead",
      "sqtail",
      "cqtail",
      "other",
    ]);
    const truth = {
      at: 0,
      read: 0,
      check: 0,
      age: 0,
      samples: 1,
      torn: 0,
      marked: 0,
      lost: 0,
      skipped: 0,
      cost: 0,
      tier: 0,
      whole: false,
      broken: 4,
      instant: false,
      attached: true,
    };
    const facts = ringFacts({
      truth,
      ring: null,
      tiers: [],
      mode: "live",
      since: 0,
      behind: 0,
      skipped: 0,
      lostEvents: 3,
    });
    expect(facts.find((f) => f.id === "shape")).toMatchObject({ tone: "bad", tip: "ring.broken.sqrange" });
    expect(facts.find((f) => f.id === "lost")).toMatchObject({ params: { n: 3 }, tone: "warn" });
  });
});
