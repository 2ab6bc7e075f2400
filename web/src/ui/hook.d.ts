import type { EpollModel, Scene } from "../core";
import type { RingModel } from "../model/uring";
import type { Picture } from "../scene/shapes";
import type { Life } from "../wire/uring";
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
    /** The same of a ring. */
    __kernelvizRing?: {
      picture(): Picture | null;
      model(): RingModel;
      newest(): RingModel;
      mode(): Mode;
      slow(): boolean;
      lives(): readonly Life[];
      drawn(): { sequence: number; time: number; at: number };
    };
  }
}
