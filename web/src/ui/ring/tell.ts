// A step of the story, in words.

import { t } from "../../i18n/more";
import { slotOf, type RingModel } from "../../model/uring";
import type { Step } from "../../model/uringstory";
import { CQE_F_MORE, dataText, opShort, resText } from "../../model/uringnames";
import { shortTime } from "../../scene/uringtimeline";
import type { Life } from "../../wire/uring";

export interface Line {
  readonly by: "application" | "kernel" | "worker" | "sqpoll";
  readonly text: string;
  /** A write to shared memory: no system call, and its moment is not known. */
  readonly memory: boolean;
  /** How long after the submission; "" where that is not known. */
  readonly after: string;
}

function byOf(l: Life): Line["by"] {
  if (l.what === "cqwait") return "application";
  if (l.by === "worker" || l.by === "sqpoll") return l.by;
  return "kernel";
}

/** tell puts a step into words. */
export function tell(step: Step, m: RingModel): Line {
  const sqEntries = m.ring?.sqEntries ?? 0;
  const cqEntries = m.ring?.cqEntries ?? 0;
  const memory = { by: "application", memory: true, after: "" } as const;
  const kernel = { by: "kernel", memory: false, after: "" } as const;
  switch (step.kind) {
    case "queue":
      return {
        ...memory,
        text: t("ring.tell.queue", {
          what: step.sqe ? opShort(step.sqe.op) : "SQE",
          data: step.sqe ? `#${dataText(step.sqe.userData)}` : "?",
          slot: String(slotOf(step.position, sqEntries)),
          tail: String((step.position + 1) >>> 0),
        }),
      };
    case "take":
      return {
        ...kernel,
        text: t("ring.tell.take", { n: step.count, head: String((step.position + step.count) >>> 0) }),
      };
    case "post":
      return {
        ...kernel,
        text: t(step.kept ? "ring.tell.moved" : "ring.tell.post", {
          data: step.cqe ? `#${dataText(step.cqe.userData)}` : "?",
          res: step.cqe ? resText(step.cqe.res) : "?",
          slot: String(slotOf(step.position, cqEntries)),
          tail: String((step.position + 1) >>> 0),
        }),
      };
    case "reap":
      return {
        ...memory,
        text: t("ring.tell.reap", {
          data: step.cqe ? `#${dataText(step.cqe.userData)}` : "?",
          slot: String(slotOf(step.position, cqEntries)),
          head: String((step.position + 1) >>> 0),
        }),
      };
    case "many":
      return { ...kernel, text: t("ring.tell.many", { n: step.count }) };
    case "life":
      return lifeLine(step.life, step.position, sqEntries, cqEntries);
  }
}

function lifeLine(l: Life, position: number, sqEntries: number, cqEntries: number): Line {
  const after =
    l.what !== "submit" && l.submitAt > 0 && l.time >= l.submitAt ? `+${shortTime(l.time - l.submitAt)}` : "";
  const line = { by: byOf(l), memory: false, after };
  const params = { what: opShort(l.op), data: `#${dataText(l.userData)}`, res: resText(l.res), n: l.res };
  switch (l.what) {
    case "submit":
      return {
        ...line,
        text: t("ring.tell.submit", {
          ...params,
          slot: String(slotOf(Math.max(0, position), sqEntries)),
          head: String((position + 1) >>> 0),
        }),
      };
    case "complete":
      if (position < 0) return { ...line, text: t("ring.tell.full", params) };
      return {
        ...line,
        text: t((l.cqeFlags & CQE_F_MORE) !== 0 ? "ring.tell.more" : "ring.tell.complete", {
          ...params,
          slot: String(slotOf(position, cqEntries)),
          tail: String((position + 1) >>> 0),
        }),
      };
    case "arm":
    case "punt":
    case "taskwork":
    case "overflow":
    case "fail":
    case "link":
    case "defer":
    case "cqwait":
    case "localwork":
      return { ...line, text: t(`ring.tell.${l.what}`, params) };
    case "unknown":
      return { ...line, text: t("ring.tell.unknown") };
  }
}
