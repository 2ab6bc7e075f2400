/**
 * The picture, without a framework: bytes → model → scene → canvas, SVG, table.
 *
 *   const stream = new EpollStream();
 *   const applied = stream.push(buffer);              // may throw FrameError
 *   if (applied.needKey) send({ type: "key", topic });
 *   history.push(buffer, applied, now);
 *   const scene = buildEpollScene(applied.model, options);
 *   const linked = linkedModel(before, applied.model, applied.diff);
 *   motion.to(scene, applied.diff, now, linked && …); // object constancy
 *   drawScene(ctx, motion.at(now), palette, dpr);     // each animation frame while motion.moving(now)
 */
export * from "./wire/header";
export * from "./wire/epoll";

export {
  EpollModel,
  EpollStream,
  applyFrame,
  type Applied,
  type Brief,
  type Problem,
  type Shape,
} from "./model/epoll";
export { diffModels, SAME, type ModelDiff, type RbStep, type Rotation } from "./model/diff";
export { linkedModel } from "./model/linked";
export { History, type HistoryEntry } from "./model/history";
export { eventNames, eventShort, eventText, parseEvents } from "./model/events";
export { fileWords, type FileWords } from "./model/files";

export * from "./scene/types";
export {
  betweenViews,
  centreOn,
  clamp,
  fit,
  follow,
  isWhole,
  panBy,
  toView,
  zoomAt,
  zoomTo,
} from "./scene/viewport";
export { buildEpollScene } from "./scene/epoll";
export { laneHeight } from "./scene/lanes";
export { hitTest, locate } from "./scene/hit";
export { tableRows, type TableRow } from "./scene/table";
export { buildMinimap, minimapView, type Minimap } from "./scene/minimap";
export { findFd, pathTo, walk, type Walk } from "./scene/nav";
export { ariaRows, type AriaRow } from "./scene/aria";
export { placeCard, type CardPlace } from "./scene/card";
export { Motion, STAGES } from "./scene/tween";
export { grouped, span } from "./scene/text";

export { DARK, LIGHT, paletteFrom, type Palette } from "./draw/palette";
export { drawMinimap, drawScene, fitCanvas } from "./draw/canvas";
export { toSVG } from "./draw/svg";
export { toPNG } from "./draw/png";
