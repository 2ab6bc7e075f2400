// The parts below the stage. Where the page is narrow, the lesson is one of them.

import type { Lesson } from "../net/labs";

export type DrawerTab = "lesson" | "calls" | "terminal" | "code";

/** drawerTabs are those that a lab offers. */
export function drawerTabs(lesson: Lesson, puppet: boolean, narrow: boolean): DrawerTab[] {
  const out: DrawerTab[] = narrow ? ["lesson"] : [];
  if (puppet || lesson.stage?.of === "puppet") out.push("calls");
  if (lesson.terminal) out.push("terminal");
  if (lesson.code) out.push("code");
  return out;
}
