// The card of a thing in the picture: what it is, as the frame tells it, line
// by line, and what one should know of it.

import { t, type Key } from "../../i18n/more";
import { sees, slotOf, type RingModel } from "../../model/uring";
import {
  bitNames,
  cqeFlagNames,
  cqeText,
  CQE_F_BUFFER,
  dataText,
  errnoOf,
  FEATURES,
  opName,
  resText,
  SETUP_FLAGS,
  SQE_FLAGS,
  sqeText,
} from "../../model/uringnames";
import { isFree } from "../../scene/uringnav";
import { shortTime } from "../../scene/uringtimeline";
import { RequestFlag } from "../../wire/uring";

export interface Row {
  readonly name: string;
  readonly value: string;
}

export interface Description {
  readonly title: string;
  readonly sub: string;
  /** As strace prints it; "" for none. */
  readonly strace: string;
  readonly rows: readonly Row[];
  readonly notes: readonly string[];
  /** Flags with their meaning. */
  readonly flags: readonly { name: string; meaning: string }[];
  /** What the server can tell of it; null if nothing. */
  readonly inspect: { object: string; id: number } | null;
}

const PLAIN = { sub: "", strace: "", rows: [], notes: [], flags: [], inspect: null } as const;

/** setupFlags are the flags that a ring was made with, and what they mean. */
export function setupFlags(setup: number): { name: string; meaning: string }[] {
  return bitNames(setup, SETUP_FLAGS).map((name) => {
    const known = SETUP_FLAGS.find((f) => f === name);
    return { name: known ? `IORING_SETUP_${known}` : name, meaning: known ? t(`ring.setup.${known}`) : "" };
  });
}

/** features are what the kernel said in io_uring_params.features. */
export function features(bits: number): { name: string; meaning: string }[] {
  return bitNames(bits, FEATURES).map((name) => {
    const known = FEATURES.find((f) => f === name);
    return { name: known ? `IORING_FEAT_${known}` : name, meaning: known ? t(`ring.feat.${known}`) : "" };
  });
}

function sqeFlags(flags: number): { name: string; meaning: string }[] {
  return bitNames(flags, SQE_FLAGS).map((name) => {
    const known = SQE_FLAGS.find((f) => f === name);
    return { name: known ? `IOSQE_${known}` : name, meaning: known ? t(`ring.sqe.${known}`) : "" };
  });
}

const CQE_NAMES = ["BUFFER", "MORE", "SOCK_NONEMPTY", "NOTIF", "BUF_MORE"] as const;

function cqeFlags(flags: number): { name: string; meaning: string }[] {
  return cqeFlagNames(flags).map((name) => {
    const known = CQE_NAMES.find((f) => f === name);
    return { name: `IORING_CQE_F_${name}`, meaning: known ? t(`ring.cqe.${known}`) : "" };
  });
}

function free(title: string, position: number, entries: number, note: Key): Description {
  const slot = slotOf(position, entries);
  return {
    ...PLAIN,
    title,
    sub: t("ring.aria.free", { slot: String(slot) }),
    notes: [t(note, { position: String(position) })],
  };
}

/** describe tells of what stands at an id of the picture; null if it is gone. */
export function describe(m: RingModel, id: string): Description | null {
  const ring = m.ring;
  if (!ring) return null;
  const [kind = "", rest = ""] = id.split(":");
  const n = Number(rest);
  const known = (what: Parameters<typeof sees>[1], v: number | string): string =>
    sees(ring, what) ? String(v) : "?";
  switch (kind) {
    case "sq": {
      const e = m.sqes.find((x) => x.position === n);
      if (!e) {
        if (rest === "pending" || rest === "taken")
          return { ...PLAIN, title: "SQ", notes: [t("ring.card.arc")] };
        if (isFree(m, id)) return free("struct io_uring_sqe", n, ring.sqEntries, "ring.card.freesq");
        return { ...PLAIN, title: "struct io_uring_sqe", sub: `#${n}`, notes: [t("ring.card.unseen")] };
      }
      const bad = e.index >= ring.sqEntries;
      return {
        ...PLAIN,
        title: "struct io_uring_sqe",
        sub: opName(e.op),
        strace: sqeText(e),
        rows: [
          { name: t("ring.card.position"), value: `${e.position} → sq_array → ${e.index}` },
          { name: "fd", value: String(e.fd) },
          { name: "user_data", value: dataText(e.userData) },
        ],
        notes: [
          bad
            ? t("ring.card.badindex", { n: String(e.index), of: String(ring.sqEntries) })
            : t("ring.card.pending"),
        ],
        flags: sqeFlags(e.flags),
        inspect: { object: "sqe", id: e.position },
      };
    }
    case "cq": {
      const e = m.cqes.find((x) => x.position === n);
      if (!e) {
        if (rest === "unread" || rest === "unpublished")
          return { ...PLAIN, title: "CQ", notes: [t("ring.card.arc")] };
        if (isFree(m, id)) return free("struct io_uring_cqe", n, ring.cqEntries, "ring.card.freecq");
        return { ...PLAIN, title: "struct io_uring_cqe", sub: `#${n}`, notes: [t("ring.card.unseen")] };
      }
      const notes: string[] = [];
      if (e.res < 0) notes.push(t("ring.card.error", { name: errnoOf(e.res) || String(e.res) }));
      if ((e.flags & CQE_F_BUFFER) !== 0) notes.push(t("ring.card.buffer", { id: String(e.flags >>> 16) }));
      notes.push(t("ring.card.unread"));
      return {
        ...PLAIN,
        title: "struct io_uring_cqe",
        sub: `#${e.position}`,
        strace: cqeText(e),
        rows: [
          { name: "user_data", value: dataText(e.userData) },
          { name: "res", value: resText(e.res) },
        ],
        notes,
        flags: cqeFlags(e.flags),
        inspect: { object: "cqe", id: e.position },
      };
    }
    case "req": {
      const q = m.requests.find((x) => x.id === n);
      if (!q) return null;
      const notes = [t(`ring.where.${q.where}`)];
      if ((q.flags & RequestFlag.multishot) !== 0) notes.push(t("ring.card.multishot", { n: q.posted }));
      if ((q.flags & RequestFlag.linked) !== 0) notes.push(t("ring.card.linked"));
      return {
        ...PLAIN,
        title: "struct io_kiocb",
        sub: opName(q.op),
        rows: [
          { name: "user_data", value: dataText(q.userData) },
          { name: "fd", value: q.fd >= 0 ? String(q.fd) : "?" },
          { name: t("ring.card.since"), value: shortTime(Math.max(0, m.time - q.since)) },
          { name: t("ring.card.here"), value: shortTime(Math.max(0, m.time - q.moved)) },
        ],
        notes,
        inspect: { object: "request", id: q.id },
      };
    }
    case "sq.tail":
    case "sq.head":
    case "cq.head":
    case "cq.tail": {
      const value = {
        "sq.tail": ring.sqTail,
        "sq.head": ring.sqHead,
        "cq.head": ring.cqHead,
        "cq.tail": ring.cqTail,
      }[kind];
      const entries = kind.startsWith("sq") ? ring.sqEntries : ring.cqEntries;
      const notes: Record<typeof kind, Key> = {
        "sq.tail": "ring.hand.sqtail",
        "sq.head": "ring.hand.sqhead",
        "cq.head": "ring.hand.cqhead",
        "cq.tail": "ring.hand.cqtail",
      };
      return {
        ...PLAIN,
        title: `io_rings.${kind}`,
        rows: [
          { name: t("ring.card.value"), value: known("heads", value) },
          {
            name: t("ring.card.mask"),
            value: `& 0x${Math.max(0, entries - 1).toString(16)} = ${known("heads", (value & (entries - 1)) >>> 0)}`,
          },
        ],
        notes: [t(notes[kind])],
      };
    }
    case "overflow":
      return {
        ...PLAIN,
        title: "cq_overflow_list",
        rows: [
          { name: t("ring.card.kept"), value: known("overflow", ring.overflowList) },
          { name: "cq.overflow", value: known("heads", ring.cqOverflow) },
        ],
        notes: [t("ring.card.overflow")],
      };
    case "thread": {
      const row = m.workers.find((w) => w.kind === "sqpoll");
      const busy = ring.threadTotal > 0 ? `${Math.round((100 * ring.threadWork) / ring.threadTotal)} %` : "?";
      return {
        ...PLAIN,
        title: row?.comm || "iou-sqp",
        sub: ring.threadPID ? `tid ${ring.threadPID}` : "",
        rows: [
          {
            name: t("ring.card.state"),
            value: sees(ring, "thread") ? t(`ring.thread.${ring.threadState}`) : "?",
          },
          { name: "CPU", value: ring.threadCPU >= 0 ? String(ring.threadCPU) : "?" },
          { name: "sq_thread_idle", value: `${ring.threadIdle} ms` },
          { name: t("ring.card.busy"), value: busy },
          { name: "IORING_SQ_NEED_WAKEUP", value: known("heads", ring.sqFlags & 1) },
        ],
        notes: [t("ring.card.sqpoll")],
      };
    }
    case "worker": {
      const w = m.workers.find((x) => x.tid === n);
      if (!w) return null;
      return {
        ...PLAIN,
        title: w.comm || "iou-wrk",
        sub: `tid ${w.tid}`,
        rows: [
          { name: t("ring.card.state"), value: t(`ring.thread.${w.state}`) },
          { name: "CPU", value: w.cpu >= 0 ? String(w.cpu) : "?" },
          { name: t("ring.card.cputime"), value: shortTime(w.time) },
        ],
        notes: [t(`ring.worker.${w.kind}`)],
      };
    }
    case "application": {
      const flags = setupFlags(ring.setup);
      return {
        ...PLAIN,
        title: "struct io_uring_params",
        sub: `pid ${ring.owner}`,
        rows: [
          { name: "sq_entries", value: String(ring.sqEntries) },
          { name: "cq_entries", value: String(ring.cqEntries) },
          { name: t("ring.card.owners"), value: String(ring.owners) },
        ],
        notes: flags.length === 0 ? [t("ring.card.noflags")] : [],
        flags,
        inspect: { object: "ring", id: 0 },
      };
    }
    default:
      return null;
  }
}
