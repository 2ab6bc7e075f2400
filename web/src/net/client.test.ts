import { describe, expect, it } from "vitest";
import type { RequestError } from "./client";
import { backoff, Client, type Link, type Socket } from "./client";
import type { ServerMessage } from "./messages";

class FakeSocket implements Socket {
  binaryType: BinaryType = "blob";
  onopen: (() => void) | null = null;
  onmessage: ((e: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  sent: Record<string, unknown>[] = [];
  send(data: string): void {
    this.sent.push(JSON.parse(data) as Record<string, unknown>);
  }
  close(): void {
    this.onclose?.();
  }
  say(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
}

function setup(refused = false) {
  const sockets: FakeSocket[] = [];
  const timers: { at: number; run: () => void; live: boolean }[] = [];
  const links: Link[] = [];
  const messages: ServerMessage[] = [];
  const frames: ArrayBuffer[] = [];
  const failures: RequestError[] = [];
  let now = 0;
  const client = new Client(
    {
      connect() {
        const s = new FakeSocket();
        sockets.push(s);
        return s;
      },
      refused: () => Promise.resolve(refused),
      now: () => now,
      random: () => 0,
      after(ms, run) {
        const t = { at: now + ms, run, live: true };
        timers.push(t);
        return () => (t.live = false);
      },
    },
    {
      link: (l) => links.push(l),
      message: (m) => messages.push(m),
      frame: (f) => frames.push(f),
      failed: (e) => failures.push(e),
    },
  );
  const advance = (ms: number) => {
    now += ms;
    for (const t of timers.filter((t) => t.live && t.at <= now)) {
      t.live = false;
      t.run();
    }
  };
  const last = () => sockets[sockets.length - 1]!;
  client.open();
  return { client, sockets, last, links, messages, frames, failures, advance };
}

const all = { lo: 0, hi: 0, px: 0 };

describe("backoff", () => {
  it("doubles to a ceiling and stays in its upper half", () => {
    expect(backoff(1, 0)).toBe(125);
    expect(backoff(1, 0.999)).toBeLessThan(250);
    expect(backoff(3, 0)).toBe(500);
    expect(backoff(30, 0)).toBe(4000);
    expect(backoff(30, 0.999)).toBeLessThan(8000);
  });
});

describe("client", () => {
  it("asks again for all it wanted after a reconnect", () => {
    const t = setup();
    t.last().onopen?.();
    t.client.targets(true);
    t.client.watch("epoll/1:3", all);
    t.client.watch("epoll/1:4", all);
    t.client.unwatch("epoll/1:4");
    t.client.attach("puppet-1");
    t.client.attach("puppet-2");
    t.last().close();
    expect(t.links.at(-1)).toEqual({ state: "lost", attempt: 1, retryAt: 125 });
    t.advance(124);
    expect(t.sockets).toHaveLength(1);
    t.advance(1);
    expect(t.sockets).toHaveLength(2);
    t.last().onopen?.();
    t.last().say({ type: "workloads", workloads: [{ id: "puppet-1", name: "puppet", running: true }] });
    t.last().say({ type: "workloads", workloads: [{ id: "puppet-2", name: "puppet", running: true }] });
    expect(t.last().sent.map((m) => [m["type"], m["topic"] ?? m["id"] ?? m["on"]])).toEqual([
      ["targets", true],
      ["watch", "epoll/1:3"],
      ["attach", "puppet-1"],
    ]);
  });

  it("remembers what was asked before the connection stood", () => {
    const t = setup();
    t.client.watch("epoll/1:3", all, 10);
    expect(t.last().sent).toEqual([]);
    t.last().onopen?.();
    expect(t.last().sent).toEqual([{ type: "watch", topic: "epoll/1:3", view: all, rate: 10 }]);
  });

  it("sends a watch again only when its view or rate changed", () => {
    const t = setup();
    t.last().onopen?.();
    t.client.watch("epoll/1:3", all);
    t.client.watch("epoll/1:3", { ...all });
    t.client.watch("epoll/1:3", { ...all, px: 800 });
    expect(t.last().sent).toHaveLength(2);
  });

  it("stops watching while hidden and asks a key frame on return", () => {
    const t = setup();
    t.last().onopen?.();
    t.client.targets(true);
    t.client.watch("epoll/1:3", all);
    t.client.visible(false);
    t.client.visible(false);
    t.client.watch("epoll/1:3", { ...all, px: 640 });
    t.client.visible(true);
    expect(t.last().sent.map((m) => m["type"])).toEqual([
      "targets",
      "watch",
      "targets",
      "unwatch",
      "targets",
      "watch",
      "key",
    ]);
    expect(t.last().sent[5]!["view"]).toEqual({ ...all, px: 640 });
  });

  it("matches an answer to its request by ref", async () => {
    const t = setup();
    t.last().onopen?.();
    const a = t.client.request({ type: "do", id: "p", action: { op: "cycle" } });
    const b = t.client.request({ type: "do", id: "p", action: { op: "dup", fd: 5 } });
    const [refA, refB] = t.last().sent.map((m) => m["ref"]);
    t.last().say({ type: "done", ref: refB, id: "p", result: { seqs: [2], fds: [6] } });
    t.last().say({
      type: "error",
      ref: refA,
      code: "workload.gone",
      message: "puppet ended",
      fix: "start one",
    });
    expect((await b).result).toMatchObject({ seqs: [2], fds: [6] });
    await expect(a).rejects.toMatchObject({
      code: "workload.gone",
      message: "puppet ended",
      fix: "start one",
    });
    expect(t.messages).toEqual([]);
  });

  it("rejects on timeout, on loss and when there is no connection", async () => {
    const t = setup();
    await expect(t.client.request({ type: "start", workload: "puppet" })).rejects.toMatchObject({
      code: "lost",
    });
    t.last().onopen?.();
    const slow = t.client.request({ type: "start", workload: "puppet" }, 1000);
    t.advance(1000);
    await expect(slow).rejects.toMatchObject({ code: "timeout" });
    const cut = t.client.request({ type: "start", workload: "puppet" });
    t.last().close();
    await expect(cut).rejects.toMatchObject({ code: "lost" });
  });

  const state = { attempt: 1, steps: [], values: ["4"] };

  it("follows a lab, and opens it again after a reconnect, hidden or not", async () => {
    const t = setup();
    t.client.lab("growing", "me");
    expect(t.last().sent).toEqual([]);
    t.last().onopen?.();
    expect(t.last().sent).toEqual([{ type: "lab", ref: 1, lab: "growing", learner: "me" }]);
    t.last().say({ type: "lab", ref: 1, lab: "growing", state });
    await Promise.resolve();
    t.last().say({ type: "lab", lab: "growing", state: { ...state, values: ["5"] } });
    expect(t.messages.map((m) => m.type === "lab" && m.state.values)).toEqual([["4"], ["5"]]);
    t.client.visible(false);
    t.last().close();
    t.advance(200);
    t.last().onopen?.();
    expect(t.last().sent).toEqual([{ type: "lab", ref: 2, lab: "growing", learner: "me" }]);
    t.client.leave("growing");
    t.client.leave("growing");
    expect(t.last().sent.slice(1)).toEqual([{ type: "leave", lab: "growing" }]);
    t.last().say({ type: "lab", ref: 2, lab: "growing", state });
    await Promise.resolve();
    expect(t.messages).toHaveLength(2);
  });

  it("says of which lab it was that it could not be opened; a lost connection is no failure", async () => {
    const t = setup();
    t.last().onopen?.();
    t.client.lab("growing", "me");
    t.last().close();
    await Promise.resolve();
    t.advance(200);
    t.last().onopen?.();
    t.last().say({ type: "error", ref: 2, code: "missing", message: "no bpf", fix: "run as root" });
    await Promise.resolve();
    await Promise.resolve();
    expect(t.failures).toEqual([
      expect.objectContaining({ code: "missing", fix: "run as root", lab: "growing" }),
    ]);
  });

  it("takes done for the answer to what is asked of a lab", async () => {
    const t = setup();
    t.last().onopen?.();
    const act = t.client.request({ type: "act", lab: "growing", action: "node" });
    t.last().say({ type: "done", ref: 1, result: { fd: 7 } });
    expect((await act).result.fd).toBe(7);
  });

  it("stops trying when the server does not know this page", async () => {
    const t = setup(true);
    t.last().close();
    await Promise.resolve();
    await Promise.resolve();
    expect(t.links.at(-1)).toEqual({ state: "refused" });
    t.advance(60_000);
    expect(t.sockets).toHaveLength(1);
    t.client.retryNow();
    expect(t.sockets).toHaveLength(2);
  });

  it("hands on frames, stray errors and what it cannot read", () => {
    const t = setup();
    t.last().onopen?.();
    const frame = new ArrayBuffer(32);
    t.last().onmessage?.({ data: frame });
    t.last().say({ type: "error", code: "watch.failed", message: "no such fd" });
    t.last().say({ type: "gone", id: 3 });
    t.last().say({ type: "from-the-future", x: 1 });
    expect(t.frames).toEqual([frame]);
    expect(t.failures.map((f) => f.code)).toEqual(["watch.failed", "unreadable"]);
    expect(t.failures[1]!.message).toContain("gone.topic");
  });
});
