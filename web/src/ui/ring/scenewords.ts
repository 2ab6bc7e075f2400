import type { Key } from "../../i18n/more";
import type { RingWords } from "../../scene/uring";

type SceneKey = Extract<
  Key,
  `ring.scene.${string}` | `ring.brief.${string}` | `ring.lane.${string}` | `ring.thread.${string}`
>;

/** The words of a ring's picture, in the language of the page. */
export function ringWords(t: (key: SceneKey) => string): RingWords {
  return {
    application: t("ring.scene.application"),
    kernel: t("ring.scene.kernel"),
    appWrites: t("ring.scene.appwrites"),
    kernelWrites: t("ring.scene.kernelwrites"),
    writesSQ: t("ring.scene.writessq"),
    readsCQ: t("ring.scene.readscq"),
    pending: t("ring.scene.pending"),
    unread: t("ring.scene.unread"),
    unknown: t("ring.scene.unknown"),
    none: t("ring.scene.none"),
    more: t("ring.scene.more"),
    lanes: {
      submitted: t("ring.lane.submitted"),
      armed: t("ring.lane.armed"),
      timeout: t("ring.lane.timeout"),
      punted: t("ring.lane.punted"),
      taskwork: t("ring.lane.taskwork"),
    },
    lost: t("ring.scene.lost"),
    dropped: t("ring.scene.dropped"),
    enters: t("ring.scene.enters"),
    running: t("ring.thread.running"),
    asleep: t("ring.thread.asleep"),
    broken: t("ring.scene.broken"),
    waits: t("ring.scene.waits"),
    inFlight: t("ring.scene.inflight"),
    brief: {
      appWrites: t("ring.brief.appwrites"),
      kernelWrites: t("ring.brief.kernelwrites"),
      writesSQ: t("ring.brief.writessq"),
      readsCQ: t("ring.brief.readscq"),
      unknown: t("ring.brief.unknown"),
      lanes: {
        submitted: t("ring.brief.submitted"),
        armed: t("ring.brief.armed"),
        timeout: t("ring.brief.timeout"),
        punted: t("ring.brief.punted"),
        taskwork: t("ring.brief.taskwork"),
      },
      lost: t("ring.brief.lost"),
      enters: t("ring.brief.enters"),
      broken: t("ring.brief.broken"),
      waits: t("ring.brief.waits"),
    },
  };
}
