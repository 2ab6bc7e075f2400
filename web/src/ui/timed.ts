// What pause, step and scrub need of a view; every view's Watching has it.

import type { Mode } from "./stage";

export interface Timed {
  readonly mode: Mode;
  /** How fast it plays; negative is backwards, 0 does not play. */
  readonly rate: number;
  /** ms between the picture shown and the newest. */
  readonly behind: number;
  /** Clock of the oldest and the newest picture, ms. */
  readonly span: { from: number; to: number } | null;
  /** Clock of the picture shown, ms. */
  readonly cursor: number;
  /** Nothing new comes. */
  readonly ended: boolean;
  readonly stage: {
    toggle(): void;
    step(n: number): void;
    seek(at: number): void;
    live(): void;
  };
}
