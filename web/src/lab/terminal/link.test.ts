import { describe, expect, it } from "vitest";
import { mostInput, TerminalLink, type LinkState, type Socket } from "./link";

class FakeSocket implements Socket {
  binaryType: BinaryType = "blob";
  bufferedAmount = 0;
  onopen: (() => void) | null = null;
  onmessage: ((e: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  readonly texts: Record<string, unknown>[] = [];
  readonly binary: Uint8Array[] = [];
  closed = false;
  constructor(readonly query: URLSearchParams) {}
  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (typeof data === "string") this.texts.push(JSON.parse(data) as Record<string, unknown>);
    else this.binary.push(data);
  }
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.onclose?.();
  }
  say(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  opened(at = 0, lost = 0): void {
    this.onopen?.();
    this.say({ type: "opened", n: 1, at, lost });
  }
  print(text: string): void {
    this.onmessage?.({ data: new TextEncoder().encode(text).buffer });
  }
}

/** A link whose screen draws when the test says so. */
function setup(refused = false) {
  const sockets: FakeSocket[] = [];
  const timers: { at: number; run: () => void; live: boolean }[] = [];
  const states: LinkState[] = [];
  const unsent: number[] = [];
  let seen = "";
  let queue: Uint8Array[] = [];
  let now = 0;
  const link = new TerminalLink(
    {
      connect(path) {
        const s = new FakeSocket(new URL(path, "ws://host").searchParams);
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
    { lab: "epoll-growing", learner: "me", n: 2 },
    {
      link: (s) => states.push(s),
      output: (b) => queue.push(b),
      lost: (n) => (seen += `[lost ${n}]`),
      unsent: (n) => unsent.push(n),
      reset: () => {
        seen = "";
        queue = [];
      },
    },
    100,
    30,
  );
  const advance = (ms: number) => {
    now += ms;
    for (const t of timers.filter((t) => t.live && t.at <= now)) {
      t.live = false;
      t.run();
    }
  };
  const draw = () => {
    const all = queue;
    queue = [];
    for (const b of all) {
      seen += new TextDecoder().decode(b);
      link.drawn(b.length);
    }
  };
  const last = () => sockets[sockets.length - 1]!;
  link.open();
  return {
    link,
    sockets,
    last,
    states,
    unsent,
    advance,
    draw,
    seen: () => seen,
    state: () => states.at(-1)!,
  };
}

const acks = (s: FakeSocket) => s.texts.filter((m) => m["type"] === "ack").map((m) => m["at"]);

describe("a terminal's link", () => {
  it("asks for its terminal, from the start and in its size", () => {
    const t = setup();
    expect(Object.fromEntries(t.last().query)).toEqual({
      lab: "epoll-growing",
      learner: "me",
      n: "2",
      at: "0",
      cols: "100",
      rows: "30",
    });
    expect(t.state()).toEqual({ state: "connecting" });
    t.last().opened();
    expect(t.state()).toEqual({ state: "open" });
  });

  it("acknowledges what is drawn, not what has come", () => {
    const t = setup();
    t.last().opened();
    t.last().print("hello");
    expect(acks(t.last())).toEqual([]);
    t.draw();
    expect(acks(t.last())).toEqual([5]);
  });

  it("acknowledges in steps while more waits to be drawn", () => {
    const t = setup();
    t.last().opened();
    t.last().print("x".repeat(40_000));
    t.link.drawn(10_000);
    expect(acks(t.last())).toEqual([]);
    t.link.drawn(10_000);
    expect(acks(t.last())).toEqual([20_000]);
    t.link.drawn(20_000);
    expect(acks(t.last())).toEqual([20_000, 40_000]);
  });

  it("comes back for what follows the bytes it has, drawn or not, and doubles nothing", () => {
    const t = setup();
    t.last().opened();
    t.last().print("one ");
    t.draw();
    t.last().print("two ");
    t.last().close();
    expect(t.state()).toMatchObject({ state: "lost", attempt: 1 });
    t.advance(125);
    expect(t.last().query.get("at")).toBe("8");
    t.last().opened(8);
    t.draw();
    expect(acks(t.last())).toEqual([]); // the server began there: it knows
    t.last().print("three");
    t.draw();
    expect(t.seen()).toBe("one two three");
    expect(acks(t.last())).toEqual([13]);
  });

  it("ignores what still comes from a socket that it gave up", () => {
    const t = setup();
    const old = t.last();
    old.opened();
    old.print("a");
    old.close();
    t.advance(125);
    t.last().opened(1);
    old.print("stale");
    t.last().print("b");
    t.draw();
    expect(t.seen()).toBe("ab");
  });

  it("says what is lost when the server no longer keeps all, and counts it as drawn", () => {
    const t = setup();
    t.last().opened();
    t.last().print("12345");
    t.draw();
    t.last().close();
    t.advance(125);
    t.last().opened(1005, 1000);
    t.last().print("end");
    t.draw();
    expect(t.seen()).toBe("12345[lost 1000]end");
    expect(acks(t.last())).toEqual([1008]);
  });

  it("takes a gap in the middle of a connection", () => {
    const t = setup();
    t.last().opened();
    t.last().print("12345");
    t.draw();
    t.last().say({ type: "opened", n: 2, at: 15, lost: 10 });
    t.last().print("end");
    t.draw();
    expect(t.seen()).toBe("12345[lost 10]end");
    expect(acks(t.last())).toEqual([5, 18]);
    expect(t.states.filter((s) => s.state === "open")).toHaveLength(1);
  });

  it("begins anew when the server's terminal is younger than what it has", () => {
    const t = setup();
    t.last().opened();
    t.last().print("of the old shell");
    t.draw();
    t.last().close();
    t.advance(125);
    t.last().opened(0);
    t.last().print("new");
    t.draw();
    expect(t.seen()).toBe("new");
    expect(acks(t.last())).toEqual([3]);
  });

  it("waits longer with every attempt, and not for a learner who asks", () => {
    const t = setup();
    t.last().close();
    t.advance(125);
    t.last().close();
    expect(t.state()).toMatchObject({ state: "lost", attempt: 2, retryAt: 125 + 250 });
    t.advance(249);
    expect(t.sockets).toHaveLength(2);
    t.link.retryNow();
    expect(t.sockets).toHaveLength(3);
    t.advance(60_000);
    expect(t.sockets).toHaveLength(3); // the timer is gone
  });

  it("stops when the server does not know this page", async () => {
    const t = setup(true);
    t.last().close();
    await Promise.resolve();
    await Promise.resolve();
    expect(t.state()).toEqual({ state: "refused" });
    t.advance(60_000);
    expect(t.sockets).toHaveLength(1);
  });

  it("says why there is no terminal, and tries again only when told", () => {
    const t = setup();
    t.last().onopen?.();
    t.last().say({ type: "error", code: "terminal_off", message: "terminals are off", fix: "start with …" });
    expect(t.state()).toEqual({
      state: "failed",
      code: "terminal_off",
      message: "terminals are off",
      fix: "start with …",
    });
    t.advance(60_000);
    expect(t.sockets).toHaveLength(1);
    t.link.retryNow();
    expect(t.sockets).toHaveLength(2);
  });

  it("tries again by itself while the lab is being opened, and says why", () => {
    const t = setup();
    t.last().onopen?.();
    t.last().say({ type: "error", code: "not_found", message: "lab x is not open" });
    t.last().close();
    expect(t.state()).toMatchObject({ state: "lost", why: "lab x is not open" });
    t.advance(125);
    expect(t.sockets).toHaveLength(2);
  });

  it("ends with the shell, and starts a new one from its first byte", () => {
    const t = setup();
    t.last().opened();
    t.last().print("exit\r\n");
    t.draw();
    t.last().say({ type: "ended", how: "exit status 0" });
    expect(t.state()).toEqual({ state: "ended", how: "exit status 0" });
    expect(t.last().closed).toBe(true);
    expect(t.link.input("x")).toBe(false);
    t.advance(60_000);
    expect(t.sockets).toHaveLength(1);
    t.link.restart();
    expect(t.last().query.get("at")).toBe("0");
    expect(t.seen()).toBe("");
  });

  it("reports a message that it cannot read", () => {
    const t = setup();
    t.last().onopen?.();
    t.last().say({ type: "opened", n: 1 });
    expect(t.state()).toMatchObject({ state: "failed", code: "unreadable" });
    expect(t.last().closed).toBe(true);
  });

  it("tells the size when it changes, and when it changed while connecting", () => {
    const t = setup();
    t.link.size(120, 40);
    expect(t.last().texts).toEqual([]);
    t.last().opened();
    t.link.size(120, 40);
    t.link.size(80, 24);
    expect(t.last().texts).toEqual([
      { type: "size", cols: 120, rows: 40 },
      { type: "size", cols: 80, rows: 24 },
    ]);
  });

  it("does not come back once closed", () => {
    const t = setup();
    t.last().opened();
    t.link.close();
    t.advance(60_000);
    expect(t.sockets).toHaveLength(1);
  });
});

describe("input", () => {
  it("is sent as UTF-8", () => {
    const t = setup();
    t.last().opened();
    t.link.input("é\r");
    expect(t.last().binary.map((b) => [...b])).toEqual([[0xc3, 0xa9, 13]]);
  });

  it("is split, paced by what the socket still holds, and arrives whole", () => {
    const t = setup();
    t.last().opened();
    const text = Array.from({ length: 20_000 }, (_, i) => `${i}\n`).join("");
    t.last().bufferedAmount = 64 * 1024;
    expect(t.link.input(text)).toBe(true);
    expect(t.last().binary).toEqual([]);
    expect(t.link.waiting).toBe(text.length);
    t.last().bufferedAmount = 0;
    t.advance(20);
    expect(t.link.waiting).toBe(0);
    expect(Math.max(...t.last().binary.map((b) => b.length))).toBe(mostInput);
    expect(
      t
        .last()
        .binary.map((b) => new TextDecoder().decode(b))
        .join(""),
    ).toBe(text);
  });

  it("keeps its order when keys are pressed while a paste waits", () => {
    const t = setup();
    t.last().opened();
    t.last().bufferedAmount = 1 << 20;
    t.link.input("paste");
    t.link.input("key");
    t.last().bufferedAmount = 0;
    t.advance(20);
    expect(t.last().binary.map((b) => new TextDecoder().decode(b))).toEqual(["paste", "key"]);
  });

  it("is not kept for another connection", () => {
    const t = setup();
    expect(t.link.input("early")).toBe(false);
    t.last().opened();
    t.last().bufferedAmount = 1 << 20;
    t.link.input("rm -r ");
    t.last().close();
    t.advance(125);
    t.last().opened();
    t.advance(1000);
    expect(t.last().binary).toEqual([]);
    expect(t.unsent).toEqual(["rm -r ".length]);
  });
});
