// One terminal on the page: xterm.js between a link and an element.

import { FitAddon } from "@xterm/addon-fit";
import { Terminal, type ITheme } from "@xterm/xterm";
import sheet from "@xterm/xterm/css/xterm.css?inline";
import { browserEnvironment } from "../../net/browser";
import { Styles } from "./adopt";
import { Drawer } from "./drawer";
import { Leave } from "./leave";
import { TerminalLink, type LinkState, type Place, type Socket } from "./link";
import { tooLong } from "./paste";

export interface Reports {
  link(state: LinkState): void;
  /** A paste of this many bytes was refused. */
  refused(bytes: number): void;
  /** The connection went before this many bytes of input did. */
  unsent(bytes: number): void;
  /** Words for bytes that are no longer kept. */
  lost(bytes: number): string;
}

const replay = 500; // ms after the first connection in which old output comes
const offscreen = 250; // ms between slices while the browser makes no pictures

export class Shell {
  private readonly term: Terminal;
  private readonly fitting = new FitAddon();
  private readonly styles = new Styles(document);
  private readonly drawer: Drawer;
  private readonly link: TerminalLink;
  private readonly leave = new Leave(() => performance.now());
  private answers = false; // whether questions of programs are new ones
  private timer = 0;

  constructor(
    private readonly host: HTMLElement,
    place: Place,
    private readonly reports: Reports,
    theme: ITheme,
    fontFamily: string,
  ) {
    this.term = new Terminal({
      fontFamily,
      fontSize: 13,
      lineHeight: 1.25,
      theme,
      scrollback: 5000,
      minimumContrastRatio: 4.5,
      screenReaderMode: true,
      cursorInactiveStyle: "outline",
      linkHandler: { activate: () => {} }, // text of programs leads nowhere
    });
    this.term.loadAddon(this.fitting);
    this.styles.add(sheet);
    this.styles.during(() => this.term.open(host));
    this.drawer = new Drawer(this.term, { now: () => performance.now(), frame }, (bytes) =>
      this.link.drawn(bytes),
    );
    this.fit();
    this.link = new TerminalLink(
      { ...browserEnvironment(), connect },
      place,
      {
        link: (state) => this.linked(state),
        output: (bytes) => this.drawer.push(bytes),
        lost: (bytes) => this.drawer.note(`\r\n\x1b[2m${reports.lost(bytes)}\x1b[0m\r\n`),
        unsent: (bytes) => reports.unsent(bytes),
        reset: () => this.reset(),
      },
      this.term.cols,
      this.term.rows,
    );
    this.term.onData((data) => this.link.input(data));
    this.term.onBinary((data) => this.link.input(Uint8Array.from(data, (c) => c.charCodeAt(0))));
    this.term.onResize(({ cols, rows }) => this.link.size(cols, rows));
    this.term.attachCustomKeyEventHandler((e) => this.key(e));
    host.addEventListener("paste", this.paste, { capture: true });
    this.silenceReplay();
    this.link.open();
  }

  focus(): void {
    this.term.focus();
  }

  /** fit gives the terminal the size of its element, which is seen. */
  fit(): void {
    if (this.host.clientWidth > 0 && this.host.clientHeight > 0) this.fitting.fit();
  }

  theme(theme: ITheme): void {
    this.term.options.theme = theme;
  }

  label(text: string): void {
    this.term.textarea?.setAttribute("aria-label", text);
  }

  retry(): void {
    this.link.retryNow();
  }

  restart(): void {
    this.link.restart();
    this.focus();
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.host.removeEventListener("paste", this.paste, { capture: true });
    this.link.close();
    this.drawer.clear();
    this.term.dispose();
    this.styles.remove();
  }

  private linked(state: LinkState): void {
    this.term.options.disableStdin = state.state !== "open";
    if (state.state === "open" && !this.answers && !this.timer) {
      this.timer = window.setTimeout(() => (this.answers = true), replay);
    }
    this.reports.link(state);
  }

  private reset(): void {
    this.drawer.clear();
    this.term.write("\x1bc"); // in its turn: something may be on its way to the screen
  }

  /**
   * silenceReplay keeps the terminal from answering what programs asked it
   * before this page was there: the answers would be typed into the shell.
   */
  private silenceReplay(): void {
    const { parser } = this.term;
    const old = () => !this.answers;
    parser.registerCsiHandler({ final: "c" }, old);
    parser.registerCsiHandler({ prefix: ">", final: "c" }, old);
    parser.registerCsiHandler({ final: "n" }, old);
    parser.registerCsiHandler({ prefix: "?", final: "n" }, old);
    parser.registerCsiHandler({ intermediates: "$", final: "p" }, old);
    parser.registerCsiHandler({ prefix: "?", intermediates: "$", final: "p" }, old);
    parser.registerDcsHandler({ intermediates: "$", final: "q" }, old);
    for (const ident of [4, 10, 11, 12]) {
      parser.registerOscHandler(ident, (data) => old() && data.includes("?"));
    }
  }

  private key(e: KeyboardEvent): boolean {
    if (e.type !== "keydown") return true;
    if (this.leave.leaves(e.key)) return false; // the browser moves the focus
    if (!e.ctrlKey || !e.shiftKey || e.altKey || e.metaKey) return true;
    switch (e.code) {
      case "KeyC":
        e.preventDefault();
        // Works without a permission and on plain http; xterm.js fills the event.
        if (this.term.hasSelection()) document.execCommand("copy");
        return false;
      case "KeyV":
        return false; // the browser pastes
      case "KeyA":
        e.preventDefault();
        this.term.selectAll();
        return false;
    }
    return true;
  }

  private readonly paste = (e: ClipboardEvent): void => {
    const size = tooLong(e.clipboardData?.getData("text/plain") ?? "");
    if (size === 0) return;
    e.preventDefault();
    e.stopImmediatePropagation();
    this.reports.refused(size);
  };
}

function connect(path: string): Socket {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(`${scheme}//${location.host}${path}`) as Socket;
}

/** frame runs before the next picture; in a hidden tab there is none, and output goes on all the same. */
function frame(run: () => void): () => void {
  const go = () => {
    cancel();
    run();
  };
  const picture = requestAnimationFrame(go);
  const timer = setTimeout(go, offscreen);
  const cancel = () => {
    cancelAnimationFrame(picture);
    clearTimeout(timer);
  };
  return cancel;
}
