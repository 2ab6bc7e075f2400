// Where a reader is in a lesson, in terms that another language or another
// width does not change: the part at the top, and how far into it.

export interface Spot {
  part: number;
  into: number; // 0 at its top, 1 at its end
}

/** Box is where a part stands, in px from the top of the text. */
export interface Box {
  top: number;
  height: number;
}

export function spotAt(boxes: readonly Box[], y: number): Spot | null {
  if (y <= 0) return null; // at the top one stays at the top
  let part = -1;
  for (const [i, b] of boxes.entries()) if (b.top <= y) part = i;
  const b = boxes[part];
  if (!b) return null;
  return { part, into: b.height > 0 ? Math.min(1, (y - b.top) / b.height) : 0 };
}

/** yOf is where to scroll for a spot; 0 when the part is not there. */
export function yOf(boxes: readonly Box[], spot: Spot | null): number {
  const b = spot && boxes[spot.part];
  return b ? b.top + b.height * spot.into : 0;
}

/** withoutTitle takes the heading that the page shows itself from the first part. */
export function withoutTitle(html: string): string {
  return html.replace(/^\s*<h1[^>]*>[\s\S]*?<\/h1>\s*/, "");
}
