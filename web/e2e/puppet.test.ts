import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import type { Scene } from "../src/core";
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from "vitest";
import {
  actOn,
  add,
  calls,
  launch,
  openPage,
  picture,
  show,
  startPuppet,
  startServer,
  until,
  type Seen,
  type Server,
  type Shown,
} from "./harness";

let server: Server;
let browser: Browser;
let page: Page;
let errors: string[];
let topic: string;
let epfd: number;
let pid: number;

beforeAll(async () => {
  [server, browser] = await Promise.all([startServer(), launch()]);
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

beforeEach(async () => {
  ({ page, errors } = await openPage(browser, server));
  ({ topic, epfd, pid } = await startPuppet(page));
  await picture(page, "the first frame", (s) => s.sequence > 0);
});
afterEach(async () => {
  await page.getByRole("button", { name: "Stop" }).click();
  await page.locator(".notice", { hasText: "This instance is gone" }).waitFor();
  await page.context().close();
  expect(errors).toEqual([]);
});

const fds = (s: Seen) => s.nodes.map((n) => n.fd);
const links = (s: Shown) =>
  s.nodes
    .filter((n) => n.parent >= 0)
    .map((n): [number, number] => [n.parent, n.fd])
    .sort(byBoth);
const byBoth = (a: [number, number], b: [number, number]) => a[0] - b[0] || a[1] - b[1];

describe("the puppet and the picture of it", () => {
  it("begins empty, and says what will come", async () => {
    await page.getByRole("heading", { name: "An empty instance" }).waitFor();
    expect((await picture(page, "empty", (s) => s.items === 0)).nodes).toEqual([]);
  });

  it("draws the kernel's tree: same order, links, colours and depths", async () => {
    await add(page, 30);
    const s = await picture(page, "30 nodes at rest", (s) => s.nodes.length === 30 && s.edges.length === 29);
    const kernel = await show(topic);
    expect(kernel.items).toBe(30);
    expect(fds(s)).toEqual(kernel.nodes.map((n) => n.fd));
    expect([...s.edges].sort(byBoth)).toEqual(links(kernel));
    expect(s.nodes.map((n) => n.colour)).toEqual(kernel.nodes.map((n) => n.colour));
    const levels = [...new Set(s.nodes.map((n) => Math.round(n.y)))].sort((a, b) => a - b);
    expect(s.nodes.map((n) => levels.indexOf(Math.round(n.y)))).toEqual(kernel.nodes.map((n) => n.depth));
    const log = await calls(page);
    expect(log.at(-1)).toMatch(/^epoll_ctl\(\d+, EPOLL_CTL_ADD, \d+, \{events=EPOLLIN, .*\}\) = 0/);
  });

  it("keeps every node's identity while the tree grows", async () => {
    await add(page, 3);
    await picture(page, "3 nodes", (s) => s.nodes.length === 3);
    const ids = () =>
      page.evaluate(() => [...(window.__kernelviz?.model().nodes.values() ?? [])].map((n) => [n.fd, n.id]));
    const before = await ids();
    await add(page, 20);
    await picture(page, "23 nodes", (s) => s.nodes.length === 23);
    const after = new Map((await ids()) as [number, number][]);
    for (const [fd, id] of before) expect(after.get(fd!)).toBe(id);
  });

  it("shows MOD, and DEL takes the node out", async () => {
    await add(page, 5);
    const first = fds(await picture(page, "5 nodes", (s) => s.nodes.length === 5))[0]!;
    const panel = page.getByRole("region", { name: "Puppet" });
    await panel.locator("button.line", { has: page.locator(`b:text-is("${first}")`) }).click();
    const actions = panel.locator(`.actions[data-fd="${first}"]`);
    await actions.getByRole("button", { name: "ET", exact: true }).click();
    await actions.getByRole("button", { name: "ONESHOT", exact: true }).click();
    await actions.getByRole("button", { name: "MOD", exact: true }).click();
    const EPOLLET = 0x80000000;
    const EPOLLONESHOT = 0x40000000;
    await picture(page, "EPOLLET|EPOLLONESHOT on the node", (s) => {
      const mask = s.nodes.find((n) => n.fd === first)?.events ?? 0;
      return (mask & EPOLLET) !== 0 && (mask & EPOLLONESHOT) !== 0;
    });
    expect((await show(topic)).nodes.find((n) => n.fd === first)?.events).toContain("EPOLLONESHOT");
    await actOn(page, first, "DEL");
    const s = await picture(page, "4 nodes", (s) => s.nodes.length === 4);
    expect(fds(s)).not.toContain(first);
    expect(fds(s)).toEqual((await show(topic)).nodes.map((n) => n.fd));
  });

  it("puts what is ready into the lane in order, and draining takes it out", async () => {
    await add(page, 6);
    const all = fds(await picture(page, "6 nodes", (s) => s.nodes.length === 6));
    const [a, b] = [all[4]!, all[1]!];
    await actOn(page, a, "make ready");
    await actOn(page, b, "make ready");
    const s = await picture(page, "two pills", (s) => s.pills.length === 2);
    expect(s.pills).toEqual([
      { fd: a, list: "ready" },
      { fd: b, list: "ready" },
    ]);
    expect((await show(topic)).ready).toEqual([a, b]);
    await actOn(page, a, "drain");
    await actOn(page, b, "drain");
    // The kernel looks again only when somebody waits: epoll_wait finds nothing and unlinks them.
    await page.getByLabel("timeout, ms").fill("0");
    await page.getByRole("button", { name: "epoll_wait", exact: true }).click();
    await picture(page, "no pills", (s) => s.pills.length === 0);
    expect((await show(topic)).ready ?? []).toEqual([]);
  });

  it("shows a thread asleep in the wait queue until it wakes", async () => {
    await add(page, 2);
    const [fd] = fds(await picture(page, "2 nodes", (s) => s.nodes.length === 2));
    await page.getByLabel("timeout, ms").fill("-1");
    await page.getByRole("button", { name: "epoll_wait", exact: true }).click();
    const s = await picture(page, "one thread asleep", (s) => s.threads.length === 1);
    expect((await show(topic)).waiters?.map((w) => w.tid)).toEqual([s.threads[0]!.tid]);
    await page.locator(".call.pending .asleep").waitFor();
    await actOn(page, fd!, "make ready");
    await picture(page, "nobody asleep", (s) => s.threads.length === 0);
    await until(
      "the pending call has its result",
      () => calls(page),
      (log) => log.some((l) => new RegExp(`^epoll_wait\\(${epfd}, \\[\\{events=EPOLLIN.*= 1`).test(l)),
    );
    expect(await page.locator(".call.pending").count()).toBe(0);
  });

  it("close without DEL takes the item away; after dup it stays, marked", async () => {
    await add(page, 4);
    const all = fds(await picture(page, "4 nodes", (s) => s.nodes.length === 4));
    const [gone, stays] = [all[0]!, all[2]!];
    await actOn(page, gone, "close");
    await picture(page, "3 nodes", (s) => s.nodes.length === 3 && !fds(s).includes(gone));
    await actOn(page, stays, "dup");
    await until(
      "dup is logged",
      () => calls(page),
      (l) => l.some((x) => x.startsWith(`dup(${stays})`)),
    );
    await actOn(page, stays, "close");
    await until(
      "the log explains it",
      () => calls(page),
      (l) =>
        l.some((x) => x.startsWith(`close(${stays}) = 0`) && x.includes("another fd keeps the file open")),
    );
    const s = await picture(page, "the orphan's mark", (s) => s.orphans.includes(stays));
    expect(fds(s)).toContain(stays);
    expect((await show(topic)).nodes.map((n) => n.fd)).toContain(stays);
  });

  it("refuses a cycle with ELOOP, and draws the nested instance", async () => {
    await page.getByRole("button", { name: "Try a cycle" }).click();
    await until(
      "ELOOP in the log",
      () => calls(page),
      (l) => l.some((x) => /EPOLL_CTL_ADD.*= -1 ELOOP/.test(x) && x.includes("in a circle")),
    );
    const outer = await until(
      "an instance with one item",
      () => page.locator("button.chip").allTextContents(),
      (chips) => chips.some((c) => /^epfd \d+ 1$/.test(c.trim())),
    );
    const chip = outer.find((c) => /^epfd \d+ 1$/.test(c.trim()))!.trim();
    await page.locator("button.chip", { hasText: chip }).click();
    const s = await picture(page, "an edge to the other instance", (s) => s.stubs.length === 1);
    expect(s.nodes).toHaveLength(1);
    expect(s.stubs[0]!.instance).toBeGreaterThan(0);
  });

  it("says why a call failed: ADD twice", async () => {
    await add(page, 1);
    const [fd] = fds(await picture(page, "1 node", (s) => s.nodes.length === 1));
    await actOn(page, fd!, "ADD");
    await until(
      "EEXIST in the log",
      () => calls(page),
      (l) => l.some((x) => x.includes("= -1 EEXIST (File exists)") && x.includes("already in the tree")),
    );
  });

  it("pauses, steps and scrubs through what happened, and comes back to live", async () => {
    await add(page, 3);
    await picture(page, "3 nodes", (s) => s.nodes.length === 3);
    await add(page, 4);
    await picture(page, "7 nodes", (s) => s.nodes.length === 7);
    await page.getByRole("button", { name: "Pause" }).click();
    await add(page, 5);
    await until(
      "the kernel has 12",
      () => show(topic),
      (k) => k.items === 12,
    );
    expect((await picture(page, "paused", (s) => s.mode === "paused")).items).toBe(7);
    const back = page.getByRole("button", { name: "Previous change" });
    await until(
      "3 nodes, further back",
      async () => {
        await back.click();
        return picture(page, "any", () => true);
      },
      (s) => s.items === 3,
    );
    await page.getByRole("button", { name: "Next change" }).click();
    await picture(page, "more than 3 again", (s) => s.mode === "paused" && s.items > 3 && s.items <= 7);
    await page.getByRole("slider", { name: "The last minute" }).press("Home");
    await picture(page, "the oldest picture: empty", (s) => s.items === 0);
    await page.keyboard.press("Escape");
    await page.locator("[data-mode=paused]").waitFor();
    await page.locator("button.where").click();
    await picture(page, "live again", (s) => s.mode === "live" && s.items === 12);
  });

  it("walks the tree by keyboard, and the link keeps the node", async () => {
    await add(page, 15);
    await picture(page, "15 nodes", (s) => s.nodes.length === 15);
    const kernel = await show(topic);
    const root = kernel.nodes.find((n) => n.parent < 0)!;
    await page.getByRole("tree").focus();
    await page.keyboard.press("Enter");
    expect((await picture(page, "focus at the root", (s) => s.focused >= 0)).focused).toBe(root.fd);
    await page.keyboard.press("ArrowDown");
    const left = (await picture(page, "focus moved", (s) => s.focused !== root.fd)).focused;
    expect(kernel.nodes.find((n) => n.fd === left)?.parent).toBe(root.fd);
    await page.keyboard.press("x");
    const sibling = (await picture(page, "focus on the sibling", (s) => s.focused !== left)).focused;
    expect(kernel.nodes.find((n) => n.fd === sibling)?.parent).toBe(root.fd);
    await page.keyboard.press("ArrowUp");
    await picture(page, "focus back at the root", (s) => s.focused === root.fd);
    await page.keyboard.press("Home");
    const first = kernel.nodes[0]!.fd;
    await picture(page, "focus on rb_leftmost", (s) => s.focused === first);
    expect(await page.getByRole("treeitem", { selected: true }).textContent()).toContain(`fd ${first}`);

    await page.keyboard.press("/");
    await page.getByLabel("Find fd").fill(String(sibling));
    await page.keyboard.press("Enter");
    await picture(page, "found", (s) => s.focused === sibling);
    await page.waitForURL((u) => u.hash.includes(`fd=${sibling}`));
    await page.reload();
    await picture(page, "the same node after reload", (s) => s.focused === sibling);
    const card = page.locator(".card.pinned");
    await card.getByText("ffd.fd").waitFor();
    expect(await card.locator("tr", { hasText: "ffd.fd" }).locator(".val").textContent()).toBe(
      String(sibling),
    );
  });

  it("zooms with the wheel and keeps the viewport in the link", async () => {
    await add(page, 300);
    const all = await picture(page, "300 items", (s) => s.items === 300 && s.nodes.length > 100);
    const box = (await page.locator(".stage > canvas").boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + 100);
    await page.mouse.wheel(0, -900);
    const near = await picture(
      page,
      "fewer nodes, further apart",
      (s) => s.nodes.length < all.nodes.length / 3,
    );
    expect(near.nodes.length).toBeGreaterThan(0);
    await page.waitForURL((u) => /lo=\d+&hi=\d+/.test(u.hash));
    await page.keyboard.press("f");
    await picture(page, "all of it again", (s) => s.nodes.length === all.nodes.length);
  });

  it("has a table with the same rows, and the struct of this kernel", async () => {
    await add(page, 8, "tcp");
    await picture(page, "8 nodes", (s) => s.nodes.length === 8);
    await page.getByRole("tab", { name: "Table" }).click();
    await until(
      "8 rows",
      () => page.locator(".table .line .fd").allTextContents(),
      (r) => r.length === 8,
    );
    const kernel = await show(topic);
    expect((await page.locator(".table .line .fd").allTextContents()).map(Number)).toEqual(
      kernel.nodes.map((n) => n.fd),
    );
    await page.getByRole("columnheader", { name: "fd" }).getByRole("button").click();
    const sorted = (await page.locator(".table .line .fd").allTextContents()).map(Number);
    expect(sorted).toEqual([...sorted].sort((a, b) => a - b));
    await page.getByRole("tab", { name: "Struct" }).click();
    const row = page.locator("tr", { hasText: "refcount" });
    await row.first().waitFor();
    expect(await row.first().textContent()).toContain("9"); // 8 items and the file itself
    await page.getByRole("tab", { name: "Lists" }).click();
    await page.getByText("threads asleep in epoll_wait").waitFor();
    await actOn(page, kernel.nodes[0]!.fd, "make ready");
    await page.locator("button.pill", { hasText: String(kernel.nodes[0]!.fd) }).waitFor();
    await page.locator("td", { hasText: "joined rdllist" }).first().waitFor();
  });

  it("opens the struct behind a waiting thread and a file, by pointer and by keyboard", async () => {
    await add(page, 3, "pipe");
    await picture(page, "3 nodes", (s) => s.nodes.length === 3);
    await page.getByLabel("timeout, ms").fill("-1");
    await page.getByRole("button", { name: "epoll_wait", exact: true }).click();
    const tid = (await picture(page, "a thread asleep", (s) => s.threads.length === 1)).threads[0]!.tid;
    await page.locator(".call.pending", { hasText: "maxevents=8, timeout=-1" }).waitFor();
    const chip = await page.evaluate(() => {
      const hook = (window as unknown as { __kernelviz: { scene(): Scene } }).__kernelviz;
      const { x, y, w, h } = hook.scene().threads[0]!;
      return { x: x + w / 2, y: y + h / 2 };
    });
    await page.locator(".stage > canvas").click({ position: chip });
    const card = page.locator(`[data-object="waiter/${tid}"]`);
    await card.locator("tr", { hasText: "private" }).waitFor();
    await page.keyboard.press("Escape");
    await card.waitFor({ state: "detached" });

    await page.getByRole("tab", { name: "Lists" }).click();
    await page.getByRole("button", { name: String(tid), exact: true }).press("Enter");
    await card.locator("tr", { hasText: "entry.next" }).waitFor();
    await card.getByRole("button", { name: "Close" }).press("Enter");
    await card.waitFor({ state: "detached" });

    await page.getByRole("tab", { name: "Table" }).click();
    await page.getByRole("button", { name: "pipe", exact: true }).first().press("Enter");
    await page.locator('[data-object^="file/"] tr', { hasText: "f_mode" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator("[data-object]").waitFor({ state: "detached" });
  });

  it("finds the node of a line in the log, and acts on it from its card", async () => {
    await add(page, 5);
    await picture(page, "5 nodes", (s) => s.nodes.length === 5);
    const line = page.locator(".call", { hasText: "EPOLL_CTL_ADD" }).first();
    const fd = Number(/EPOLL_CTL_ADD, (\d+)/.exec((await line.textContent()) ?? "")?.[1]);
    await line.click();
    await picture(page, "the focus on its node", (s) => s.focused === fd);
    const card = page.locator(".card.pinned");
    await card.getByRole("button", { name: "make ready" }).click();
    await picture(page, "it is ready", (s) => s.pills.length === 1 && s.pills[0]!.fd === fd);
    await card.getByRole("button", { name: "DEL" }).click();
    await picture(
      page,
      "it is gone, with its place in rdllist",
      (s) => s.nodes.length === 4 && s.pills.length === 0,
    );
    expect((await show(topic)).nodes.map((n) => n.fd)).not.toContain(fd);
  });

  it("shows the struct of the node under the pointer, and why it stands there", async () => {
    await add(page, 7, "pipe");
    const s = await picture(page, "7 nodes", (s) => s.nodes.length === 7);
    const box = (await page.locator(".stage > canvas").boundingBox())!;
    const n = s.nodes[3]!;
    await page.mouse.move(box.x + n.x, box.y + n.y);
    const card = page.locator(".card");
    await card.getByText(`fd ${n.fd}`, { exact: true }).waitFor();
    const text = (await card.textContent()) ?? "";
    expect(text).toContain("struct epitem");
    expect(text).toContain("pipe");
    expect(text).toContain(`(fd ${s.nodes[2]!.fd})`);
    expect(text).toContain(`(fd ${s.nodes[4]!.fd})`);
    await page.mouse.move(box.x + 4, box.y + 4);
    await card.waitFor({ state: "detached" });
  });

  it("exports the picture it shows", async () => {
    await add(page, 9);
    const s = await picture(page, "9 nodes", (s) => s.nodes.length === 9);
    const save = async (item: string) => {
      await page.getByRole("button", { name: "Export" }).click();
      const [file] = await Promise.all([
        page.waitForEvent("download"),
        page.getByRole("button", { name: item }).click(),
      ]);
      return readFileSync(await file.path());
    };
    const svg = (await save("Picture as SVG")).toString();
    expect(/<title[^>]*>(.*?)<\/title>/.exec(svg)?.[1]).toBe(`kernelviz: ${topic}`);
    for (const n of s.nodes) expect(svg).toContain(`>${n.fd}<`);
    const png = await save("Picture as PNG");
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    expect(png.readUInt32BE(16)).toBe(2 * (await page.locator(".stage").evaluate((e) => e.clientWidth)));
  });

  it("says so when a part of the page cannot be loaded", async () => {
    await page.route("**/TableTab*.js", (r) => r.abort());
    await page.getByRole("tab", { name: "Table" }).click();
    await page.getByText("A part of this page could not be loaded.").waitFor();
    errors.length = 0; // the refused module itself
    await page.getByRole("tab", { name: "Tree" }).click();
    await add(page, 2);
    await picture(page, "the tree goes on", (s) => s.nodes.length === 2);
  });

  it("lists the puppet at home, and tells when it is gone", async () => {
    await page.getByRole("link", { name: "Playground" }).click();
    // The list is as long as the machine is busy.
    await page.getByRole("searchbox").fill(`${pid}:${epfd}`);
    const row = page.locator(`a.row[href="#/${topic}"]`);
    await row.waitFor();
    expect(await row.textContent()).toMatch(/puppet-\d+/);
    await row.click();
    await picture(page, "watched again", (s) => s.items === 0);
  });
});
