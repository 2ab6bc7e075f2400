// How the learner arranged the lesson page: kept from lesson to lesson.

import type { DrawerTab } from "./drawer";

class Layout {
  /** Height of the stage where the lesson lies below it. */
  stage = $state(Math.round(innerHeight * 0.44));
  lesson = $state(initialWidth());
  /** Heights of the drawer: code needs more than calls. */
  drawer = $state<Record<DrawerTab, number>>({ lesson: 0, calls: 176, terminal: 280, code: 400 });
}

// Room for 65 to 75 letters where the window has it, and the larger part for the stage.
function initialWidth(): number {
  return Math.round(Math.min(592, Math.max(440, innerWidth * 0.355)));
}

export const layout = new Layout();
