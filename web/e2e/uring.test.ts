// The rings, live: what the page draws against what `labserver show` reads of
// the same ring, and what the ring puppet did.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { calls, launch, openPage, startServer, until, type Server } from "./harness";

let browser: Browser;
let server: Server;

beforeAll(async () => {
  [server, browser] = await Promise.all([startServer(), launch()]);
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

/** What a test needs of the picture and the model, as plain values. */
interface SeenRing {
  slow: boolean;
  sqHead: number;
  sqTail: number;
  cqHead: number;
  cqTail: number;
  newestCQTail: number;
  overflow: number;
  whole: boolean;
  threadState: string;
  slots: string[]; // ids of the slots drawn
  requests: { op: number; where: string; posted: number }[];
  cqes: { data: string; res: number }[];
  lives: string[];
}

function seenRing(page: Page): Promise<SeenRing | null> {
  return page.evaluate(() => {
    const hook = window.__kernelvizRing;
    const picture = hook?.picture();
    const m = hook?.model();
    if (!hook || !picture || !m?.ring) return null;
    return {
      slow: hook.slow(),
      sqHead: m.ring.sqHead,
      sqTail: m.ring.sqTail,
      cqHead: m.ring.cqHead,
      cqTail: m.ring.cqTail,
      newestCQTail: hook.newest().ring?.cqTail ?? -1,
      overflow: m.ring.overflowList,
      whole: m.truth?.whole ?? false,
      threadState: m.ring.threadState,
      slots: picture.targets.map((t) => t.id).filter((id) => /^[sc]q:\d+$/.test(id)),
      requests: m.requests.map((r) => ({ op: r.op, where: r.where, posted: r.posted })),
      cqes: m.cqes.map((e) => ({ data: e.userData.toString(), res: e.res })),
      lives: hook.lives().map((l) => l.what),
    };
  });
}

function ringShows(page: Page, what: string, accept: (s: SeenRing) => boolean): Promise<SeenRing> {
  return until(
    what,
    () => seenRing(page),
    (s) => s !== null && accept(s),
  ) as Promise<SeenRing>;
}

async function startRing(page: Page): Promise<string> {
  await page.getByRole("button", { name: "Start a ring puppet" }).click();
  await page.waitForURL(/#\/uring\/\d+:\d+/);
  await page.getByRole("region", { name: "Ring puppet" }).waitFor();
  await ringShows(page, "the first picture", (s) => s.whole);
  return /uring\/(\d+:\d+)/.exec(page.url())![1]!;
}

const panel = (page: Page) => page.getByRole("region", { name: "Ring puppet" });

async function queue(page: Page, what: string, n = 1): Promise<void> {
  await panel(page).getByLabel("Operation").selectOption(what);
  await panel(page).getByLabel("×").fill(String(n));
  await panel(page)
    .getByRole("button", { name: `Queue ${n} × ${what.toUpperCase()}` })
    .click();
}

const enter = (page: Page) =>
  panel(page).getByRole("button", { name: "io_uring_enter", exact: true }).click();

describe("a ring", () => {
  it("shows an SQE where it was written, its CQE where it was posted, and who moved which hand", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    const name = await startRing(page);
    await queue(page, "nop", 3);
    const queued = await ringShows(page, "3 pending", (s) => s.slots.length === 3);
    expect(queued).toMatchObject({ sqHead: 0, sqTail: 3, slots: ["sq:0", "sq:1", "sq:2"] });
    expect((await calls(page)).some((c) => c.includes("sq.tail = 3") && c.includes("no system call"))).toBe(
      true,
    );

    await enter(page);
    const done = await ringShows(page, "3 unread", (s) => s.cqes.length === 3);
    expect(done).toMatchObject({ sqHead: 3, cqTail: 3, slots: ["cq:0", "cq:1", "cq:2"] });
    expect(done.lives.filter((w) => w === "submit")).toHaveLength(3);

    const labserver = process.env["LABSERVER"] ?? new URL("../../bin/labserver", import.meta.url).pathname;
    const { stdout } = await promisify(execFile)(labserver, ["show", "uring", name, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      sq: { head: 3, tail: 3, pending: 0 },
      cq: { head: 0, tail: 3, pending: 3 },
    });

    await panel(page).getByRole("button", { name: "Reap", exact: true }).click();
    await ringShows(page, "all read", (s) => s.cqHead === 3 && s.cqes.length === 0);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("arms a read that must wait, and completes it when its pipe is written", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    await startRing(page);
    await panel(page).getByLabel("Kind of file").selectOption("pipe");
    await panel(page).getByRole("button", { name: "Make", exact: true }).click();
    await panel(page).getByLabel("Operation").selectOption("read");
    await panel(page).getByRole("button", { name: "Queue 1 × READ" }).click();
    await ringShows(page, "a READ pending", (s) => s.slots.length === 1);
    await enter(page);
    await ringShows(page, "armed", (s) => s.requests.length === 1 && s.requests[0]!.where === "armed");
    await panel(page).getByRole("button", { name: "make ready" }).first().click();
    await panel(page).getByRole("button", { name: "Flush" }).click();
    const done = await ringShows(page, "read", (s) => s.cqes.length === 1);
    expect(done.cqes[0]!.res).toBe(1);
    await page.getByRole("tab", { name: "Timeline" }).click();
    await page.getByText("as a table").click();
    const row = page.locator(".timeline tbody tr", { hasText: "READ" });
    await row.waitFor();
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("tells one event at a time in slow motion, and steps back and on", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    await startRing(page);
    await page.getByRole("radio", { name: "Slow motion" }).click();
    await queue(page, "nop", 1);
    await enter(page);
    // The kernel is done long before the page has told of it.
    const early = await ringShows(
      page,
      "the end known, not shown",
      (s) => s.newestCQTail === 1 && s.cqTail === 0,
    );
    expect(early.slow).toBe(true);
    await ringShows(page, "the end shown", (s) => s.cqTail === 1);
    await page.keyboard.press(",");
    await ringShows(page, "one event back", (s) => s.cqTail === 0);
    await page.keyboard.press(".");
    await ringShows(page, "and on again", (s) => s.cqTail === 1);
    await page.getByRole("radio", { name: "Live" }).click();
    await ringShows(page, "live", (s) => !s.slow);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("marks a ring that its owner scribbles over, says what may have done it, and trusts it again when mended", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    await startRing(page);
    await panel(page).getByText("Overflow, register, break").click();
    await panel(page).getByRole("button", { name: "Scribble", exact: true }).click();
    await page.getByText("The application wrote a wrong tail").first().waitFor();
    await ringShows(page, "not whole", (s) => !s.whole);
    await panel(page).getByRole("button", { name: "Mend" }).click();
    await ringShows(page, "whole again", (s) => s.whole);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("makes an overflow, and a thread that sleeps, with one press each", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    await startRing(page);
    await panel(page).getByRole("button", { name: "Overflow on purpose" }).click();
    await page.getByRole("radio", { name: "Live" }).waitFor();
    await until("the tray fills", () =>
      page.evaluate(() => (window.__kernelvizRing?.newest().ring?.overflowList ?? 0) > 0),
    );
    await panel(page).getByRole("button", { name: "SQPOLL falls asleep" }).isEnabled();
    await until("the preset is over", () =>
      panel(page).getByRole("button", { name: "SQPOLL falls asleep" }).isEnabled(),
    );
    await panel(page).getByRole("button", { name: "SQPOLL falls asleep" }).click();
    await ringShows(page, "an SQPOLL ring whose thread runs", (s) => s.threadState === "running");
    await ringShows(page, "asleep", (s) => s.threadState === "asleep");
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("tells an overflow to its end within 12 s, and never a state that was not", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    await startRing(page);
    const began = Date.now();
    await panel(page).getByRole("button", { name: "Overflow on purpose" }).click();
    const told: { sqHead: number; sqTail: number; cqHead: number; cqTail: number; overflow: number }[] = [];
    await until(
      "cq_overflow_list fills and empties as it is told",
      async () => {
        const s = await seenRing(page);
        if (s && s.slow) told.push(s);
        return told.some((t) => t.overflow === 1) && told.at(-1)!.overflow === 0;
      },
      Boolean,
      20_000,
    );
    expect(Date.now() - began).toBeLessThan(14_000);
    for (const [i, t] of told.entries()) {
      expect(t.sqTail - t.sqHead).toBeGreaterThanOrEqual(0);
      expect(t.cqTail - t.cqHead).toBeLessThanOrEqual(4);
      expect(t.cqTail + t.overflow).toBeLessThanOrEqual(t.sqHead);
      const p = told[i - 1] ?? t;
      expect(t.sqHead).toBeGreaterThanOrEqual(p.sqHead);
      expect(t.sqTail).toBeGreaterThanOrEqual(p.sqTail);
      expect(t.cqTail).toBeGreaterThanOrEqual(p.cqTail);
    }
    expect(errors).toEqual([]);
    await page.context().close();
  });

  // Angles of the hand of sq.tail, in slots of eight, as drawn while it moves.
  const angles = (page: Page): Promise<number[]> =>
    page.evaluate(
      () =>
        new Promise<number[]>((done) => {
          const seen = new Set<number>();
          const end = performance.now() + 1500;
          const look = (): void => {
            const shapes = window.__kernelvizRing?.picture()?.shapes ?? [];
            const hand = shapes.find((x) => x.kind === "hand" && x.key === "sq.tail");
            if (hand?.kind === "hand") seen.add(Math.round((hand.angle / (Math.PI / 4)) * 1000) / 1000);
            if (performance.now() < end) requestAnimationFrame(look);
            else done([...seen]);
          };
          look();
        }),
    );

  it("moves nothing where motion is to be reduced: a hand is here, then there", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    const between = async (): Promise<number> => {
      await startRing(page);
      const seen = angles(page);
      await queue(page, "nop", 3);
      const all = await seen;
      expect(all).toContain(-2 + 3);
      return all.filter((a) => !Number.isInteger(a)).length;
    };
    expect(await between()).toBeGreaterThan(0);
    await page.emulateMedia({ reducedMotion: "reduce" });
    await page.goto(`${server.origin}/#/`);
    expect(await between()).toBe(0);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("walks free slots too, and its link takes somebody else to the same", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    const name = await startRing(page);
    await queue(page, "nop", 1);
    await ringShows(page, "pending", (s) => s.slots.length === 1);
    await page.getByRole("tree").focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await page.getByRole("treeitem", { name: "Slot 2, free", selected: true }).waitFor({ state: "attached" });
    await until("the link names it", () => Promise.resolve(page.url().includes("at=sq%3A2")));
    const other = await openPage(browser, server, { width: 1440, height: 900 });
    await other.page.goto(`${server.origin}/#/uring/${name}?at=sq%3A2`);
    await other.page.locator('.card[data-thing="sq:2"]').waitFor();
    expect([...errors, ...other.errors]).toEqual([]);
    await other.page.context().close();
    await page.context().close();
  });

  it("keeps the timeline as a picture, all rows of it", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    await startRing(page);
    await queue(page, "nop", 2);
    await enter(page);
    await ringShows(page, "done", (s) => s.cqTail === 2);
    await page.getByRole("tab", { name: "Timeline" }).click();
    await page.getByRole("button", { name: "Export" }).click();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: /SVG/ }).click(),
    ]);
    expect(download.suggestedFilename()).toMatch(/-timeline\.svg$/);
    const svg = readFileSync(await download.path(), "utf8");
    expect(svg).toContain("NOP #1");
    expect(svg).toContain("NOP #2");
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("reads a ring whose memory cannot be mapped by BPF alone, and says so", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    await startRing(page);
    await panel(page).getByRole("button", { name: "New ring…" }).click();
    await panel(page).getByText("NO_MMAP", { exact: true }).click();
    await panel(page).getByRole("button", { name: "io_uring_setup" }).click();
    await page.waitForURL(/#\/uring\/\d+:4/);
    await queue(page, "nop", 2);
    await enter(page);
    await ringShows(page, "both done", (s) => s.cqTail === 2);
    await page.getByText("BPF only", { exact: true }).waitFor();
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("is listed in the playground, and its death is told", async () => {
    const { page, errors } = await openPage(browser, server, { width: 1440, height: 900 });
    const name = await startRing(page);
    await panel(page).getByRole("button", { name: "Stop" }).click();
    await page.getByText("This ring is gone").waitFor();
    await page.getByRole("link", { name: "Back to the playground" }).click();
    await page.getByRole("heading", { name: "Playground" }).waitFor();
    expect(await page.locator(`a.row[href="#/uring/${name}"]`).count()).toBe(0);
    await startRing(page);
    await page.goto(`${server.origin}/#/`);
    await page.locator("a.row", { hasText: "io_uring" }).first().waitFor();
    expect(errors).toEqual([]);
    await page.context().close();
  });
});
