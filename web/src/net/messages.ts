// The JSON messages of docs/protocol.md. Every message from the server is
// decoded here, once; the rest of the page sees only these types.

import { bool, dict, list, num, obj, or, record, str, type Decoded, type Decoder } from "./shape";

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

const workload = obj({
  id: str,
  name: str,
  pid: or(num, 0),
  running: bool,
  ended: or(str, ""),
  state: or<PuppetState | null>(puppetState, null),
});
export type Workload = Decoded<typeof workload>;

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
    result: or(obj({ seqs: list(num), fds: list(num) }), { seqs: [], fds: [] }),
  }),
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
  | { op: "cycle" };

/** A request is answered by one message that carries its ref back. */
export type Request =
  | { type: "inspect"; topic: string; object: string; id: number }
  | { type: "start"; workload: string }
  | { type: "do"; id: string; action: Action };

export type Answer<R extends Request> = R extends { type: "inspect" }
  ? Message<"detail">
  : R extends { type: "start" }
    ? Message<"started">
    : Message<"done">;

export type ClientMessage =
  | { type: "targets"; on: boolean }
  | { type: "watch"; topic: string; view: View; rate: number }
  | { type: "unwatch"; topic: string }
  | { type: "key"; topic: string }
  | { type: "attach"; ref: number; id: string }
  | { type: "stop"; ref: number; id: string }
  | (Request & { ref: number });
