// The state of the learner's program in words.

import type { ProgramState } from "../../net/messages";

export interface Words {
  key: `editor.program.${"none" | "building" | "failed" | "stopped" | "running" | "ended"}`;
  params: Record<string, string | number>;
  tone: "" | "wait" | "live" | "bad";
}

export function wordsOf(p: ProgramState): Words {
  switch (p.state) {
    case "none":
      return { key: "editor.program.none", params: {}, tone: "" };
    case "building":
      return { key: "editor.program.building", params: {}, tone: "wait" };
    case "failed": {
      const n = p.diagnostics.filter((d) => d.severity === "error").length;
      // No error on a line: the linker, or the compiler itself.
      if (n === 0) return { key: "editor.program.stopped", params: { how: p.ended }, tone: "bad" };
      return { key: "editor.program.failed", params: { n }, tone: "bad" };
    }
    case "running":
      return { key: "editor.program.running", params: { pid: String(p.pid) }, tone: "live" };
    case "ended":
      return {
        key: "editor.program.ended",
        params: { how: p.ended },
        tone: p.ended === "exit status 0" ? "" : "bad",
      };
  }
}
