import { request } from "node:http";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  add,
  launch,
  openPage,
  picture,
  scratch,
  seen,
  startPuppet,
  startServer,
  until,
  type Server,
} from "./harness";

let browser: Browser;
let server: Server;

beforeAll(async () => {
  [server, browser] = await Promise.all([startServer(), launch()]);
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

describe("home", () => {
  it("names the kernel, what it can show, the lessons, and what is only planned", async () => {
    const { page, errors } = await openPage(browser, server);
    await page.getByRole("heading", { level: 1, name: /^Linux \d+\.\d+/ }).waitFor();
    await page.getByText("in use").first().waitFor();
    await page.getByText("planned").first().waitFor();
    expect(await page.getByText("planned").count()).toBe(3);
    expect(await page.locator('main a[href^="#/lab/epoll-"]').count()).toBeGreaterThanOrEqual(9);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it("lists processes that hold an epoll instance, this browser's among them, and filters", async () => {
    const { page } = await openPage(browser, server);
    await page.locator("a.row", { hasText: "labserver" }).first().waitFor();
    await page.getByRole("searchbox").fill("labserver");
    await until(
      "only labserver",
      () => page.locator(".row .comm").allTextContents(),
      (names) => names.length > 0 && names.every((n) => n.includes("labserver")),
    );
    await page.getByRole("searchbox").fill("no such process");
    await page.getByText("No instance matches").waitFor();
    await page.context().close();
  });
});

describe("language and theme", () => {
  it("changes both without a reload, remembers them, and the link carries the language", async () => {
    const { page } = await openPage(browser, server);
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await paper();
    await page.getByRole("button", { name: "Dark" }).click();
    expect(await paper()).not.toBe(light);
    await page.getByRole("button", { name: "中文" }).click();
    await page.getByRole("heading", { name: "实验场" }).waitFor();
    await page.waitForURL(/lang=zh/);
    expect(await page.evaluate(() => document.documentElement.lang)).toBe("zh-Hans");
    await page.goto(`${server.origin}/`);
    await page.reload();
    await page.getByRole("heading", { name: "实验场" }).waitFor();
    expect(await paper()).not.toBe(light);
    await page.goto(`${server.origin}/#/?lang=en`);
    await page.getByRole("heading", { name: "Playground" }).waitFor();
    await page.context().close();
  });
});

describe("connection", () => {
  it("keeps the last picture greyed when the server goes, and comes back by itself", async () => {
    const tokenFile = join(scratch, "token");
    const first = await startServer({ tokenFile });
    const { page, errors } = await openPage(browser, first);
    await startPuppet(page);
    await add(page, 7);
    await picture(page, "7 nodes", (s) => s.nodes.length === 7);
    await first.stop("SIGKILL");
    await page.getByText("The connection to labserver is lost").waitFor();
    expect((await seen(page))?.nodes).toHaveLength(7);
    await page.locator(".stage.greyed").waitFor();
    const second = await startServer({ tokenFile, port: first.port });
    await page.getByText("connected", { exact: true }).waitFor({ timeout: 20_000 });
    // The puppet died with its server: the page says so and does not pretend.
    await page.locator(".notice").waitFor();
    await page.getByRole("link", { name: "Back to the playground" }).click();
    await page.locator("a.row", { hasText: "labserver" }).first().waitFor();
    expect(errors).toEqual([]);
    await page.context().close();
    await second.stop();
  });

  it("tells a page whose token is no longer good to open the new address", async () => {
    const first = await startServer();
    const { page } = await openPage(browser, first);
    await page.getByText("connected", { exact: true }).waitFor();
    await first.stop();
    const second = await startServer({ port: first.port });
    await page.getByText("not signed in").waitFor({ timeout: 20_000 });
    await page.context().close();
    await second.stop();
  });
});

describe("a viewer", () => {
  it("sees the learner's puppet live, and cannot drive it", async () => {
    const shared = await startServer({ viewers: true });
    const { page: learner } = await openPage(browser, shared);
    const { topic } = await startPuppet(learner);
    const { page: viewer } = await openPage(browser, { ...shared, url: shared.viewerUrl });
    await viewer.getByText("This address is for looking only").waitFor();
    expect(await viewer.getByRole("button", { name: "Start a puppet" }).isDisabled()).toBe(true);
    await viewer.goto(`${shared.origin}/#/${topic}`);
    await picture(viewer, "the empty instance", (s) => s.sequence > 0 && s.items === 0);
    await add(learner, 6);
    await picture(viewer, "6 nodes", (s) => s.nodes.length === 6);
    await viewer.locator(".call", { hasText: "EPOLL_CTL_ADD" }).first().waitFor();
    expect(await viewer.getByRole("region", { name: "Puppet" }).count()).toBe(0);
    await learner.context().close();
    await viewer.context().close();
    await shared.stop();
  });
});

describe("strangers", () => {
  function upgrade(headers: Record<string, string>): Promise<number> {
    return new Promise((resolve, reject) => {
      const r = request(`${server.origin}/ws`, {
        headers: {
          Connection: "Upgrade",
          Upgrade: "websocket",
          "Sec-WebSocket-Version": "13",
          "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
          ...headers,
        },
      });
      r.once("response", (m) => resolve(m.statusCode ?? 0));
      r.once("upgrade", (m, socket) => {
        socket.destroy();
        resolve(m.statusCode ?? 0);
      });
      r.once("error", reject);
      r.end();
    });
  }

  it("are refused: no cookie, another origin, another host", async () => {
    const token = new URL(server.url).searchParams.get("token") ?? "";
    const good = { Authorization: `Bearer ${token}`, Origin: server.origin };
    expect(await upgrade(good)).toBe(101);
    expect(await upgrade({ Origin: server.origin })).toBe(401);
    expect(await upgrade({ ...good, Origin: "http://evil.example" })).toBe(403);
    expect(await upgrade({ ...good, Host: "evil.example" })).toBeGreaterThanOrEqual(400);
  });

  it("get nothing from a page of another origin in a browser that is signed in", async () => {
    const { page } = await openPage(browser, server);
    await page.getByText("connected", { exact: true }).waitFor();
    const other = await startServer();
    await page.goto(other.url);
    await page.getByText("connected", { exact: true }).waitFor();
    const outcome = await page.evaluate(
      (url) =>
        new Promise<string>((resolve) => {
          const ws = new WebSocket(url);
          ws.onopen = () => resolve("open");
          ws.onerror = () => resolve("refused");
        }),
      `${server.origin.replace("http", "ws")}/ws`,
    );
    expect(outcome).toBe("refused");
    await page.context().close();
    await other.stop();
  });
});
