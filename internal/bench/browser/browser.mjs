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

const { chromium } = createRequire(join(process.cwd(), "package.json"))(
  "playwright-core",
);
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
        if (!(e.data instanceof ArrayBuffer) || !this.url.endsWith("/ws"))
          return;
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
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-sync",
    ],
  });
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    locale: "en-GB",
  });
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
  await page.waitForFunction(
    () => window.__kernelviz?.scene()?.nodes.length > 0,
  );
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
  await page.waitForFunction(() => window.benchFirst.at > 0, null, {
    timeout: 60_000,
  });
  tell({ first: await page.evaluate(() => window.benchFirst) });
  const ms = Number(argument);
  // Into the tree, so that panning has somewhere to go.
  await page.evaluate(move, { kind: "zoom", ms: 700 });
  for (const kind of ["still", "pan", "still", "zoom"]) {
    tell({ kind, ...(await page.evaluate(move, { kind, ms })) });
  }
  await browser.close();
}

// Runs in the page: drives the lab over a websocket of its own, as a second page
// of the same learner, and waits for what the first shows. Returns the ms from
// each system call to its tick on the page.
async function ticks({ lab, step, fd, action, rounds }) {
  const ws = new WebSocket(`ws://${location.host}/ws`);
  await new Promise((resolve) => (ws.onopen = resolve));
  let puppet = "";
  let called = 0;
  ws.onmessage = (e) => {
    if (typeof e.data !== "string") return;
    const m = JSON.parse(e.data);
    if (m.type === "lab" && m.state.workloads.puppet !== puppet) {
      puppet = m.state.workloads.puppet;
      ws.send(JSON.stringify({ type: "attach", ref: 9, id: puppet }));
    }
    if (m.type === "calls") {
      for (const c of m.calls)
        if (c.text.startsWith("epoll_ctl")) called = Date.parse(c.time);
    }
  };
  const say = (message) => ws.send(JSON.stringify({ ref: 1, lab, ...message }));
  const box = () => document.querySelector(`[data-step="${step}"]`);
  const stands = (state) =>
    new Promise((resolve) => {
      const look = () => box()?.dataset.state === state;
      if (look()) return resolve(performance.timeOrigin + performance.now());
      const observer = new MutationObserver(() => {
        if (!look()) return;
        observer.disconnect();
        resolve(performance.timeOrigin + performance.now());
      });
      observer.observe(document.body, {
        subtree: true,
        childList: true,
        attributes: true,
      });
    });
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const took = [];
  say({ type: "lab", learner: "me" });
  await wait(500);
  for (let i = 0; i < rounds; i++) {
    say({ type: "reset" });
    await stands("predict");
    await wait(300);
    say({ type: "predict", step, fd });
    await stands("open");
    await wait(100 + 60 * Math.random());
    const done = stands("done");
    say({ type: "act", action });
    const at = await done;
    await wait(100);
    took.push(at - called);
  }
  ws.close();
  return took;
}

// Runs in the page: the gaps between animation frames until a text stands in the
// terminal.
function gapsUntil(text) {
  return new Promise((resolve) => {
    const gaps = [];
    let before = 0;
    requestAnimationFrame(function step(now) {
      if (before) gaps.push(now - before);
      before = now;
      if (document.querySelector(".xterm-rows")?.textContent.includes(text))
        return resolve(gaps);
      requestAnimationFrame(step);
    });
  });
}

// A lesson is opened, its checks tick, and its terminal prints a large file.
async function labs() {
  const { browser, page } = await open();
  await page.goto(url);
  const opened = [];
  for (let i = 0; i < 7; i++) {
    await page.goto("about:blank");
    await page.goto(new URL("/#/lab/epoll-growing", url).href);
    await page.waitForSelector('[data-step="third"][data-state="predict"]');
    opened.push(await page.evaluate(() => performance.now()));
  }
  const scripts = await page.evaluate(() =>
    performance
      .getEntriesByType("resource")
      .map((r) => new URL(r.name).pathname)
      .filter((p) => p.endsWith(".js")),
  );
  tell({ opened, scripts });
  const lab = {
    lab: "epoll-growing",
    step: "third",
    fd: 5,
    action: "add-one",
    rounds: Number(argument),
  };
  tell({ ticks: await page.evaluate(ticks, lab) });
  await page.goto(new URL("/#/lab/epoll-tools", url).href);
  await page.click("#drawer-terminal");
  await page.waitForSelector(".xterm-rows");
  await page.waitForFunction(() =>
    /[#$]/.test(document.querySelector(".xterm-rows").textContent),
  );
  await page.locator(".xterm-helper-textarea").first().focus();
  tell({ ready: true });
  await page.keyboard.type(`cat ${topic}; echo all-$((40+2))\n`);
  const start = Date.now();
  const gaps = await page.evaluate(gapsUntil, "all-42");
  tell({ gaps, ms: Date.now() - start });
  await browser.close();
}

await { pixel, page, labs }[mode]();
