// A learner runs an experiment, follows it, cancels one, compares two runs and
// reads what they say of the article. What the page shows is compared with the
// result that the server kept, number by number.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Claim, Overview, Result } from "../src/net/experiments";
import { launch, openPage, scratch, startServer, until, type Server } from "./harness";

const id = "syscalls"; // the shortest; a quick run takes some 15 s of a quiet machine
const patience = 180_000;

let server: Server;
let browser: Browser;
beforeAll(async () => {
  [server, browser] = await Promise.all([
    startServer({ db: join(scratch, "experiments.db"), viewers: true }),
    launch(),
  ]);
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

/** What the server says, read as the page reads it. */
function api<T>(page: Page, path: string): Promise<T> {
  return page.evaluate(async (p) => (await fetch(`/api/v1/${p}`)).json(), path) as Promise<T>;
}

const result = (page: Page) => page.locator("section.result");
const panel = (page: Page) => page.getByRole("region", { name: "Experiment in progress" });

async function openAt(
  path: string,
  options = {},
): Promise<{ page: Page; errors: string[]; forbidden: string[] }> {
  const { page, errors } = await openPage(browser, server, options);
  const forbidden: string[] = [];
  page.on("console", (m) => {
    if (/content security policy/i.test(m.text())) forbidden.push(m.text());
  });
  await page.goto(`${server.origin}/#/${path}`);
  return { page, errors, forbidden };
}

/** Waits for a run to end, and returns what was kept of it. */
async function ended(page: Page, run: number, state: string): Promise<Result> {
  await page
    .locator(`section.result[data-run="${run}"][data-state="${state}"]`)
    .waitFor({ timeout: patience });
  return api<Result>(page, `experiments/${id}/runs/${run}`);
}

async function begun(page: Page): Promise<number> {
  const run = await until("the run has a number", () => panel(page).getAttribute("data-run"));
  return Number(run);
}

let first = 0; // the run that the first test makes

describe("an experiment", () => {
  it("tells what it asks, how long it takes and what is missing", async () => {
    const { page, errors } = await openAt("experiments");
    const { experiments } = await api<Overview>(page, "experiments");
    await page.locator("[data-experiment]").first().waitFor();
    expect(await page.locator("[data-experiment]").count()).toBe(experiments.length);
    for (const x of experiments) {
      const row = page.locator(`[data-experiment="${x.id}"]`);
      expect(await row.textContent()).toContain(x.question.en);
      for (const m of x.missing) expect(await row.textContent()).toContain(m.reason);
    }
    expect(experiments.find((x) => x.id === id)!.missing).toEqual([]);
    await page
      .getByRole("link", { name: experiments.find((x) => x.id === id)!.title.en, exact: true })
      .click();
    await page.waitForURL(new RegExp(`#/experiment/${id}`));
    await page.getByText("No run is kept yet.").waitFor();
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("runs, is followed by every page and after a reload, and its numbers are those that were kept", async () => {
    const { page, errors, forbidden } = await openAt(`experiment/${id}`, { height: 900 });
    const other = await openAt("");
    const viewer = await openPage(browser, { ...server, url: server.viewerUrl });
    await viewer.page.goto(`${server.origin}/#/experiment/${id}`);

    await page.getByRole("button", { name: /^Quick run/ }).click();
    first = await begun(page);
    expect(await page.getByRole("button", { name: /^Quick run/ }).isDisabled()).toBe(true);
    await other.page.locator(`a.runs[href="#/experiment/${id}"]`).waitFor();
    await panel(viewer.page).waitFor();
    expect(await viewer.page.getByRole("button", { name: /Run|Cancel/ }).count()).toBe(0);
    await viewer.page.getByText("This page only looks.").waitFor();

    await page.reload();
    expect(await begun(page)).toBe(first);
    await until(
      "the bar moves",
      async () => Number(await page.getByRole("progressbar").getAttribute("aria-valuenow")),
      (n) => n > 0,
      patience,
    );
    const r = await ended(page, first, "done");
    await ended(viewer.page, first, "done");
    await until(
      "no page says that it runs",
      async () => (await panel(page).count()) + (await other.page.locator("a.runs").count()),
      (n) => n === 0,
    );

    expect(r.quick).toBe(true);
    const { experiments } = await api<Overview>(page, "experiments");
    const info = experiments.find((x) => x.id === id)!;
    for (const s of r.series) {
      const section = page.locator(`[data-series="${s.id}"]`);
      const metric = info.metrics[0]!.id;
      const chart = section.locator("svg[role=img]").first();
      const told = (await chart.getAttribute("aria-label")) ?? "";
      for (const v of s.variants) {
        const label = info.series.find((x) => x.id === s.id)!.variants.find((x) => x.id === v.id)!.label.en;
        expect(told).toContain(`${label}: median `);
      }
      // Every trial is a dot: translucent, where marks of labels and ratios are not.
      const dots = await chart.locator("path[opacity='0.72']").count();
      expect(dots).toBe(s.variants.reduce((n, v) => n + (v.metrics[metric]?.values.length ?? 0), 0));

      // System calls are counts: every digit of them.
      const counted = s.variants.filter((v) => Object.keys(v.syscalls).length > 0);
      expect(counted.length).toBe(s.variants.length);
      await section.locator("details.calls summary").click();
      const rows = await section
        .locator("details.calls tbody tr")
        .evaluateAll((all) => all.map((tr) => [...tr.children].map((c) => c.textContent ?? "")));
      for (const [name, ...counts] of rows.slice(0, -1)) {
        expect([name, ...counts.map((c) => Number(c.replaceAll(",", "")))]).toEqual([
          name,
          ...counted.map((v) => Math.round(10 * (v.syscalls[name!] ?? 0)) / 10),
        ]);
      }
    }
    for (const w of r.warnings) await page.getByText(w.text).first().waitFor();
    expect(await result(page).locator("[data-claim]").count()).toBe(r.verdicts.length);
    for (const v of r.verdicts) {
      expect(await result(page).locator(`[data-claim="${v.claim}"]`).textContent()).toContain(v.verdict);
    }
    expect([...errors, ...forbidden, ...other.errors, ...viewer.errors]).toEqual([]);
    await Promise.all([page, other.page, viewer.page].map((p) => p.context().close()));
  });

  it("gives its result as a file and as a picture", async () => {
    const { page, errors } = await openAt(`experiment/${id}?run=${first}`);
    const r = await ended(page, first, "done");
    const save = async (press: () => Promise<void>) => {
      const [download] = await Promise.all([page.waitForEvent("download"), press()]);
      const path = join(scratch, download.suggestedFilename());
      await download.saveAs(path);
      return readFileSync(path);
    };
    const tools = page.getByRole("group", { name: "Export" });
    const json = await save(() => tools.getByRole("link", { name: "JSON" }).click());
    expect(JSON.parse(json.toString())).toEqual(r);

    const svg = (await save(() => tools.getByRole("button", { name: "SVG" }).click())).toString();
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    expect(svg).toContain(r.machine.kernel);
    const { experiments } = await api<Overview>(page, "experiments");
    const metric = experiments.find((x) => x.id === id)!.metrics[0]!.id;
    const trials = r.series.flatMap((s) => s.variants.flatMap((v) => v.metrics[metric]?.values ?? []));
    expect(svg.split('opacity="0.72"').length - 1).toBe(trials.length);
    const wellFormed = await page.evaluate(
      (s) => new DOMParser().parseFromString(s, "image/svg+xml").querySelector("parsererror") === null,
      svg,
    );
    expect(wellFormed).toBe(true);

    const png = await save(() => tools.getByRole("button", { name: "PNG" }).click());
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    expect(png.readUInt32BE(16)).toBeGreaterThan(2000); // its width
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("ends at once when it is cancelled, and keeps what was measured", async () => {
    const { page, errors } = await openAt(`experiment/${id}`);
    await page.getByRole("button", { name: /^Quick run/ }).click();
    const run = await begun(page);
    await until(
      "trials were measured",
      async () => Number(await page.getByRole("progressbar").getAttribute("aria-valuenow")),
      (n) => n > 30,
      patience,
    );
    await page.getByRole("button", { name: "Cancel" }).click();
    const r = await ended(page, run, "cancelled");
    await page.getByText("What was measured until then is kept").waitFor();
    expect(r.trials).toBeGreaterThan(0);
    await until(
      "it runs no more",
      () => panel(page).count(),
      (n) => n === 0,
    );
    await until("it can be run again", () => page.getByRole("button", { name: /^Quick run/ }).isEnabled());

    // Beside the first run, and forgotten.
    await page.getByRole("link", { name: "compare with it" }).first().click();
    await page.getByRole("heading", { name: "Then and now" }).waitFor();
    expect(page.url()).toContain(`beside=${first}`);
    await page.getByText("Same machine, kernel, version and parameters.").waitFor();
    const kept = async () => (await api<Overview>(page, "experiments")).runs[id]!.map((x) => x.run);
    expect(await kept()).toEqual([run, first]);
    await page.getByRole("button", { name: `Delete run ${run}` }).click();
    expect(await kept()).toEqual([run, first]);
    await page.getByRole("button", { name: `Delete run ${run} for good` }).click();
    await until("it is forgotten", kept, (k) => k.length === 1 && k[0] === first);
    await page.locator(`section.result[data-run="${first}"]`).waitFor();
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("draws a curve where its series form one, with a table of the same numbers", async () => {
    const { page, errors, forbidden } = await openAt("experiment/readiness");
    await page.getByRole("button", { name: /^Quick run/ }).click();
    const run = await begun(page);
    await page.locator(`section.result[data-run="${run}"][data-state="done"]`).waitFor({ timeout: patience });
    const r = await api<Result>(page, `experiments/readiness/runs/${run}`);
    const curve = page.locator("section.curve");
    await curve.locator(".uplot canvas").waitFor();
    await curve.locator("summary").click();
    const xs = await curve.locator("tbody th").allTextContents();
    expect(xs.map((x) => Number(x.replaceAll(",", "")))).toEqual(
      r.series
        .filter((s) => s.x > 0)
        .map((s) => s.x)
        .sort((a, b) => a - b),
    );
    const over = await curve.locator(".u-over").boundingBox();
    if (!over) throw new Error("the curve has no place");
    await page.mouse.move(over.x + over.width - 4, over.y + over.height / 2);
    await curve.locator("li .value").first().waitFor();
    const [value] = await curve.locator("li .value").allTextContents();
    const [last] = await curve.locator("tbody tr:last-child td").allTextContents();
    expect(last).toContain(value);
    expect([...errors, ...forbidden]).toEqual([]);
    await page.context().close();
  });

  it("speaks Chinese, in the dark too, and the link says so", async () => {
    const { page, errors } = await openAt(`experiment/${id}?run=${first}&lang=zh`, {
      dark: true,
      width: 1920,
    });
    await page.getByRole("heading", { name: "结果" }).waitFor();
    const { experiments } = await api<Overview>(page, "experiments");
    const info = experiments.find((x) => x.id === id)!;
    await page.getByRole("heading", { name: info.title.zh }).waitFor();
    await page.getByLabel("显示", { exact: true }).selectOption(info.metrics.at(-1)!.id);
    await until(
      "the link names the metric",
      async () => page.url(),
      (u) => u.includes(`metric=${info.metrics.at(-1)!.id}`),
    );
    expect(page.url()).toContain("lang=zh");
    expect(errors).toEqual([]);
    await page.context().close();
  });
});

describe("the article against this kernel", () => {
  it("lists every claim with what holds means and what came of it", async () => {
    const { page, errors, forbidden } = await openAt("claims");
    await page.locator("[data-claim]").first().waitFor();
    const { claims } = await api<{ claims: Claim[] }>(page, "claims");
    expect(claims.length).toBeGreaterThan(10);
    expect(await page.locator("article[data-claim]").count()).toBe(claims.length);
    await page.getByText(`Of ${claims.length} claims:`).waitFor();
    for (const c of claims) {
      const article = page.locator(`article[data-claim="${c.id}"]`);
      const text = (await article.textContent()) ?? "";
      expect(text).toContain(c.text.en);
      expect(text).toContain(c.means.en);
      if (c.standing.verdict) {
        expect(text).toContain(c.standing.verdict.verdict);
        expect(text).toContain(c.standing.verdict.reason.en);
      }
      if (c.lesson)
        expect(await article.getByRole("link").first().getAttribute("href")).toBe(`#/lab/${c.lesson}`);
    }
    // The counts add up to all of them.
    const numbers = await page.locator("[data-sum] > span > .num").allTextContents();
    expect(numbers.map(Number).reduce((a, b) => a + b, 0)).toBe(claims.length);
    // What the first test measured has a verdict, whichever it is.
    const tested = claims.filter((c) => c.experiment === id);
    expect(tested.length).toBeGreaterThan(0);
    for (const c of tested) expect(c.standing.verdict).not.toBeNull();

    const sections = [...new Set(claims.map((c) => c.section))];
    await page.getByRole("group", { name: "Show a section" }).getByRole("button").nth(1).click();
    await until(
      "one section is shown",
      () => page.locator("article[data-claim]").count(),
      (n) => n === claims.filter((c) => c.section === sections[0]).length,
    );
    expect(page.url()).toContain(`section=${sections[0]}`);
    expect([...errors, ...forbidden]).toEqual([]);
    await page.context().close();
  });
});
