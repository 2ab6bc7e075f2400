// The path through the modules, for the home page.

import type { Curriculum, LabBrief, Module } from "../net/labs";

export function isDone(lab: LabBrief): boolean {
  return lab.steps > 0 && lab.done >= lab.steps;
}

export interface Progress {
  minutes: number;
  steps: number;
  done: number; // steps
  lessons: number; // done
}

export function progress(module: Module): Progress {
  const sum = (of: (l: LabBrief) => number) => module.labs.reduce((n, l) => n + of(l), 0);
  return {
    minutes: sum((l) => l.minutes),
    steps: sum((l) => l.steps),
    done: sum((l) => Math.min(l.done, l.steps)),
    lessons: module.labs.filter(isDone).length,
  };
}

/** nextLab is where to go on: the first lesson that is not done. */
export function nextLab(module: Module): LabBrief | null {
  return module.labs.find((l) => !isDone(l)) ?? null;
}

/** opensOn is the module that the page opens: the first that has something left to do. */
export function opensOn(c: Curriculum): string | null {
  const written = c.modules.filter((m) => m.labs.length > 0);
  return (written.find((m) => nextLab(m) !== null) ?? written[0])?.id ?? null;
}
