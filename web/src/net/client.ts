// One websocket to the server, kept open. The client remembers what the page
// wants (targets, watches, attached logs) and asks for it again after every
// reconnect, so that callers never see the difference. Nothing here is
// reactive and nothing touches the document.

import {
  parseMessage,
  type Answer,
  type ClientMessage,
  type Request,
  type ServerError,
  type ServerMessage,
  type View,
  type Workload,
} from "./messages";

/** Link says how the connection stands. */
export type Link =
  | { state: "connecting" }
  | { state: "open" }
  | { state: "lost"; attempt: number; retryAt: number }
  | { state: "refused" };

/** Socket is what the client needs of a WebSocket. */
export interface Socket {
  binaryType: BinaryType;
  onopen: (() => void) | null;
  onmessage: ((e: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  send(data: string): void;
  close(): void;
}

export interface Environment {
  connect(): Socket;
  /** allowed asks whether the server is up and does not know this page: 401 or 403. */
  refused(): Promise<boolean>;
  now(): number; // ms
  random(): number; // [0, 1)
  after(ms: number, run: () => void): () => void; // returns a cancel
}

export interface Listener {
  link(link: Link): void;
  message(message: ServerMessage): void;
  frame(bytes: ArrayBuffer): void;
  /** failed reports what no request waits for: stray errors, unreadable messages. */
  failed(error: RequestError): void;
}

/** RequestError is the server's error, or one of `lost`, `timeout`, `unreadable`. */
export class RequestError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly fix = "",
    readonly topic = "",
    readonly lab = "",
  ) {
    super(message);
    this.name = "RequestError";
  }

  static from(e: ServerError): RequestError {
    return new RequestError(e.code, e.message, e.fix, e.topic);
  }
}

interface Watch {
  view: View;
  rate: number;
}

interface Pending {
  want: ServerMessage["type"];
  resolve(message: ServerMessage): void;
  reject(error: RequestError): void;
  cancel(): void;
}

const answers: Partial<Record<Request["type"], ServerMessage["type"]>> = {
  inspect: "detail",
  start: "started",
  lab: "lab",
}; // all others: done
const requestTimeout = 10_000;
const openLabTimeout = 60_000; // it starts processes
const firstDelay = 250;
const longestDelay = 8_000;

/**
 * backoff is the wait before attempt n (from 1): doubling, capped, and spread
 * over its upper half so that a thousand pages do not come back at once.
 */
export function backoff(attempt: number, random: number): number {
  const ceiling = Math.min(longestDelay, firstDelay * 2 ** (attempt - 1));
  return ceiling * (0.5 + random / 2);
}

export class Client {
  private socket: Socket | null = null;
  private isOpen = false;
  private attempt = 0;
  private cancelRetry: (() => void) | null = null;
  private hidden = false;
  private closed = false;
  private lastRef = 0;
  private readonly pending = new Map<number, Pending>();

  private wantTargets = false;
  private readonly watches = new Map<string, Watch>();
  private readonly attached = new Set<string>();
  private readonly labs = new Map<string, string>(); // learner by lab
  private reattach = false; // once the server said which workloads there are

  constructor(
    private readonly env: Environment,
    private readonly listener: Listener,
  ) {}

  open(): void {
    this.closed = false;
    this.dial();
  }

  close(): void {
    this.closed = true;
    this.cancelRetry?.();
    this.socket?.close();
  }

  /** retryNow skips the rest of the back-off. */
  retryNow(): void {
    if (this.isOpen || this.socket) return;
    this.cancelRetry?.();
    this.dial();
  }

  targets(on: boolean): void {
    if (this.wantTargets === on) return;
    this.wantTargets = on;
    if (!this.hidden) this.send({ type: "targets", on });
  }

  /** watch asks for frames of a topic, or changes the view of one that is watched. */
  watch(topic: string, view: View, rate = 30): void {
    const old = this.watches.get(topic);
    if (old && old.rate === rate && sameView(old.view, view)) return;
    this.watches.set(topic, { view, rate });
    if (!this.hidden) this.send({ type: "watch", topic, view, rate });
  }

  unwatch(topic: string): void {
    if (this.watches.delete(topic) && !this.hidden) this.send({ type: "unwatch", topic });
  }

  /** key asks for a frame that stands alone. */
  key(topic: string): void {
    this.send({ type: "key", topic });
  }

  /** attach asks for the log of a workload; it lasts until the workload ends. */
  attach(id: string): void {
    if (this.attached.has(id)) return;
    this.attached.add(id);
    this.send({ type: "attach", ref: ++this.lastRef, id });
  }

  stop(id: string): void {
    this.attached.delete(id);
    this.send({ type: "stop", ref: ++this.lastRef, id });
  }

  /**
   * lab opens a lab and follows it until `leave`. Its states come to the
   * listener, the first one with the drafts; a failure comes to `failed`.
   */
  lab(lab: string, learner: string): void {
    this.labs.set(lab, learner);
    this.openLab(lab, learner);
  }

  leave(lab: string): void {
    if (this.labs.delete(lab)) this.send({ type: "leave", lab });
  }

  /** request sends a message and resolves with its answer; it rejects with RequestError. */
  request<R extends Request>(request: R, timeout = requestTimeout): Promise<Answer<R>> {
    return new Promise((resolve, reject) => {
      if (!this.isOpen) {
        reject(new RequestError("lost", "the connection to labserver is down"));
        return;
      }
      const ref = ++this.lastRef;
      const cancel = this.env.after(timeout, () => {
        this.pending.delete(ref);
        reject(
          new RequestError("timeout", `labserver did not answer "${request.type}" in ${timeout / 1000} s`),
        );
      });
      this.pending.set(ref, {
        want: answers[request.type] ?? "done",
        resolve: (m) => resolve(m as Answer<R>),
        reject,
        cancel,
      });
      this.send({ ...request, ref });
    });
  }

  /** visible tells whether anybody can see the page: a hidden tab costs the kernel nothing. */
  visible(visible: boolean): void {
    if (this.hidden === !visible) return;
    this.hidden = !visible;
    if (this.wantTargets) this.send({ type: "targets", on: visible });
    for (const [topic, w] of this.watches) {
      if (!visible) {
        this.send({ type: "unwatch", topic });
        continue;
      }
      this.send({ type: "watch", topic, ...w });
      this.send({ type: "key", topic });
    }
    if (visible) this.retryNow();
  }

  private send(message: ClientMessage): void {
    if (this.isOpen) this.socket?.send(JSON.stringify(message));
  }

  private dial(): void {
    if (this.attempt === 0) this.listener.link({ state: "connecting" });
    const socket = this.env.connect();
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.resume();
    socket.onmessage = (e) => this.receive(e.data);
    socket.onclose = () => void this.dropped();
    this.socket = socket;
  }

  private resume(): void {
    this.isOpen = true;
    this.attempt = 0;
    this.listener.link({ state: "open" });
    this.reattach = this.attached.size > 0;
    // A lab is followed while hidden too: its learner may be in a terminal elsewhere.
    for (const [lab, learner] of this.labs) this.openLab(lab, learner);
    if (this.hidden) return;
    if (this.wantTargets) this.send({ type: "targets", on: true });
    for (const [topic, w] of this.watches) this.send({ type: "watch", topic, ...w });
  }

  private async dropped(): Promise<void> {
    const wasOpen = this.isOpen;
    this.isOpen = false;
    this.socket = null;
    for (const p of this.pending.values()) {
      p.cancel();
      p.reject(new RequestError("lost", "the connection to labserver was lost before it answered"));
    }
    this.pending.clear();
    if (this.closed) return;
    this.attempt++;
    const delay = backoff(this.attempt, this.env.random());
    this.listener.link({ state: "lost", attempt: this.attempt, retryAt: this.env.now() + delay });
    this.cancelRetry = this.env.after(delay, () => {
      this.cancelRetry = null;
      this.dial();
    });
    if (wasOpen || !(await this.env.refused())) return;
    if (this.isOpen || this.closed) return;
    this.cancelRetry?.();
    this.cancelRetry = null;
    this.listener.link({ state: "refused" });
  }

  private receive(data: unknown): void {
    if (data instanceof ArrayBuffer) {
      this.listener.frame(data);
      return;
    }
    let message: ServerMessage | null;
    try {
      message = parseMessage(String(data));
    } catch (e) {
      this.listener.failed(
        new RequestError(
          "unreadable",
          `labserver sent a message this page cannot read: ${(e as Error).message}`,
        ),
      );
      return;
    }
    if (!message) return;
    if ("ref" in message && this.settle(message, message.ref)) return;
    if (message.type === "workloads" && this.reattach) this.attachAgain(message.workloads);
    if (message.type === "error") this.listener.failed(RequestError.from(message));
    else this.listener.message(message);
  }

  private openLab(lab: string, learner: string): void {
    if (!this.isOpen) return; // asked when it stands
    this.request({ type: "lab", lab, learner }, openLabTimeout).then(
      (m) => {
        if (this.labs.get(lab) === learner) this.listener.message(m);
      },
      (e: RequestError) => {
        if (e.code === "lost" || this.labs.get(lab) !== learner) return;
        this.listener.failed(new RequestError(e.code, e.message, e.fix, "", lab));
      },
    );
  }

  private attachAgain(workloads: readonly Workload[]): void {
    this.reattach = false;
    for (const id of this.attached) {
      if (workloads.some((w) => w.id === id)) this.send({ type: "attach", ref: ++this.lastRef, id });
      else this.attached.delete(id);
    }
  }

  private settle(message: ServerMessage, ref: number): boolean {
    const p = this.pending.get(ref);
    if (!p) return false;
    this.pending.delete(ref);
    p.cancel();
    if (message.type === "error") p.reject(RequestError.from(message));
    else if (message.type === p.want) p.resolve(message);
    else p.reject(new RequestError("unreadable", `labserver answered "${message.type}", not "${p.want}"`));
    return true;
  }
}

function sameView(a: View, b: View): boolean {
  return a.lo === b.lo && a.hi === b.hi && a.px === b.px;
}
