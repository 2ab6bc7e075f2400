// A Chromium for the bench: opens one watched instance and tells, one JSON line
// each, what it draws and when. Started in web/, for its playwright-core:
//
//   node browser.mjs pixel URL TOPIC    tells of every frame that changes the picture
//   node browser.mjs page URL TOPIC MS  pans and zooms for MS each, tells the gaps between frames
//
// Times are ms of CLOCK_REALTIME.

import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";

const { chromium } = createRequire(join(process.cwd(), "package.json"))("playwright-core");
const [mode, url, topic, argument] = process.argv.slice(2);

function tell(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

// Runs in the page before its own scripts: notes when frames arrive, when they
// have been applied to the model, and when the picture made of them is drawn.
function instrument() {
  const real = WebSocket;
  const first = { scripts: [], at: 0 };
  window.benchFirst = first;
  window.WebSocket = class extends real {
    constructor(...args) {
      super(...args);
      let frame = null;
      this.addEventListener("message", (e) => {
        frame = null;
        if (!(e.data instanceof ArrayBuffer)) return;
        const view = new DataView(e.data);
        frame = {
          sequence: view.getUint32(16, true),
          kernel: String(view.getBigUint64(24, true)),
          arrived: performance.now(),
        };
      });
      // The page's own listener is registered by now, so this one runs after it.
      setTimeout(() => {
        this.addEventListener("message", () => {
          if (frame) watch({ ...frame, applied: performance.now() });
        });
      });
    }
  };
  function watch(frame) {
    const hook = window.__kernelviz;
    if (!hook) return;
    const model = hook.model();
    if (model.sequence !== frame.sequence) return;
    const state = {
      items: model.items,
      ready: model.ready.map((r) => r.fd),
    };
    // The page asked for its animation frame before us: it has drawn when we run.
    requestAnimationFrame(function look() {
      const { sequence, at } = hook.drawn();
      if (sequence < frame.sequence) {
        requestAnimationFrame(look);
        return;
      }
      if (!first.at) {
        first.at = at;
        first.scripts = performance
          .getEntriesByType("resource")
          .filter((r) => r.name.endsWith(".js") && r.responseEnd <= at)
          .map((r) => new URL(r.name).pathname);
      }
      window.benchTell?.({ ...frame, drawn: at, ...state });
    });
  }
}

// The page's clock against the real one: Date.now() changes at whole ms, and
// is seen to have changed a little late.
function calibrate() {
  let best = -Infinity;
  for (let i = 0; i < 20; i++) {
    const before = Date.now();
    while (Date.now() === before);
    best = Math.max(best, Date.now() - performance.now());
  }
  return best;
}

async function open() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"],
  });
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB" });
  const page = await context.newPage();
  page.on("pageerror", (e) => {
    process.stderr.write(`error of the page: ${e.message}\n`);
    process.exit(1);
  });
  await page.addInitScript(instrument);
  return { browser, page };
}

async function pixel() {
  const { browser, page } = await open();
  let offset = 0;
  let last = "";
  await page.exposeBinding("benchTell", (_, f) => {
    const state = JSON.stringify([f.items, f.ready]);
    if (state === last || !offset) return;
    last = state;
    tell({
      kernel: f.kernel,
      arrived: offset + f.arrived,
      applied: offset + f.applied,
      drawn: offset + f.drawn,
      items: f.items,
      ready: f.ready,
    });
  });
  await page.goto(url);
  await page.goto(new URL(`/#/${topic}`, url).href);
  await page.waitForFunction(() => window.__kernelviz?.scene()?.nodes.length > 0);
  offset = await page.evaluate(calibrate);
  tell({ started: true });
  for await (const _ of process.stdin);
  await browser.close();
}

// Moves the picture a little before every animation frame, as a hand on a
// wheel or a finger does. Returns, in ms, the gaps between frames and how long
// the page worked for each.
function move({ kind, ms }) {
  const canvas = document.querySelector("canvas");
  const box = canvas.getBoundingClientRect();
  const send = (deltaX, deltaY) =>
    canvas.dispatchEvent(
      new WheelEvent("wheel", {
        deltaX,
        deltaY,
        clientX: box.left + box.width / 2,
        clientY: box.top + box.height / 2,
        bubbles: true,
        cancelable: true,
      }),
    );
  return new Promise((resolve) => {
    const gaps = [];
    const work = [];
    const glyphs = [];
    let start = 0;
    let before = 0;
    let began = 0;
    let done = false;
    // Nothing moves yet, so this comes before the page's own callback in every
    // frame, and step comes after it.
    requestAnimationFrame(function mark() {
      began = performance.now();
      if (!done) requestAnimationFrame(mark);
    });
    requestAnimationFrame(function step(now) {
      if (!start) start = now;
      else {
        gaps.push(now - before);
        work.push(performance.now() - began);
      }
      before = now;
      const { counts } = window.__kernelviz.scene();
      glyphs.push(counts.nodes + counts.glyphs);
      if (now - start >= ms) {
        done = true;
        resolve({ gaps, work, glyphs });
        return;
      }
      // Half of the time in one direction, half back.
      const forth = (now - start) % 1500 < 750;
      if (kind === "pan") send(forth ? 40 : -40, 0);
      if (kind === "zoom") send(0, forth ? -30 : 30);
      requestAnimationFrame(step);
    });
  });
}

async function page() {
  const { browser, page } = await open();
  await page.goto(url);
  await page.goto("about:blank");
  // A fresh page at the instance: everything from here to the first picture.
  await page.goto(new URL(`/#/${topic}`, url).href);
  await page.waitForFunction(() => window.benchFirst.at > 0, null, { timeout: 60_000 });
  tell({ first: await page.evaluate(() => window.benchFirst) });
  const ms = Number(argument);
  // Into the tree, so that panning has somewhere to go.
  await page.evaluate(move, { kind: "zoom", ms: 700 });
  for (const kind of ["still", "pan", "still", "zoom"]) {
    tell({ kind, ...(await page.evaluate(move, { kind, ms })) });
  }
  await browser.close();
}

await (mode === "pixel" ? pixel() : page());
