// What the ring panel offers, and why not where it cannot: kept apart from how
// it looks.

import type { Key } from "../../i18n/more";
import { fillOf, type RingModel } from "../../model/uring";
import type { PuppetRing, QueueKind, RingAction, RingFd, RingState } from "../../net/ring";

/** Flags that the panel offers for a new ring, plainest first. */
export const offeredFlags = [
  "SQPOLL",
  "SUBMIT_ALL",
  "COOP_TASKRUN",
  "TASKRUN_FLAG",
  "SINGLE_ISSUER",
  "DEFER_TASKRUN",
  "NO_SQARRAY",
  "SQE128",
  "CQE32",
  "NO_MMAP",
] as const;
export type OfferedFlag = (typeof offeredFlags)[number];

/** with the flags that the kernel asks for beside one. */
export function completeFlags(flags: readonly string[]): string[] {
  const out = new Set(flags);
  if (out.has("DEFER_TASKRUN")) out.add("SINGLE_ISSUER");
  if (out.has("TASKRUN_FLAG") && !out.has("DEFER_TASKRUN")) out.add("COOP_TASKRUN");
  return [...out];
}

/** flagsClash says which flags the kernel refuses together; null if none do. */
export function flagsClash(flags: readonly string[]): Key | null {
  if (flags.includes("SQPOLL") && flags.includes("DEFER_TASKRUN")) return "ring.no.sqpolldefer";
  if (flags.includes("SQPOLL") && (flags.includes("COOP_TASKRUN") || flags.includes("TASKRUN_FLAG")))
    return "ring.no.sqpollcoop";
  return null;
}

interface Need {
  /** Kinds of fd it works on; empty where it takes none. */
  readonly fds: readonly string[];
  readonly len?: boolean;
  readonly ms?: boolean;
  readonly target?: boolean;
}

const STREAMS = ["pipe", "unix", "tcp", "eventfd"] as const;

export const needs: Record<QueueKind, Need> = {
  nop: { fds: [] },
  read: { fds: [...STREAMS, "file"], len: true },
  write: { fds: [...STREAMS, "file"], len: true },
  poll: { fds: [...STREAMS, "listener"] },
  poll_multi: { fds: [...STREAMS, "listener"] },
  timeout: { fds: [], ms: true },
  accept: { fds: ["listener"] },
  accept_multi: { fds: ["listener"] },
  send: { fds: ["unix", "tcp"], len: true },
  recv: { fds: ["unix", "tcp"], len: true },
  recv_multi: { fds: ["unix", "tcp"] },
  cancel: { fds: [], target: true },
  link_timeout: { fds: [], ms: true },
  splice: { fds: ["pipe", "unix", "tcp"], len: true },
  send_zc: { fds: ["unix", "tcp"], len: true },
};

/** fdsFor are the descriptors that an operation works on. */
export function fdsFor(what: QueueKind, fds: readonly RingFd[]): RingFd[] {
  const kinds = needs[what].fds;
  return fds.filter((f) => kinds.some((k) => f.kind.startsWith(k)));
}

export function ringOf(state: RingState | undefined, fd: number): PuppetRing | undefined {
  return state?.rings.find((r) => r.fd === fd);
}

/** What of the panel can be asked for now: a reason against it, or null. */
export function cannot(
  what: "queue" | "submit" | "reap" | "wakeup" | "bad_index" | "overflow" | "scribble" | "mend",
  ring: PuppetRing | undefined,
  model: RingModel,
  wait = 0,
): Key | null {
  if (!ring) return "ring.no.ring";
  const fill = model.ring ? fillOf(model.ring) : null;
  const sqpoll = ring.flags.includes("SQPOLL");
  if (ring.scribbled !== "" && what !== "mend") return "ring.no.scribbled";
  switch (what) {
    case "queue":
      return ring.queued.length >= ring.sq_entries && ring.sq_entries > 0 ? "ring.no.room" : null;
    case "submit":
      return ring.queued.length === 0 && wait === 0 && !sqpoll ? "ring.no.queued" : null;
    case "reap":
      return fill && fill.unread === 0 && (model.ring?.overflowList ?? 0) === 0 ? "ring.no.cqe" : null;
    case "wakeup":
      return sqpoll ? null : "ring.no.sqpoll";
    case "bad_index":
      return ring.flags.includes("NO_SQARRAY") ? "ring.no.sqarray" : null;
    case "overflow":
      if (sqpoll) return "ring.no.withsqpoll";
      return ring.queued.length > 0 ? "ring.no.queuedfirst" : null;
    case "scribble":
      return null;
    case "mend":
      return ring.scribbled === "" ? "ring.no.whole" : null;
  }
}

// ---- presets: a picture with one press ----

export const presetNames = ["nop", "read", "chain", "accept", "overflow", "sqpoll"] as const;
export type PresetName = (typeof presetNames)[number];

/** What a preset needs of the page: each act gives the fds that were made, or null where it failed. */
export interface Player {
  readonly ring: number;
  act(action: RingAction): Promise<number[] | null>;
  pause(ms: number): Promise<void>;
}

interface Preset {
  readonly setup: Extract<RingAction, { op: "setup" }>;
  /** false where the ring that is shown will not do. */
  fits(ring: PuppetRing): boolean;
  play(p: Player): Promise<void>;
}

function plain(ring: PuppetRing): boolean {
  return (
    ring.flags.every((f) => f === "CQSIZE" || f === "CLAMP") &&
    ring.queued.length === 0 &&
    ring.inflight.length === 0 &&
    ring.sq_entries >= 4 &&
    ring.sq_entries <= 32
  );
}

const eight = { op: "setup", entries: 8, flags: [] } as const satisfies RingAction;

export const presets: Record<PresetName, Preset> = {
  nop: {
    setup: { ...eight, flags: [] },
    fits: plain,
    async play(p) {
      if (!(await p.act({ op: "queue", ring: p.ring, what: "nop", n: 1 }))) return;
      await p.pause(900);
      if (!(await p.act({ op: "submit", ring: p.ring }))) return;
      await p.pause(2200);
      await p.act({ op: "reap", ring: p.ring });
    },
  },
  read: {
    setup: { ...eight, flags: [] },
    fits: plain,
    async play(p) {
      const fds = await p.act({ op: "make", what: "pipe", n: 1 });
      const fd = fds?.[0];
      if (fd === undefined) return;
      if (!(await p.act({ op: "queue", ring: p.ring, what: "read", fd, len: 64 }))) return;
      await p.pause(700);
      if (!(await p.act({ op: "submit", ring: p.ring }))) return;
      await p.pause(3000);
      if (!(await p.act({ op: "ready", fd }))) return;
      await p.pause(700);
      if (!(await p.act({ op: "flush", ring: p.ring }))) return;
      await p.pause(2600);
      await p.act({ op: "reap", ring: p.ring });
    },
  },
  chain: {
    setup: { ...eight, flags: [] },
    fits: plain,
    async play(p) {
      const fds = await p.act({ op: "make", what: "file", n: 1 });
      const fd = fds?.[0];
      if (fd === undefined) return;
      if (!(await p.act({ op: "queue", ring: p.ring, what: "write", fd, len: 64, link: true }))) return;
      if (!(await p.act({ op: "queue", ring: p.ring, what: "read", fd, len: 64, link: true }))) return;
      if (!(await p.act({ op: "queue", ring: p.ring, what: "nop" }))) return;
      await p.pause(2000);
      if (!(await p.act({ op: "submit", ring: p.ring }))) return;
      await p.pause(6000);
      await p.act({ op: "reap", ring: p.ring });
    },
  },
  accept: {
    setup: { ...eight, flags: [] },
    fits: plain,
    async play(p) {
      const fds = await p.act({ op: "make", what: "listener", n: 1 });
      const fd = fds?.[0];
      if (fd === undefined) return;
      if (!(await p.act({ op: "queue", ring: p.ring, what: "accept_multi", fd }))) return;
      if (!(await p.act({ op: "submit", ring: p.ring }))) return;
      for (let i = 0; i < 3; i++) {
        await p.pause(2000);
        if (!(await p.act({ op: "connect", fd }))) return;
        if (!(await p.act({ op: "flush", ring: p.ring }))) return;
      }
      await p.pause(3500);
      await p.act({ op: "reap", ring: p.ring });
    },
  },
  overflow: {
    // So small that all of it, 18 events, is told at the pace of the others in 11 s.
    setup: { op: "setup", entries: 4, cq_entries: 4, flags: [] },
    fits: (r) => plain(r) && r.cq_entries <= 4,
    async play(p) {
      if (!(await p.act({ op: "overflow", ring: p.ring, extra: 1 }))) return;
      await p.pause(4000);
      if (!(await p.act({ op: "reap", ring: p.ring, n: 2 }))) return;
      await p.pause(2500);
      await p.act({ op: "flush", ring: p.ring });
    },
  },
  sqpoll: {
    setup: { op: "setup", entries: 8, flags: ["SQPOLL"], idle: 1500 },
    fits: (r) => r.flags.includes("SQPOLL") && r.queued.length === 0 && r.inflight.length === 0,
    async play(p) {
      // It begins asleep: nobody takes the first SQE until a call wakes it.
      if (!(await p.act({ op: "queue", ring: p.ring, what: "nop", n: 1 }))) return;
      await p.pause(2000);
      if (!(await p.act({ op: "wakeup", ring: p.ring }))) return;
      await p.pause(800); // awake: it takes these without a call
      if (!(await p.act({ op: "queue", ring: p.ring, what: "nop", n: 2 }))) return;
      await p.pause(3500); // it finds nothing more, and falls asleep
      if (!(await p.act({ op: "queue", ring: p.ring, what: "nop", n: 1 }))) return;
      await p.pause(2500); // IORING_SQ_NEED_WAKEUP
      if (!(await p.act({ op: "wakeup", ring: p.ring }))) return;
      await p.pause(2500);
      await p.act({ op: "reap", ring: p.ring });
    },
  },
};

/** A preset that waits for the ring made for it to be shown. */
export interface Pending {
  topic: string;
  name: PresetName;
}
