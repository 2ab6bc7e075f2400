// The lists under the tree: rdllist, ovflist and wq, in the same coordinates,
// so that an item can travel from the tree into a list and back.
import type { EpollModel } from "../model/epoll";
import type { ListRow } from "../wire/epoll";
import { grouped, monoWidth, sansWidth, span } from "./text";
import type { LaneShape, Rect, Scene, SceneOptions, TextShape, Tone } from "./types";

const ROW = 76;
const PAD = 24;
const PILL_H = 26;
const ARROW = 30;
const CHIP_GAP = 8;
/** Narrower pictures put rdllist on a row of its own. */
const WIDE = 760;

/** Height of the lanes for a picture that wide, px. */
export function laneHeight(width: number): number {
  return width >= WIDE ? ROW : 2 * ROW;
}

function text(at: Partial<TextShape> & { x: number; y: number; text: string }): TextShape {
  return {
    id: 0,
    size: 12,
    font: "sans",
    weight: 400,
    tone: "soft",
    align: "start",
    clear: false,
    alpha: 1,
    ...at,
  };
}

function head(scene: Scene, lane: Rect, name: string, words: string): void {
  const x = lane.x + PAD;
  const y = lane.y + 20;
  scene.texts.push(text({ x, y, text: name, font: "mono", weight: 600, tone: "ink" }));
  const after = x + monoWidth(name, 12) + 8;
  if (words !== "" && after + sansWidth(words, 12) <= lane.x + lane.w - 8) {
    scene.texts.push(text({ x: after, y, text: words, weight: 500 }));
  }
}

function note(scene: Scene, lane: Rect, words: string): void {
  scene.texts.push(text({ x: lane.x + PAD, y: lane.y + 48, text: words }));
}

/** "+ 12 more" after what fitted. */
function more(scene: Scene, x: number, y: number, n: number, words: string, tone: Tone): void {
  scene.texts.push(text({ x, y, text: words.replace("{n}", grouped(n)), tone, weight: 500 }));
}

function pills(
  scene: Scene,
  lane: LaneShape,
  list: "ready" | "overflow",
  rows: readonly ListRow[],
  total: number,
  o: SceneOptions,
): void {
  const y = lane.y + 48;
  const end = lane.x + lane.w - PAD;
  let at = lane.x + PAD;
  const moreWidth = sansWidth(o.words.more.replace("{n}", grouped(total)), 12);
  for (const row of rows) {
    const label = String(row.fd);
    const w = Math.max(34, monoWidth(label, 12) + 18);
    const start = lane.shown === 0 ? at : at + ARROW;
    const last = lane.shown + 1 >= total;
    if (start + w > end - (last ? 0 : ARROW / 2 + moreWidth) && lane.shown > 0) break;
    if (lane.shown > 0) scene.arrows.push({ x: at + ARROW / 2, y, alpha: 1 });
    scene.pills.push({ id: row.node, list, x: start + w / 2, y, w, h: PILL_H, label, alpha: 1 });
    lane.shown++;
    at = start + w;
  }
  if (lane.shown < total) more(scene, at + 12, y, total - lane.shown, o.words.more, "soft");
}

function threads(scene: Scene, lane: LaneShape, model: EpollModel, o: SceneOptions): void {
  const total = lane.length;
  const y = lane.y + 48 - PILL_H / 2;
  const end = lane.x + lane.w - PAD;
  const moreWidth = sansWidth(o.words.more.replace("{n}", grouped(total)), 12) + 12;
  let at = lane.x + PAD;
  for (const w of model.waiters) {
    const parts = [`tid ${w.tid}`];
    if (w.since > 0) parts.push(span(model.pictureTime - w.since));
    if (w.exclusive) parts.push(o.words.exclusive);
    const label = parts.join("  ");
    const width = monoWidth(label, 12) + 24;
    const last = lane.shown + 1 >= total;
    if (at + width > end - (last ? 0 : moreWidth) && lane.shown > 0) break;
    scene.threads.push({ tid: w.tid, x: at, y, w: width, h: PILL_H, label, exclusive: w.exclusive });
    lane.shown++;
    at += width + CHIP_GAP;
  }
  if (lane.shown < total) more(scene, at + 4, lane.y + 48, total - lane.shown, o.words.more, "soft");
}

/** Adds the band at the foot of the scene. */
export function addLanes(scene: Scene, model: EpollModel, o: SceneOptions, band: number): void {
  const { width, height } = o;
  const y = height - band;
  const i = model.instance;
  const rects: Rect[] =
    width >= WIDE
      ? [
          { x: 0, y, w: Math.round(width * 0.4), h: ROW },
          { x: Math.round(width * 0.4), y, w: Math.round(width * 0.57) - Math.round(width * 0.4), h: ROW },
          { x: Math.round(width * 0.57), y, w: width - Math.round(width * 0.57), h: ROW },
        ]
      : [
          { x: 0, y, w: width, h: ROW },
          { x: 0, y: y + ROW, w: Math.round(width * 0.38), h: ROW },
          { x: Math.round(width * 0.38), y: y + ROW, w: width - Math.round(width * 0.38), h: ROW },
        ];
  const [first, second, third] = rects as [Rect, Rect, Rect];
  scene.rules.push({ x1: 0, y1: y, x2: width, y2: y });
  if (second.y > y) scene.rules.push({ x1: 0, y1: second.y, x2: width, y2: second.y });
  for (const r of [second, third]) {
    if (r.x > 0) scene.rules.push({ x1: r.x, y1: r.y, x2: r.x, y2: r.y + ROW });
  }
  const ready: LaneShape = { ...first, name: "rdllist", length: i?.ready ?? 0, shown: 0 };
  const over: LaneShape = { ...second, name: "ovflist", length: i?.overflow ?? 0, shown: 0 };
  const wq: LaneShape = { ...third, name: "wq", length: i?.waiters ?? 0, shown: 0 };
  head(scene, ready, "rdllist", o.words.rdllist);
  head(scene, over, "ovflist", o.words.ovflist);
  head(scene, wq, "wq", o.words.wq);
  if (ready.length === 0) note(scene, ready, o.words.none);
  else pills(scene, ready, "ready", model.ready, ready.length, o);
  if (over.length > 0) pills(scene, over, "overflow", model.overflow, over.length, o);
  else note(scene, over, i?.scanning ? o.words.none : o.words.inactive);
  if (wq.length === 0) note(scene, wq, o.words.none);
  else threads(scene, wq, model, o);
  scene.lanes.push(ready, over, wq);
}
