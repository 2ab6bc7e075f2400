// What part of the tree is looked at. Only x moves: y is the depth, and every
// level always has a place.
import type { Viewport } from "./types";

/** Fewer ranks than this are never stretched over the whole width. */
export const FIT_MIN = 10;

/** The closest look, in ranks. */
export const ZOOM_MIN = 4;

/** The whole tree; a small one stands in the middle. */
export function fit(items: number): Viewport {
  if (items >= FIT_MIN) return { lo: 0, hi: items };
  const lo = (items - FIT_MIN) / 2;
  return { lo, hi: lo + FIT_MIN };
}

/** Within the tree and no narrower than ZOOM_MIN ranks. */
export function clamp(v: Viewport, items: number): Viewport {
  const all = fit(items);
  const most = all.hi - all.lo;
  const ranks = Math.min(most, Math.max(ZOOM_MIN, v.hi - v.lo));
  const middle = (v.lo + v.hi) / 2;
  const lo = Math.min(Math.max(middle - ranks / 2, all.lo), all.hi - ranks);
  return { lo, hi: lo + ranks };
}

/**
 * factor > 1 zooms in; the rank under px stays there. px counts from
 * scene.tree.x, width is scene.tree.w.
 */
export function zoomAt(v: Viewport, items: number, factor: number, px: number, width: number): Viewport {
  const all = fit(items);
  const now = v.hi - v.lo;
  const ranks = Math.min(all.hi - all.lo, Math.max(ZOOM_MIN, now / factor));
  const share = width > 0 ? px / width : 0.5;
  const lo = v.lo + share * (now - ranks);
  return clamp({ lo, hi: lo + ranks }, items);
}

/** Moves the picture by px to the right, as a drag does. */
export function panBy(v: Viewport, items: number, px: number, width: number): Viewport {
  const by = width > 0 ? (px / width) * (v.hi - v.lo) : 0;
  return clamp({ lo: v.lo - by, hi: v.hi - by }, items);
}

/** The rank in the middle, `ranks` wide (default: as now). */
export function centreOn(v: Viewport, items: number, rank: number, ranks = v.hi - v.lo): Viewport {
  return clamp({ lo: rank + 0.5 - ranks / 2, hi: rank + 0.5 + ranks / 2 }, items);
}

/** The ranks [lo, hi) with some air around. */
export function zoomTo(lo: number, hi: number, items: number): Viewport {
  const air = (hi - lo) * 0.06;
  return clamp({ lo: lo - air, hi: hi + air }, items);
}

/** Nothing lies outside. */
export function isWhole(v: Viewport, items: number): boolean {
  return v.lo <= 0 && v.hi >= items;
}

/** The same part after the tree grew or shrank: a whole view stays whole. */
export function follow(v: Viewport, before: number, items: number): Viewport {
  return isWhole(v, before) ? fit(items) : clamp(v, items);
}

/** Between two; the zoom goes evenly to the eye. t 0..1. */
export function betweenViews(a: Viewport, b: Viewport, t: number): Viewport {
  if (t <= 0) return a;
  if (t >= 1) return b;
  const wa = a.hi - a.lo;
  const wb = b.hi - b.lo;
  const ranks = wa * Math.pow(wb / wa, t);
  // The middle moves with the change of width, so that what is zoomed into
  // does not first fly out of the picture.
  const share = Math.abs(wb - wa) < 1e-9 ? t : (ranks - wa) / (wb - wa);
  const ma = (a.lo + a.hi) / 2;
  const mb = (b.lo + b.hi) / 2;
  const middle = ma + (mb - ma) * share;
  return { lo: middle - ranks / 2, hi: middle + ranks / 2 };
}

/**
 * `view` of the watch message: half a screen more on each side, so that
 * panning shows no gap. hi 0 is the whole tree.
 */
export function toView(v: Viewport, items: number, width: number): { lo: number; hi: number; px: number } {
  const px = Math.min(65535, Math.max(1, Math.round(width)));
  if (isWhole(v, items)) return { lo: 0, hi: 0, px };
  const half = (v.hi - v.lo) / 2;
  const lo = Math.max(0, Math.floor(v.lo - half));
  const hi = Math.min(items, Math.ceil(v.hi + half));
  if (lo === 0 && hi === items) return { lo: 0, hi: 0, px: Math.min(65535, px * 2) };
  return { lo, hi, px: Math.min(65535, Math.max(1, Math.round((px * (hi - lo)) / (v.hi - v.lo)))) };
}
