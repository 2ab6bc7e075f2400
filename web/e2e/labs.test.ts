// A learner takes lessons 2 and 4 of epoll and one of io_uring: wrong predictions, hints, a reload in the
// middle, the language switched. The kernel ticks the steps.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { launch, openPage, picture, scratch, startServer, until, type Server } from "./harness";

const labs = fileURLToPath(new URL("../../labs/010-epoll/", import.meta.url));

let server: Server;
let browser: Browser;
beforeAll(async () => {
  [server, browser] = await Promise.all([startServer({ db: join(scratch, "labs.db") }), launch()]);
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens a lesson and notes what its content policy forbade. */
async function openLab(
  id: string,
  width = 1280,
): Promise<{ page: Page; errors: string[]; forbidden: string[] }> {
  const { page, errors } = await openPage(browser, server, { width, height: 900 });
  const forbidden: string[] = [];
  page.on("console", (m) => {
    if (/content security policy/i.test(m.text())) forbidden.push(m.text());
  });
  await page.goto(`${server.origin}/#/lab/${id}`);
  return { page, errors, forbidden };
}

const step = (page: Page, id: string) => page.locator(`[data-step="${id}"]`);

/** Waits until a step stands so. */
async function stands(page: Page, id: string, state: string): Promise<void> {
  await until(
    `step ${id} is ${state}`,
    () => step(page, id).getAttribute("data-state"),
    (s) => s === state,
  );
}

async function choose(page: Page, id: string, choice: string): Promise<void> {
  const inputs = step(page, id).locator("input[type=radio]");
  await inputs.first().waitFor();
  const values = await inputs.evaluateAll((all) => all.map((x) => (x as HTMLInputElement).value));
  expect(values).toContain(choice);
  // The lesson may still be scrolling to this step: a click by place would miss.
  const input = inputs.nth(values.indexOf(choice));
  await input.evaluate((x) => (x as HTMLInputElement).click());
  await until(`${choice} is chosen`, () => input.isChecked());
  await step(page, id)
    .getByRole("button", { name: /^(Answer|回答|提交)/ })
    .click();
}

/** Clicks a node on the stage and answers with it. */
async function clickNode(page: Page, id: string, fd: number): Promise<void> {
  const s = await picture(page, `node ${fd}`, (x) => x.nodes.some((n) => n.fd === fd));
  const n = s.nodes.find((x) => x.fd === fd)!;
  await page.locator(".stage > canvas").click({ position: { x: n.x, y: n.y } });
  await step(page, id).getByText(`fd ${fd}`, { exact: true }).first().waitFor();
  await step(page, id).getByRole("button", { name: "Answer" }).click();
}

/** Presses the buttons of a step one after the other. */
async function press(page: Page, id: string, names: (string | RegExp)[]): Promise<void> {
  for (const name of names) {
    const button = step(page, id).getByRole("button", { name, exact: true }).first();
    await until(`button ${String(name)} of ${id}`, () => button.isEnabled());
    await button.click();
    await until(`${String(name)} is done`, () => button.isEnabled());
  }
}

describe("lesson 2", () => {
  it("is taken: a wrong node, a hint, the kernel's tick, a reload, another language", async () => {
    const { page, errors, forbidden } = await openLab("epoll-growing");
    await stands(page, "third", "predict");
    await stands(page, "fourth", "locked");
    const add = step(page, "third").locator(".buttons button").first();
    expect(await add.isDisabled()).toBe(true);

    await clickNode(page, "third", 4);
    await step(page, "third").locator(".why.wrong").waitFor();
    expect(await step(page, "third").locator(".why").textContent()).toContain("Two reds in a row");
    expect(await add.isDisabled()).toBe(true);
    await clickNode(page, "third", 5);
    await stands(page, "third", "open");
    await step(page, "third").getByRole("button", { name: /hint/i }).click();
    await step(page, "third").locator(".hint").waitFor();
    await add.click();
    await stands(page, "third", "done");
    await picture(page, "5 is the root", (s) => s.items === 3 && s.edges.every(([from]) => from === 5));

    await choose(page, "fourth", "rotate");
    await step(page, "fourth").locator(".why.wrong").waitFor();
    await choose(page, "fourth", "recolour");
    await stands(page, "fourth", "open");

    // The tab is reloaded: the same puppet, the same place, the same answers.
    await page.reload();
    await stands(page, "third", "done");
    await stands(page, "fourth", "open");
    await step(page, "fourth").locator(".buttons button").first().click();
    await stands(page, "fourth", "done");

    await page.getByRole("button", { name: "中文" }).click();
    await page.getByRole("heading", { level: 1, name: "生长与平衡" }).waitFor();
    await stands(page, "fourth", "done");
    await stands(page, "seven", "predict");
    await choose(page, "seven", "two");
    await stands(page, "seven", "open");
    const more = step(page, "seven").locator(".buttons button").first();
    for (const n of [5, 6, 7]) {
      await more.click();
      await picture(page, `${n} nodes`, (s) => s.items === n);
    }
    await stands(page, "seven", "done");
    await page.getByRole("button", { name: "English" }).click();
    await page.getByRole("heading", { level: 1, name: "Growing and balancing" }).waitFor();

    await page.goto(`${server.origin}/#/`);
    await page.getByText("3/8").first().waitFor();
    expect(errors).toEqual([]);
    expect(forbidden).toEqual([]);
    await page.context().close();
  });

  it("keeps its progress when the server is killed", async () => {
    await server.stop("SIGKILL");
    server = await startServer({ db: join(scratch, "labs.db") });
    const { page, errors } = await openLab("epoll-growing");
    await stands(page, "third", "done");
    await stands(page, "seven", "done");
    await stands(page, "eighth", "predict");
    expect(errors).toEqual([]);
    await page.context().close();
  });
});

describe("a lesson on rings", () => {
  it("is taken to its end, with the ring of the lab on the stage", async () => {
    const { page, errors, forbidden } = await openLab("uring-submit");
    const take = async (id: string, choice: string, buttons: number) => {
      await stands(page, id, "predict");
      await choose(page, id, choice);
      await stands(page, id, "open");
      for (let i = 0; i < buttons; i++) {
        const button = step(page, id).locator(".buttons button").nth(i);
        await until(`button ${i} of ${id}`, () => button.isEnabled());
        await button.click();
        await until(`button ${i} of ${id} is done`, () => button.isEnabled());
      }
      await stands(page, id, "done");
    };
    await stands(page, "part", "predict");
    await choose(page, "part", "tail");
    await step(page, "part").locator(".why.wrong").waitFor();
    await take("part", "head", 2);
    await take("wrap", "one", 1);
    await until(
      "the SQ on the stage is full",
      () => page.evaluate(() => window.__kernelvizRing?.model().ring ?? null),
      (r) => r !== null && r.sqTail - r.sqHead === r.sqEntries,
    );
    await take("all", "program", 1);
    await take("error", "one", 2);
    await take("many", "one", 2);
    await take("dropped", "dropped", 2);
    await until(
      "the dropped SQE on the stage",
      () => page.evaluate(() => window.__kernelvizRing?.model().ring?.sqDropped ?? 0),
      (n) => n === 1,
    );
    expect(errors).toEqual([]);
    expect(forbidden).toEqual([]);
    await page.context().close();
  });
});

describe("lesson 4", () => {
  it("is taken to its end, and the bug is mended in the editor", async () => {
    const { page, errors, forbidden } = await openLab("epoll-triggers", 1600);
    const take = async (id: string, choice: string, buttons: (string | RegExp)[]) => {
      await stands(page, id, "predict");
      await choose(page, id, choice);
      await stands(page, id, "open");
      await press(page, id, buttons);
      await stands(page, id, "done");
    };
    await stands(page, "level", "predict");
    await choose(page, "level", "off");
    await step(page, "level").locator(".why.wrong").waitFor();
    await take("level", "back", ["Write 3 bytes to 4", "epoll_wait"]);
    await take("hollow", "on", ["Read 4 empty", "epoll_wait"]);
    await take("edge", "nothing", ["Write 3 bytes to 6", "epoll_wait", "Read 1 byte from 6", "epoll_wait"]);
    await take("again", "yes", ["Write 1 byte to 6", "epoll_wait"]);
    await stands(page, "oneshot", "predict");
    await choose(page, "oneshot", "mask");
    await stands(page, "oneshot", "open");
    const buttons = step(page, "oneshot").locator(".buttons button");
    for (const i of [0, 1, 2, 3]) {
      await until(`button ${i}`, () => buttons.nth(i).isEnabled());
      await buttons.nth(i).click();
      await until(`button ${i} is done`, () => buttons.nth(i).isEnabled());
    }
    await stands(page, "oneshot", "done");
    await take("rearm", "found", ["MOD 8", "epoll_wait"]);

    await stands(page, "mend", "predict");
    await choose(page, "mend", "two");
    await stands(page, "mend", "open");
    await page.locator("#drawer-code").click();
    const editor = page.locator(".cm-content").first();
    await editor.click();
    await page.keyboard.press("Control+A");
    await page.keyboard.insertText(readFileSync(join(labs, "040-triggers/solution/reader.c"), "utf8"));
    await page.keyboard.press("Control+Enter");
    await stands(page, "mend", "done");
    expect(errors).toEqual([]);
    expect(forbidden).toEqual([]);
    await page.context().close();
  });
});

describe("the terminal", () => {
  it("types, and prints nothing twice after a reload", async () => {
    const { page, errors, forbidden } = await openLab("epoll-tools");
    await page.locator("#drawer-terminal").click();
    await page.locator(".xterm-screen").waitFor();
    await page.locator(".xterm-helper-textarea").first().focus();
    const text = () => page.locator(".xterm-rows").first().innerText();
    await until("a prompt", text, (s) => /[#$]\s*$/.test(s.trim()));
    await page.keyboard.type("echo $((6*7))-here\n");
    await until("the answer", text, (s) => s.includes("42-here"));
    await page.reload();
    await page.locator("#drawer-terminal").click();
    await until("the answer again", text, (s) => s.includes("42-here"));
    expect((await text()).split("42-here").length - 1).toBe(1);
    expect(errors).toEqual([]);
    expect(forbidden).toEqual([]);
    await page.context().close();
  });
});
