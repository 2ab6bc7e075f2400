// What this page knows of experiments: the list, what runs, and results that
// were looked at. The session hands on what the server says.

import { RequestError } from "../net/client";
import {
  deleteRun,
  fetchExperiments,
  fetchRun,
  readResult,
  type Info,
  type Overview,
  type Result,
  type RunBrief,
} from "../net/experiments";
import type { Ended } from "../net/messages";
import { session } from "../ui/session.svelte";

class Experiments {
  overview = $state.raw<Overview | null>(null);
  failure = $state.raw<RequestError | null>(null);
  /** The run that was asked to end and has not yet. */
  cancelling = $state(0);
  /** The run that ended last while this page was open. */
  ended = $state.raw<Result | null>(null);
  /** Raised when claims may have other verdicts. */
  edition = $state(0);
  starting = $state("");

  private readonly kept = new Map<string, Result>();

  /** load reads the list; what runs comes with it, for a page that was just opened. */
  async load(signal?: AbortSignal): Promise<void> {
    session.experiments = (e) => this.receive(e);
    try {
      const o = await fetchExperiments(signal);
      this.overview = o;
      this.failure = null;
      session.progress = o.running;
    } catch (e) {
      if (!signal?.aborted) this.failure = asError(e);
    }
  }

  info(id: string): Info | null {
    return this.overview?.experiments.find((x) => x.id === id) ?? null;
  }

  runs(id: string): RunBrief[] {
    return this.overview?.runs[id] ?? [];
  }

  async result(id: string, run: number, signal?: AbortSignal): Promise<Result> {
    const key = `${id}/${run}`;
    const known = this.kept.get(key);
    if (known) return known;
    const r = await fetchRun(id, run, signal);
    this.keep(r);
    return r;
  }

  async start(id: string, quick: boolean): Promise<boolean> {
    this.starting = id;
    try {
      await session.client.request({ type: "experiment", id, quick }, 60_000);
      this.ended = null;
      return true;
    } catch (e) {
      session.report(e);
      return false;
    } finally {
      this.starting = "";
    }
  }

  async cancel(run: number): Promise<void> {
    this.cancelling = run;
    try {
      await session.client.request({ type: "cancel", run }, 60_000);
    } catch (e) {
      session.report(e);
    } finally {
      this.cancelling = 0;
    }
  }

  async remove(id: string, run: number): Promise<boolean> {
    try {
      await deleteRun(id, run);
    } catch (e) {
      session.report(e);
      return false;
    }
    this.kept.delete(`${id}/${run}`);
    if (this.ended?.run === run) this.ended = null;
    this.edition++;
    await this.load();
    return true;
  }

  private receive(e: Ended): void {
    let r: Result;
    try {
      r = readResult(e.whole);
    } catch (x) {
      session.report(
        new RequestError(
          "unreadable",
          `labserver sent a result this page cannot read: ${(x as Error).message}`,
        ),
      );
      return;
    }
    this.keep(r);
    this.ended = r;
    this.edition++;
    void this.load();
  }

  private keep(r: Result): void {
    if (r.run > 0) this.kept.set(`${r.experiment}/${r.run}`, r);
    const oldest = this.kept.keys().next().value;
    if (this.kept.size > 40 && oldest !== undefined) this.kept.delete(oldest);
  }
}

export function asError(e: unknown): RequestError {
  return e instanceof RequestError ? e : new RequestError("page", e instanceof Error ? e.message : String(e));
}

export const experiments = new Experiments();
