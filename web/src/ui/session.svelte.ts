// What the server told this page, for the components to read. Frames do not
// come through here: they go to whoever set `frames`.

import { browserEnvironment } from "../net/browser";
import { Client, RequestError, type Link } from "../net/client";
import type {
  Action,
  Detail,
  Ended,
  Hello,
  Message,
  Progress,
  ServerMessage,
  Target,
  Workload,
} from "../net/messages";
import { CallLog } from "./calls";

/** Problem is an error to be read by a person; what says in the page's words what was tried. */
export interface Problem {
  id: number;
  code: string;
  message: string;
  fix: string;
}

/** Frames receives what belongs to the watched topics. */
export interface Frames {
  watching(m: Message<"watching">): void;
  gone(m: Message<"gone">): void;
  failed(e: RequestError): void;
  frame(bytes: ArrayBuffer): void;
}

/** Labs receives what belongs to the lab that is open. */
export interface Labs {
  lab(m: Message<"lab">): void;
  output(m: Message<"output">): void;
  failed(e: RequestError): void;
}

const mostProblems = 4;

export class Session {
  link = $state.raw<Link>({ state: "connecting" });
  hello = $state.raw<Hello | null>(null);
  targets = $state.raw<Target[] | null>(null);
  workloads = $state.raw<Workload[]>([]);
  problems = $state.raw<Problem[]>([]);
  /** Logs by workload; a new value says that one of them changed. */
  logs = $state.raw<Readonly<Record<string, CallLog>>>({});

  /** Whether this page may start and drive workloads; a viewer only looks. */
  mayDrive = $derived(this.hello?.workloads === true && this.hello.scope !== "viewer");
  /** Name of the process that is watched, for the header. */
  watched = $state("");

  /** The lesson that is open, for the header. */
  lesson = $state.raw<{ module: string; title: string } | null>(null);

  /** The experiment that runs, whoever started it. */
  progress = $state.raw<Progress | null>(null);

  /** Raised when the labs changed on disk: lessons are to be fetched again. */
  edition = $state(0);

  frames: Frames | null = null;
  labs: Labs | null = null;
  experiments: ((ended: Ended) => void) | null = null;
  readonly client: Client;
  private lastProblem = 0;
  private listed: (targets: Target[]) => void = () => {};

  constructor(env = browserEnvironment()) {
    this.client = new Client(env, {
      link: (link) => this.linked(link),
      message: (m) => this.receive(m),
      frame: (bytes) => this.frames?.frame(bytes),
      failed: (e) => this.fail(e),
    });
  }

  /** report shows an error until it is dismissed. */
  report(e: unknown): void {
    const { code, message, fix } =
      e instanceof RequestError ? e : new RequestError("page", e instanceof Error ? e.message : String(e));
    const others = this.problems.filter((p) => p.code !== code || p.message !== message);
    this.problems = [...others, { id: ++this.lastProblem, code, message, fix }].slice(-mostProblems);
  }

  dismiss(id: number): void {
    this.problems = this.problems.filter((p) => p.id !== id);
  }

  /** act makes a workload do something; a failure is reported and gives null. */
  async act(id: string, action: Action): Promise<{ seqs: number[]; fds: number[] } | null> {
    try {
      return (await this.client.request({ type: "do", id, action }, 60_000)).result;
    } catch (e) {
      this.report(e);
      return null;
    }
  }

  async start(workload: string): Promise<Workload | null> {
    try {
      return (await this.client.request({ type: "start", workload }, 30_000)).workload;
    } catch (e) {
      this.report(e);
      return null;
    }
  }

  async inspect(topic: string, object: string, id: number): Promise<Detail | null> {
    try {
      return (await this.client.request({ type: "inspect", topic, object, id })).detail;
    } catch {
      return null; // the object may be gone by now; the card stays without values
    }
  }

  /** listTargets reads the list once, without following it. */
  async listTargets(): Promise<Target[]> {
    if (this.targets) return this.targets;
    const list = new Promise<Target[]>((resolve) => (this.listed = resolve));
    this.client.targets(true);
    const targets = await list;
    this.followTargets(false);
    return targets;
  }

  /** followTargets keeps the list in step while somebody looks at it. */
  followTargets(on: boolean): void {
    this.client.targets(on);
    if (!on) this.targets = null;
  }

  private linked(link: Link): void {
    this.link = link;
    if (link.state === "open")
      this.logs = {}; // sent again on attach
    else this.progress = null; // said again while it runs
  }

  private fail(e: RequestError): void {
    if (e.topic && this.frames) this.frames.failed(e);
    else if (e.lab && this.labs) this.labs.failed(e);
    else this.report(e);
  }

  private receive(m: ServerMessage): void {
    switch (m.type) {
      case "hello":
        this.hello = m;
        break;
      case "targets":
        this.targets = m.targets;
        this.listed(m.targets);
        break;
      case "watching":
        this.frames?.watching(m);
        break;
      case "gone":
        this.frames?.gone(m);
        break;
      case "workloads":
        this.workloads = m.workloads;
        break;
      case "calls":
        this.addCalls(m);
        break;
      case "progress":
        this.progress = m.progress;
        break;
      case "result":
        if (this.progress?.run === m.result.run || m.result.run === 0) this.progress = null;
        this.experiments?.(m.result);
        break;
      case "labs":
        this.edition++;
        break;
      case "lab":
        this.labs?.lab(m);
        break;
      case "output":
        this.labs?.output(m);
        break;
    }
  }

  private addCalls(m: Message<"calls">): void {
    const log = this.logs[m.id] ?? new CallLog();
    log.add(m.calls);
    log.lost += m.lost;
    this.logs = { ...this.logs, [m.id]: log };
  }
}

export const session = new Session();
