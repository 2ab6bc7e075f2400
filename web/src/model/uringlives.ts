// Lives of requests, put together from events: where each was, and for how long.
import { OP_UNKNOWN, type Life, type Request } from "../wire/uring";
import { CQE_F_MORE, IOSQE_IO_HARDLINK, IOSQE_IO_LINK } from "./uringnames";

/** Where a request is while a span lasts. `waiting` is behind a link or a drain. */
export type SpanPlace = "inline" | "waiting" | "armed" | "punted" | "taskwork";

export interface LifeSpan {
  readonly place: SpanPlace;
  readonly from: number;
  /** null while it lasts. */
  readonly to: number | null;
}

export interface LifeMark {
  readonly kind: "complete" | "overflow" | "fail";
  readonly time: number;
  readonly res: number;
  readonly flags: number;
}

export interface RequestLife {
  /** Of the request, or of its user_data where no id is known. */
  readonly key: string;
  readonly request: number;
  readonly userData: bigint;
  readonly op: number;
  readonly fd: number;
  readonly sqeFlags: number;
  /** CLOCK_MONOTONIC, ns; of its first known event if the submission was not seen. */
  readonly start: number;
  /** The submission itself is among the events. */
  readonly whole: boolean;
  readonly spans: readonly LifeSpan[];
  readonly marks: readonly LifeMark[];
  /** Key of the request before it in a chain; "" if none. */
  readonly follows: string;
  readonly multishot: boolean;
  readonly done: boolean;
  readonly end: number | null;
  readonly by: ReadonlySet<Life["by"]>;
}

interface Draft {
  key: string;
  request: number;
  userData: bigint;
  op: number;
  fd: number;
  sqeFlags: number;
  start: number;
  whole: boolean;
  spans: { place: SpanPlace; from: number; to: number | null }[];
  marks: LifeMark[];
  follows: string;
  multishot: boolean;
  done: boolean;
  end: number | null;
  by: Set<Life["by"]>;
}

const ENTERS: Partial<Record<Life["what"], SpanPlace>> = {
  submit: "inline",
  arm: "armed",
  punt: "punted",
  taskwork: "taskwork",
  link: "waiting",
  defer: "waiting",
};

function open(l: Life, key: string): Draft {
  return {
    key,
    request: l.request,
    userData: l.userData,
    op: l.op,
    fd: l.fd,
    sqeFlags: l.sqeFlags,
    start: l.submitAt !== 0 ? l.submitAt : l.time,
    whole: l.submitAt !== 0 || l.what === "submit",
    spans: [],
    marks: [],
    follows: "",
    multishot: false,
    done: false,
    end: null,
    by: new Set(),
  };
}

function enter(d: Draft, place: SpanPlace, time: number): void {
  const last = d.spans.at(-1);
  if (last && last.to === null) {
    if (last.place === place) return;
    last.to = time;
  }
  d.spans.push({ place, from: time, to: null });
}

function finish(d: Draft, time: number): void {
  const last = d.spans.at(-1);
  if (last && last.to === null) last.to = time;
  d.done = true;
  d.end = time;
}

/**
 * Lives of the events, in order of their beginning, at most `most` of the
 * newest. Requests that were under way before the first event begin where the
 * kernel says that they were submitted. `held` fills in what events do not
 * tell of requests that are still there.
 */
export function assembleLives(
  lives: readonly Life[],
  held: readonly Request[] = [],
  most = 200,
): RequestLife[] {
  const drafts: Draft[] = [];
  const current = new Map<string, Draft>();
  let linked: Draft | null = null; // the request that the next submission follows
  for (const l of lives) {
    if (l.what === "cqwait" || l.what === "localwork" || l.what === "unknown") continue;
    const key = l.request !== 0 ? `r${l.request}` : `u${l.userData}`;
    let d = current.get(key);
    if (!d || (l.what === "submit" && (d.done || d.spans.length > 0))) {
      d = open(l, key);
      // The same user_data again is another request.
      if (l.request === 0) d.key = `${key}/${l.seq}`;
      current.set(key, d);
      drafts.push(d);
    }
    if (d.op === OP_UNKNOWN) d.op = l.op;
    if (d.fd < 0) d.fd = l.fd;
    d.by.add(l.by);
    const place = ENTERS[l.what];
    if (l.what === "submit") {
      d.sqeFlags = l.sqeFlags;
      if (linked) d.follows = linked.key;
      linked = (l.sqeFlags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) !== 0 ? d : null;
    }
    if (place) {
      if (d.spans.length === 0 && place !== "inline" && d.start < l.time) enter(d, "inline", d.start);
      enter(d, place, l.time);
      continue;
    }
    // A completion, an overflow or a refusal.
    if (d.spans.length === 0 && d.start < l.time) enter(d, "inline", d.start);
    const kind = l.what === "overflow" ? "overflow" : l.what === "fail" ? "fail" : "complete";
    d.marks.push({ kind, time: l.time, res: l.res, flags: l.cqeFlags });
    if (kind !== "complete") continue;
    if ((l.cqeFlags & CQE_F_MORE) !== 0) {
      d.multishot = true;
      enter(d, "armed", l.time);
    } else finish(d, l.time);
  }
  const byID = new Map(held.map((r) => [r.id, r]));
  for (const d of drafts) {
    const r = byID.get(d.request);
    if (!r || d.request === 0) continue;
    if (d.op === OP_UNKNOWN) d.op = r.op;
    if (d.fd < 0) d.fd = r.fd;
    if ((r.flags & 1) !== 0) d.multishot = true;
  }
  const out = drafts.slice(-most);
  const kept = new Set(out.map((d) => d.key));
  for (const d of out) if (!kept.has(d.follows)) d.follows = "";
  return out;
}

/** ns in each place, up to `now` where it lasts. */
export function timeIn(life: RequestLife, now: number): Record<SpanPlace, number> {
  const out: Record<SpanPlace, number> = { inline: 0, waiting: 0, armed: 0, punted: 0, taskwork: 0 };
  for (const s of life.spans) out[s.place] += Math.max(0, (s.to ?? now) - s.from);
  return out;
}
