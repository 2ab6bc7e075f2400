// The lab that this page has open: its state as the server tells it, and what
// the learner asks for. The lesson's text is not in here.

import { RequestError } from "../net/client";
import type { LabRequest, LabState, Message } from "../net/messages";
import { session, type Labs } from "../ui/session.svelte";
import { Drafts } from "./drafts";
import { OutputLog } from "./output";
import { newlyDone, newlyOpen } from "./steps";

const actTimeout = 60_000;
const buildTimeout = 120_000;

type Asked = Exclude<LabRequest, { type: "lab" }>;

export class Lab implements Labs {
  state = $state.raw<LabState | null>(null);
  /** What the learner's program wrote. */
  log = $state.raw<OutputLog>(OutputLog.empty);
  /** Why the lab could not be opened. */
  failure = $state.raw<RequestError | null>(null);
  /** Names of what was asked for and not answered yet. */
  busy = $state.raw<readonly string[]>([]);
  /** Steps that were ticked while this page looked on. */
  ticked = $state.raw<readonly string[]>([]);
  /** A draft could not be kept on the server yet. */
  unsaved = $state(false);
  /** Raised when the server's drafts replace what the editor shows. */
  draftsRead = $state(0);

  /** Told of steps that were ticked, and of those whose tick went. */
  onchange: (done: string[], open: string[]) => void = () => {};

  private readonly drafts = new Drafts();

  constructor(
    readonly id: string,
    readonly learner: string,
  ) {}

  open(): void {
    session.labs = this;
    this.failure = null;
    session.client.lab(this.id, this.learner);
  }

  close(): void {
    void this.save();
    if (session.labs === this) session.labs = null;
    session.client.leave(this.id);
  }

  // ---- what the server says ----

  lab(m: Message<"lab">): void {
    if (m.lab !== this.id) return;
    const before = this.state;
    this.failure = null;
    this.state = m.state;
    // Runs are counted anew by a session that began anew.
    if (m.state.program.run < this.log.run) this.log = OutputLog.empty;
    if (m.state.drafts) {
      if (this.drafts.read(m.state.drafts)) this.draftsRead++;
      if (this.drafts.waiting().length > 0) void this.save();
    }
    const done = newlyDone(before, m.state);
    const open = newlyOpen(before, m.state);
    if (before && before.attempt !== m.state.attempt) this.ticked = [];
    if (done.length > 0 || open.length > 0) {
      this.ticked = [...this.ticked, ...done].filter((id) => !open.includes(id));
      this.onchange(done, open);
    }
  }

  output(m: Message<"output">): void {
    if (m.lab === this.id) this.log = this.log.add(m);
  }

  failed(e: RequestError): void {
    if (e.lab === this.id) this.failure = e;
  }

  // ---- what the learner does ----

  /** act carries out an action; it gives the fd to focus and the terminal typed into. */
  async act(action: string): Promise<{ fd: number | null; terminal: number } | null> {
    const done = await this.ask(action, { type: "act", lab: this.id, action }, actTimeout);
    return done?.result ?? null;
  }

  predict(step: string, answer: { choice: string } | { fd: number }): Promise<unknown> {
    return this.ask(`predict ${step}`, { type: "predict", lab: this.id, step, ...answer });
  }

  hint(step: string): Promise<unknown> {
    return this.ask(`hint ${step}`, { type: "hint", lab: this.id, step });
  }

  retry(step: string): Promise<unknown> {
    return this.ask(`retry ${step}`, { type: "retry", lab: this.id, step });
  }

  fresh(): Promise<unknown> {
    return this.ask("fresh", { type: "fresh", lab: this.id }, actTimeout);
  }

  reset(): Promise<unknown> {
    return this.ask("reset", { type: "reset", lab: this.id }, actTimeout);
  }

  async build(): Promise<void> {
    if (this.drafts.waiting().length > 0) await this.save();
    await this.ask("build", { type: "build", lab: this.id, run: true }, buildTimeout);
  }

  kill(): Promise<unknown> {
    return this.ask("kill", { type: "kill", lab: this.id });
  }

  // ---- drafts ----

  /** textOf is the newest text of a file; undefined where there is no draft. */
  textOf(file: string): string | undefined {
    return this.drafts.of(file);
  }

  /** draft keeps a text, here and on the server; the editor says when. */
  draft(file: string, text: string): void {
    this.drafts.wrote(file, text);
    void this.save();
  }

  // What a lost connection kept back is sent with the next draft or connection.
  private async save(): Promise<void> {
    await Promise.all(this.drafts.waiting().map(([file, text]) => this.saveFile(file, text)));
    this.unsaved = this.drafts.waiting().length > 0;
  }

  private async saveFile(file: string, text: string): Promise<void> {
    try {
      await session.client.request({ type: "draft", lab: this.id, file, text });
      this.drafts.sent(file, text);
    } catch (e) {
      if (!(e instanceof RequestError && e.code === "lost")) session.report(e);
    }
  }

  // ---- inside ----

  private async ask(name: string, request: Asked, timeout?: number): Promise<Message<"done"> | null> {
    if (this.busy.includes(name)) return null;
    this.busy = [...this.busy, name];
    try {
      return await session.client.request(request, timeout);
    } catch (e) {
      session.report(e);
      return null;
    } finally {
      this.busy = this.busy.filter((b) => b !== name);
    }
  }
}
