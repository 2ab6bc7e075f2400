// Pointer and wheel on the canvas: drag pans, wheel and pinch zoom, a press
// that did not move is a click.

import type { Stage } from "./stage";

export interface Presses {
  click(x: number, y: number): void;
  hover(x: number, y: number): void;
  leave(): void;
}

const slop = 4; // px a press may move and still be a click

export function listen(canvas: HTMLCanvasElement, stage: Stage, on: Presses): () => void {
  const down = new Map<number, { x: number; y: number }>();
  let moved = false;
  const end = new AbortController();
  const { signal } = end;

  const at = (e: PointerEvent | WheelEvent) => {
    const box = canvas.getBoundingClientRect();
    return { x: e.clientX - box.left, y: e.clientY - box.top };
  };

  canvas.addEventListener(
    "pointerdown",
    (e) => {
      if (e.button !== 0) return;
      if (down.size === 0) moved = false;
      down.set(e.pointerId, at(e));
      canvas.setPointerCapture(e.pointerId);
    },
    { signal },
  );

  canvas.addEventListener(
    "pointermove",
    (e) => {
      const p = at(e);
      const was = down.get(e.pointerId);
      if (!was) {
        on.hover(p.x, p.y);
        return;
      }
      const other = [...down].find(([id]) => id !== e.pointerId)?.[1];
      if (other) {
        moved = true;
        const factor = Math.max(1, Math.abs(p.x - other.x)) / Math.max(1, Math.abs(was.x - other.x));
        stage.zoom(factor, (p.x + other.x) / 2);
      } else if (moved || Math.hypot(p.x - was.x, p.y - was.y) > slop) {
        if (!moved) on.leave();
        moved = true;
        stage.pan(p.x - was.x);
      } else return;
      down.set(e.pointerId, p);
    },
    { signal },
  );

  const up = (e: PointerEvent) => {
    if (!down.delete(e.pointerId)) return;
    if (!moved && e.type === "pointerup") on.click(at(e).x, at(e).y);
  };
  canvas.addEventListener("pointerup", up, { signal });
  canvas.addEventListener("pointercancel", up, { signal });
  canvas.addEventListener("pointerleave", () => on.leave(), { signal });

  canvas.addEventListener(
    "wheel",
    (e) => {
      e.preventDefault();
      const unit = e.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      const sideways = Math.abs(e.deltaX) > Math.abs(e.deltaY) || e.shiftKey;
      if (sideways) stage.pan(-(e.deltaX || e.deltaY) * unit);
      else stage.zoom(Math.exp((-e.deltaY * unit) / (e.ctrlKey ? 100 : 400)), at(e).x);
    },
    { signal, passive: false },
  );
  return () => end.abort();
}
