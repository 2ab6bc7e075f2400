// The JSON messages of docs/protocol.md. Every message from the server is
// decoded here, once; the rest of the page sees only these types.

import { ringState, type RingAction, type RingState } from "./ring";
import { bool, dict, list, num, obj, oneOf, or, record, str, type Decoded, type Decoder } from "./shape";

const target = obj({
  view: str,
  name: str,
  pid: num,
  comm: str,
  fd: num,
  instance: num,
  items: num,
});
/** Target is one kernel object that can be watched; items is -1 if unknown. */
export type Target = Decoded<typeof target>;

const tier = obj({
  name: str,
  label: str,
  chosen: bool,
  reason: or(str, ""),
  code: or(str, ""),
  fix: or(str, ""),
});
export type Tier = Decoded<typeof tier>;

const view = obj({ name: str, kind: num, tiers: list(tier) });
export type ViewInfo = Decoded<typeof view>;

const kernel = obj({
  release: str,
  machine: or(str, ""),
  hostname: or(str, ""),
  distribution: or(str, ""),
  cpus: or(num, 0),
  memory: or(num, 0),
});
export type Kernel = Decoded<typeof kernel>;

const capability = obj({ name: str, ok: bool, reason: or(str, ""), fix: or(str, "") });
export type Capability = Decoded<typeof capability>;

const field = obj({
  path: str,
  type: or(str, ""),
  offset: num,
  size: num,
  value: or(str, ""),
  note: or(str, ""),
});
export type Field = Decoded<typeof field>;

const bytes = obj({
  name: str,
  size: or(num, 0),
  source: or(str, ""),
  fields: list(field),
});
export type StructBytes = Decoded<typeof bytes>;

const note = obj({ key: str, args: dict(str) });
export type Note = Decoded<typeof note>;

const detail = obj({
  object: str,
  id: num,
  title: or(str, ""),
  structs: list(bytes),
  notes: list(note),
});
export type Detail = Decoded<typeof detail>;

const puppetFd = obj({
  fd: num,
  kind: str,
  peer: or(num, 0),
  readable: or(bool, false),
  in: list(num),
});
export type PuppetFd = Decoded<typeof puppetFd>;

const puppetState = obj({
  fds: list(puppetFd),
  epolls: list(obj({ fd: num, items: list(num) })),
  threads: list(obj({ thread: num, tid: or(num, 0), waiting: or(num, 0) })),
});
export type PuppetState = Decoded<typeof puppetState>;

const anyWorkload = obj({ id: str, name: str, pid: or(num, 0), running: bool, ended: or(str, "") });
export type Workload = Decoded<typeof anyWorkload> & { state: PuppetState | null; ring?: RingState };

// Only what the puppets know is read here; that of others has other shapes.
const workload: Decoder<Workload> = (v, at) => {
  const base = anyWorkload(v, at);
  if (base.name === "ring") {
    const ring = or<RingState | null>(ringState, null)(record(v, at)["state"], `${at}.state`);
    return ring ? { ...base, state: null, ring } : { ...base, state: null };
  }
  if (base.name !== "puppet") return { ...base, state: null };
  return { ...base, state: or<PuppetState | null>(puppetState, null)(record(v, at)["state"], `${at}.state`) };
};

const call = obj({
  seq: num,
  time: or(str, ""),
  tid: or(num, 0),
  thread: or(num, 0),
  text: str,
  result: or(str, ""),
  ok: or(bool, false),
  note: or(str, ""),
  pending: or(bool, false),
  rest: or(str, ""),
});
export type Call = Decoded<typeof call>;

const text = obj({ en: or(str, ""), zh: or(str, "") });
/** Text is what authors wrote, in the languages they wrote it in. */
export type Text = Decoded<typeof text>;
export const texts = { text, html: text }; // of *html* the server says that it is safe

const stepState = obj({
  id: str,
  state: oneOf("locked", "predict", "open", "done"),
  holds: or(bool, false),
  stale: or(bool, false),
  late: or(bool, false),
  shown: or(num, 0),
  more: or(bool, false),
  hints: list(texts.html),
  prediction: or(
    obj({
      choice: or(str, ""),
      fd: or(num, 0),
      right: or(bool, false),
      why: or(texts.html, { en: "", zh: "" }),
    }),
    null,
  ),
  said: or(str, ""),
});
/** StepState is how far a step is: `holds` is its check now. */
export type StepState = Decoded<typeof stepState>;

const diagnostic = obj({
  file: or(str, ""),
  line: or(num, 0), // from 1; 0 belongs to no line
  column: or(num, 0),
  severity: or(oneOf("error", "warning", "note"), "error"),
  text: str,
});
export type Diagnostic = Decoded<typeof diagnostic>;

const programState = obj({
  run: or(num, 0),
  state: or(oneOf("none", "building", "failed", "running", "ended"), "none"),
  pid: or(num, 0),
  ended: or(str, ""),
  diagnostics: list(diagnostic),
});
export type ProgramState = Decoded<typeof programState>;

const labState = obj({
  attempt: or(num, 1),
  steps: list(stepState),
  stage: or(str, ""), // topic, or "" while there is nothing to show
  workloads: dict(str), // ids by name
  values: list(str),
  drafts: or(dict(str), null), // only when the lab was opened
  program: or(programState, { run: 0, state: "none", pid: 0, ended: "", diagnostics: [] }),
  terminals: list(num),
  problem: or(str, ""),
});
export type LabState = Decoded<typeof labState>;

export const progress = obj({
  run: num,
  experiment: str,
  phase: or(str, ""),
  series: or(str, ""),
  variant: or(str, ""),
  done: or(num, 0),
  total: or(num, 0),
  elapsed: or(num, 0), // s
  left: or(num, -1), // s, estimated; -1 unknown
});
/** Progress is how far the experiment is that runs. */
export type Progress = Decoded<typeof progress>;

const brief = obj({ run: or(num, 0), experiment: str, state: str });
/** Ended is a run that has ended; `whole` is read by net/experiments.ts, on the pages that need it. */
export type Ended = Decoded<typeof brief> & { whole: unknown };
const ended: Decoder<Ended> = (v, at) => ({ ...brief(v, at), whole: v });

const decoders = {
  hello: obj({
    version: or(str, ""),
    kernel,
    capabilities: list(capability),
    views: list(view),
    scope: or(str, "learner"),
    workloads: or(bool, false),
  }),
  targets: obj({ targets: list(target) }),
  watching: obj({ topic: str, id: num, target }),
  gone: obj({ topic: str, id: or(num, 0), reason: or(str, "") }),
  detail: obj({ ref: num, topic: or(str, ""), detail }),
  workloads: obj({ workloads: list(workload) }),
  started: obj({ ref: num, workload }),
  calls: obj({ id: str, lost: or(num, 0), calls: list(call) }),
  done: obj({
    ref: num,
    id: or(str, ""),
    result: or(
      obj({ seqs: list(num), fds: list(num), fd: or(num, null), terminal: or(num, 0), run: or(num, 0) }),
      {
        seqs: [],
        fds: [],
        fd: null,
        terminal: 0,
        run: 0,
      },
    ),
  }),
  progress: obj({ progress }),
  result: obj({ result: ended }),
  labs: obj({}), // they changed on disk
  lab: obj({ ref: or(num, 0), lab: str, state: labState }),
  output: obj({ lab: str, run: or(num, 0), at: or(num, 0), text: or(str, ""), lost: or(num, 0) }),
  error: obj({
    ref: or(num, 0),
    topic: or(str, ""),
    code: str,
    message: str,
    fix: or(str, ""),
  }),
} satisfies Record<string, Decoder<unknown>>;

type Decoders = typeof decoders;
export type ServerMessage = {
  [K in keyof Decoders]: { type: K } & Decoded<Decoders[K]>;
}[keyof Decoders];
export type Message<K extends ServerMessage["type"]> = Extract<ServerMessage, { type: K }>;
export type Hello = Message<"hello">;
export type Output = Message<"output">;
export type ServerError = Message<"error">;

/**
 * parseMessage reads one text message. It returns null for a type this page
 * does not know, and throws ShapeError or SyntaxError for one it cannot read.
 */
export function parseMessage(text: string): ServerMessage | null {
  const source = record(JSON.parse(text), "message");
  const type = str(source["type"], "message.type");
  if (!Object.hasOwn(decoders, type)) return null;
  const decode = decoders[type as keyof Decoders];
  return { type, ...decode(source, type) } as ServerMessage;
}

/** Viewport in ranks [lo, hi) and CSS pixels; all zero asks for everything. */
export interface View {
  lo: number;
  hi: number;
  px: number;
}

/** FileKind is what the puppet can make and watch. */
export const fileKinds = ["eventfd", "pipe", "udp", "tcp", "unix", "timerfd"] as const;
export type FileKind = (typeof fileKinds)[number];

export type Action =
  | { op: "epoll_create" }
  | { op: "make"; what: FileKind; n: number }
  | { op: "add"; epfd: number; what: FileKind; n: number; events: string[] }
  | {
      op: "ctl";
      epfd: number;
      ctl: "add" | "mod" | "del";
      fd: number;
      events?: string[];
      data?: number;
    }
  | { op: "ready" | "drain" | "close" | "dup"; fd: number }
  | { op: "wait"; epfd: number; maxevents: number; timeout: number; thread: number }
  | { op: "cycle" }
  | RingAction;

/** A request is answered by one message that carries its ref back. */
export type Request =
  | { type: "inspect"; topic: string; object: string; id: number }
  | { type: "start"; workload: string }
  | { type: "do"; id: string; action: Action }
  | { type: "experiment"; id: string; quick: boolean }
  | { type: "cancel"; run: number }
  | LabRequest;

/** LabRequest speaks of a lab that this page has open; `lab` opens it. */
export type LabRequest =
  | { type: "lab"; lab: string; learner: string }
  | { type: "act"; lab: string; action: string }
  | { type: "predict"; lab: string; step: string; choice: string }
  | { type: "predict"; lab: string; step: string; fd: number }
  | { type: "hint" | "retry"; lab: string; step: string }
  | { type: "fresh" | "reset" | "kill"; lab: string }
  | { type: "draft"; lab: string; file: string; text: string }
  | { type: "build"; lab: string; run: boolean };

export type Answer<R extends Request> = R extends { type: "inspect" }
  ? Message<"detail">
  : R extends { type: "start" }
    ? Message<"started">
    : R extends { type: "lab" }
      ? Message<"lab">
      : Message<"done">;

export type ClientMessage =
  | { type: "targets"; on: boolean }
  | { type: "watch"; topic: string; view: View; rate: number }
  | { type: "unwatch"; topic: string }
  | { type: "key"; topic: string }
  | { type: "attach"; ref: number; id: string }
  | { type: "stop"; ref: number; id: string }
  | { type: "leave"; lab: string }
  | (Request & { ref: number });
