// Starts the real labserver and a real Chromium. Nothing is simulated: the
// puppet makes system calls, and the tests read the scene that the page drew
// and what `labserver show` reads from the kernel.

import { execFile, spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium, type Browser, type Page } from "playwright-core";
import type { EpollModel, Scene } from "../src/core";
import type { Action } from "../src/net/messages";

const labserver = process.env["LABSERVER"] ?? fileURLToPath(new URL("../../bin/labserver", import.meta.url));
const chromiumPath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

export const scratch = mkdtempSync(join(tmpdir(), "kernelviz-e2e-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));

export interface Server {
  url: string; // with the token
  viewerUrl: string; // for those who only look; "" unless asked for
  origin: string;
  port: number;
  log: () => string;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export async function startServer(
  options: { port?: number; tokenFile?: string; viewers?: boolean; db?: string } = {},
): Promise<Server> {
  if (!existsSync(labserver)) throw new Error(`${labserver} is missing: run "make bin/labserver"`);
  const port = options.port ?? (await freePort());
  const db = options.db ?? join(scratch, `progress-${port}.db`);
  const args = ["serve", "--addr", `127.0.0.1:${port}`, "--db", db];
  if (options.tokenFile) args.push("--token-file", options.tokenFile);
  if (options.viewers) args.push("--viewer-token");
  const child = spawn(labserver, args, { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stderr.on("data", (d: Buffer) => (log += d.toString()));
  let out = "";
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on("data", (d: Buffer) => {
      out += d.toString();
      const m = /^Open (\S+)$/m.exec(out);
      if (m && (!options.viewers || /^Viewers open \S+$/m.test(out))) resolve(m[1]!);
    });
    child.once("error", reject);
    child.once("exit", (code) =>
      reject(new Error(`labserver ended with ${code} before it printed its URL:\n${log}`)),
    );
  });
  return {
    url,
    viewerUrl: /^Viewers open (\S+)$/m.exec(out)?.[1] ?? "",
    origin: new URL(url).origin,
    port,
    log: () => log,
    stop: (signal = "SIGTERM") => end(child, signal),
  };
}

function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill(signal);
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: chromiumPath,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** Opens a page of its own context, signed in; errors of the page fail the test that asks for them. */
export async function openPage(
  browser: Browser,
  server: Server,
  options: { width?: number; height?: number; dark?: boolean } = {},
): Promise<{ page: Page; errors: string[] }> {
  const context = await browser.newContext({
    viewport: { width: options.width ?? 1280, height: options.height ?? 800 },
    colorScheme: options.dark ? "dark" : "light",
    locale: "en-GB",
  });
  const page = await context.newPage();
  const errors: string[] = [];
  page.on("pageerror", (e) => errors.push(e.message));
  await page.goto(server.url);
  return { page, errors };
}

/** Polls until `read` gives something that `accept` takes. */
export async function until<T>(
  what: string,
  read: () => Promise<T>,
  accept: (value: T) => boolean = Boolean,
  timeout = 30_000, // other work may keep the machine busy
): Promise<T> {
  const deadline = Date.now() + timeout;
  for (;;) {
    const value = await read();
    if (accept(value)) return value;
    if (Date.now() > deadline) {
      throw new Error(
        `${what}: not within ${timeout / 1000} s; last seen ${JSON.stringify(value)?.slice(0, 2000)}`,
      );
    }
    await new Promise((r) => setTimeout(r, 50));
  }
}

/** What a test needs of the scene and the model, as plain values. */
export interface Seen {
  mode: string;
  sequence: number;
  items: number;
  focused: number; // fd with the focus ring, -1 if none
  nodes: SeenNode[]; // as drawn, left to right
  edges: [number, number][]; // fds, parent to child, by the ends of the drawn lines
  pills: { fd: number; list: string }[];
  threads: { tid: number; label: string; exclusive: boolean }[];
  orphans: number[];
  stubs: { fd: number; instance: number }[];
}

export interface SeenNode {
  fd: number;
  x: number;
  y: number;
  colour: string;
  ready: boolean;
  events: number;
}

export function seen(page: Page): Promise<Seen | null> {
  return page.evaluate(() => {
    const hook = (window as unknown as { __kernelviz?: Hook }).__kernelviz;
    const scene = hook?.scene();
    if (!hook || !scene) return null;
    const model = hook.model();
    const fd = (id: number) => model.nodes.get(id)?.fd ?? -1;
    const at = (x: number, y: number) =>
      scene.nodes.find((n) => Math.abs(n.x - x) < 1 && Math.abs(n.y - y) < n.r + 2)?.id ?? 0;
    const dashed = scene.rings.find((r) => r.dash);
    return {
      mode: hook.mode(),
      sequence: model.sequence,
      items: model.items,
      focused: dashed ? fd(dashed.id) : -1,
      nodes: scene.nodes
        .filter((n) => n.alpha > 0.99)
        .map((n) => ({
          fd: fd(n.id),
          x: n.x,
          y: n.y,
          colour: n.tone as string,
          ready: scene.pills.some((p) => p.id === n.id && p.list === "ready"),
          events: model.nodes.get(n.id)?.events ?? 0,
        }))
        .sort((a, b) => a.x - b.x),
      edges: scene.edges
        .filter((e) => e.alpha > 0.99)
        .map((e): [number, number] => [fd(at(e.x1, e.y1)), fd(e.id)]),
      pills: scene.pills.filter((p) => p.alpha > 0.99).map((p) => ({ fd: fd(p.id), list: p.list as string })),
      threads: scene.threads.map((t) => ({ tid: t.tid, label: t.label, exclusive: t.exclusive })),
      orphans: scene.marks.filter((m) => m.sign === "orphan").map((m) => fd(m.id)),
      stubs: scene.stubs.map((s) => ({ fd: fd(s.id), instance: s.instance })),
    };
    interface Hook {
      scene(): Scene | null;
      model(): EpollModel;
      mode(): string;
    }
  });
}

/** Waits until the picture shown satisfies the test. */
export function picture(
  page: Page,
  what: string,
  accept: (s: Seen) => boolean,
  timeout?: number,
): Promise<Seen> {
  return until(
    what,
    () => seen(page),
    (s) => s !== null && accept(s),
    timeout,
  ) as Promise<Seen>;
}

/** What the kernel says, read apart from the page. */
export interface Shown {
  items: number;
  nodes: {
    fd: number;
    colour: string;
    depth: number;
    parent: number;
    events: string;
    mask: number;
    ready: boolean;
  }[];
  ready: number[] | null;
  waiters: { tid: number }[] | null;
}

export async function show(topic: string): Promise<Shown> {
  const name = topic.replace("epoll/", "");
  const { stdout } = await promisify(execFile)(labserver, ["show", "epoll", name, "--json"]);
  return JSON.parse(stdout) as Shown;
}

/** Starts a puppet with the page's own button, and returns what it drives. */
export async function startPuppet(page: Page): Promise<{ topic: string; epfd: number; pid: number }> {
  await page.getByRole("button", { name: "Start a puppet" }).click();
  await page.waitForURL(/#\/epoll\/\d+:\d+/);
  const m = /epoll\/(\d+):(\d+)/.exec(page.url());
  if (!m) throw new Error(`no topic in ${page.url()}`);
  await page.getByRole("region", { name: "Puppet" }).waitFor();
  return { topic: m[0], pid: Number(m[1]), epfd: Number(m[2]) };
}

/** Presses a button of the puppet's fd in the list of descriptors. */
export async function actOn(page: Page, fd: number, button: string): Promise<void> {
  const panel = page.getByRole("region", { name: "Puppet" });
  const open = panel.locator(`.actions[data-fd="${fd}"]`);
  if (!(await open.isVisible())) {
    await panel.getByRole("searchbox").fill(String(fd));
    await panel.locator("button.line", { has: page.locator(`b:text-is("${fd}")`) }).click();
  }
  await open.getByRole("button", { name: button, exact: true }).click();
  await panel.getByRole("searchbox").fill("");
}

/** Adds n files of a kind with the panel. */
export async function add(page: Page, n: number, kind = "eventfd"): Promise<void> {
  const panel = page.getByRole("region", { name: "Puppet" });
  await panel.getByLabel("How many").fill(String(n));
  await panel.getByLabel("Kind of file").selectOption(kind);
  await panel.getByRole("button", { name: /^Add / }).click();
}

/** The log's lines, as text. */
export async function calls(page: Page): Promise<string[]> {
  return (await page.locator(".call .text").allTextContents()).map((s) => s.replace(/\s+/g, " ").trim());
}

export type { Action };
