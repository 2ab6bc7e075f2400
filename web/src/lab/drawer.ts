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

export const mostTerminals = 4;

/** terminalTabs are the numbers to show: those that run, those opened here, and always the first. */
export function terminalTabs(running: readonly number[], opened: readonly number[]): number[] {
  return [...new Set([1, ...running, ...opened])]
    .filter((n) => n >= 1 && n <= mostTerminals)
    .sort((a, b) => a - b);
}
