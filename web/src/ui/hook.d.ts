import type { EpollModel, Scene } from "../core";
import type { Mode } from "./stage";

declare global {
  interface Window {
    /** What the stage shows, to read only: for browser tests and measurements. */
    __kernelviz?: {
      scene(): Scene | null;
      model(): EpollModel;
      mode(): Mode;
      drawn(): { sequence: number; time: number; at: number };
    };
  }
}
