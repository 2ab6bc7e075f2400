// One terminal's websocket, kept open (docs/protocol.md, "Terminal"). Output is
// counted in bytes: after a lost connection the page asks for what follows the
// bytes it has, so that nothing comes twice. Nothing here touches the document.

import { backoff, type Environment as Timers } from "../../net/client";
import { num, or, record, str } from "../../net/shape";

export type LinkState =
  | { state: "connecting" }
  | { state: "open" }
  /** It tries again by itself; `why` is what the server said, if it said anything. */
  | { state: "lost"; attempt: number; retryAt: number; why: string }
  /** The server does not know this page. */
  | { state: "refused" }
  /** The server will not give this terminal, and says why. */
  | { state: "failed"; code: string; message: string; fix: string }
  | { state: "ended"; how: string };

/** Socket is what the link needs of a WebSocket. */
export interface Socket {
  binaryType: BinaryType;
  readonly bufferedAmount: number;
  onopen: (() => void) | null;
  onmessage: ((e: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(): void;
}

export interface Environment extends Omit<Timers, "connect"> {
  connect(path: string): Socket;
}

/** Screen is where the output goes. */
export interface Screen {
  link(state: LinkState): void;
  /** output is to be drawn in order; `drawn` is told of it later. */
  output(bytes: Uint8Array<ArrayBuffer>): void;
  /** lost says that n bytes before the next output are gone. */
  lost(n: number): void;
  /** unsent says that the last n bytes of input did not leave: the connection did. */
  unsent(n: number): void;
  /** reset forgets what was drawn and what waits to be: another terminal begins. */
  reset(): void;
}

export interface Place {
  lab: string;
  learner: string;
  n: number;
}

export const mostInput = 16 * 1024; // bytes of a message
const highWater = 64 * 1024; // bytes that the socket may hold
const pumpEvery = 20; // ms
const ackEvery = 16 * 1024; // bytes

const encoder = new TextEncoder();

/** passing are failures that go by themselves: the lab is about to be opened again. */
const passing = new Set(["not_found", "gone"]);

export class TerminalLink {
  private socket: Socket | null = null;
  private opened = false; // the server has said from where on it sends
  private wasUp = false; // the socket of this attempt has been open
  private attempt = 0;
  private cancelRetry: (() => void) | null = null;
  private cancelPump: (() => void) | null = null;
  private closed = false;
  private over = false; // ended or failed: nothing more comes
  private why = "";
  /** Bytes of the terminal that this page has, drawn or not. */
  private received = 0;
  private drawnTo = 0;
  /** Never below what the server has been told on this connection. */
  private acked = 0;
  private outbox: Uint8Array<ArrayBuffer>[] = [];

  constructor(
    private readonly env: Environment,
    private readonly place: Place,
    private readonly screen: Screen,
    private cols = 80,
    private rows = 24,
  ) {}

  open(): void {
    this.closed = false;
    this.dial();
  }

  close(): void {
    this.closed = true;
    this.cancelRetry?.();
    this.stopPump();
    this.socket?.close();
  }

  /** retryNow skips the rest of the back-off; after a failure it tries again. */
  retryNow(): void {
    if (this.closed || this.socket) return;
    this.over = false;
    this.cancelRetry?.();
    this.dial();
  }

  /** restart asks for a new terminal in the place of one that has ended. */
  restart(): void {
    if (!this.over) return;
    this.begin(0);
    this.attempt = 0;
    this.retryNow();
  }

  size(cols: number, rows: number): void {
    if (cols === this.cols && rows === this.rows) return;
    this.cols = cols;
    this.rows = rows;
    if (this.opened) this.tell({ type: "size", cols, rows });
  }

  /** drawn counts output that can be seen now; the server sends as much more. */
  drawn(n: number): void {
    this.drawnTo += n;
    this.ack();
  }

  /** input goes to the terminal. It says false while there is none to take it. */
  input(data: string | Uint8Array<ArrayBuffer>): boolean {
    if (!this.opened) return false;
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    for (let i = 0; i < bytes.length; i += mostInput) this.outbox.push(bytes.subarray(i, i + mostInput));
    if (!this.cancelPump) this.pump();
    return true;
  }

  /** waiting is the number of bytes of input that are still here. */
  get waiting(): number {
    return this.outbox.reduce((n, b) => n + b.length, 0);
  }

  private pump(): void {
    this.cancelPump = null;
    while (this.outbox.length > 0) {
      if (!this.socket || !this.opened) return;
      if (this.socket.bufferedAmount >= highWater) {
        this.cancelPump = this.env.after(pumpEvery, () => this.pump());
        return;
      }
      this.socket.send(this.outbox.shift()!);
    }
  }

  private stopPump(): void {
    this.cancelPump?.();
    this.cancelPump = null;
    const { waiting } = this;
    this.outbox = [];
    if (waiting > 0 && !this.closed) this.screen.unsent(waiting);
  }

  private tell(message: object): void {
    this.socket?.send(JSON.stringify(message));
  }

  private ack(): void {
    if (!this.opened || this.drawnTo <= this.acked) return;
    if (this.drawnTo - this.acked < ackEvery && this.drawnTo < this.received) return; // more is being drawn
    this.acked = this.drawnTo;
    this.tell({ type: "ack", at: this.drawnTo });
  }

  private begin(at: number): void {
    this.received = this.drawnTo = at;
    this.screen.reset();
  }

  private dial(): void {
    if (this.attempt === 0) this.screen.link({ state: "connecting" });
    const { lab, learner, n } = this.place;
    const query = new URLSearchParams({
      lab,
      learner,
      n: String(n),
      at: String(this.received),
      cols: String(this.cols),
      rows: String(this.rows),
    });
    const [cols, rows] = [this.cols, this.rows];
    const socket = this.env.connect(`/ws/terminal?${query}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => (this.wasUp = true);
    socket.onmessage = (e) => {
      if (this.socket !== socket) return;
      if (e.data instanceof ArrayBuffer) this.take(new Uint8Array(e.data));
      else this.read(String(e.data), cols, rows);
    };
    socket.onclose = () => {
      if (this.socket === socket) void this.dropped();
    };
    this.socket = socket;
    this.wasUp = false;
    this.why = "";
  }

  private take(bytes: Uint8Array<ArrayBuffer>): void {
    if (!this.opened || bytes.length === 0) return;
    this.received += bytes.length;
    this.screen.output(bytes);
  }

  private read(text: string, cols: number, rows: number): void {
    let m: Record<string, unknown>;
    try {
      m = record(JSON.parse(text), "message");
      switch (m["type"]) {
        case "opened":
          this.start(num(m["at"], "opened.at"), or(num, 0)(m["lost"], "opened.lost"), cols, rows);
          break;
        case "ended":
          this.finish({ state: "ended", how: or(str, "")(m["how"], "ended.how") });
          break;
        case "error":
          this.fail(
            or(str, "failed")(m["code"], "error.code"),
            str(m["message"], "error.message"),
            or(str, "")(m["fix"], "error.fix"),
          );
          break;
      }
    } catch (e) {
      this.finish({ state: "failed", code: "unreadable", message: (e as Error).message, fix: "" });
    }
  }

  /** start is the server saying at which byte the next output stands. */
  private start(at: number, lost: number, cols: number, rows: number): void {
    let gap = at - this.received;
    if (gap < 0) {
      // What this page has is more than there is: the terminal it knew is gone.
      this.begin(at);
      gap = lost;
    }
    if (gap > 0) this.screen.lost(gap);
    this.drawnTo += at - this.received; // nobody will draw what is lost
    this.received = at;
    if (this.opened) return; // said again, because output was lost on the way
    this.acked = at;
    this.opened = true;
    this.attempt = 0;
    this.screen.link({ state: "open" });
    if (cols !== this.cols || rows !== this.rows) {
      this.tell({ type: "size", cols: this.cols, rows: this.rows });
    }
  }

  private fail(code: string, message: string, fix: string): void {
    this.why = message;
    if (passing.has(code)) return; // the connection is closed next, and tried again
    this.finish({ state: "failed", code, message, fix });
  }

  private finish(state: LinkState): void {
    const socket = this.socket;
    this.socket = null;
    this.over = true;
    this.opened = false;
    this.stopPump();
    socket?.close();
    this.screen.link(state);
  }

  private async dropped(): Promise<void> {
    const wasUp = this.wasUp;
    this.socket = null;
    this.opened = false;
    this.stopPump();
    if (this.closed || this.over) return;
    this.attempt++;
    const delay = backoff(this.attempt, this.env.random());
    this.screen.link({
      state: "lost",
      attempt: this.attempt,
      retryAt: this.env.now() + delay,
      why: this.why,
    });
    this.cancelRetry = this.env.after(delay, () => {
      this.cancelRetry = null;
      this.dial();
    });
    if (wasUp || !(await this.env.refused())) return;
    if (this.opened || this.closed || !this.cancelRetry) return;
    this.cancelRetry();
    this.cancelRetry = null;
    this.screen.link({ state: "refused" });
  }
}
