// The client's environment in a real browser.

import type { Environment, Socket } from "./client";

export function browserEnvironment(): Environment {
  return {
    connect() {
      const scheme = location.protocol === "https:" ? "wss:" : "ws:";
      return new WebSocket(`${scheme}//${location.host}/ws`) as Socket;
    },
    async refused() {
      try {
        const r = await fetch("/", { method: "GET", cache: "no-store", redirect: "manual" });
        return r.status === 401 || r.status === 403;
      } catch {
        return false;
      }
    },
    now: () => performance.now(),
    random: () => Math.random(),
    after(ms, run) {
      const id = setTimeout(run, ms);
      return () => clearTimeout(id);
    },
  };
}
