/**
 * Heights of the rows of a long list of which only a part is in the document.
 * A row not yet measured counts as the estimate.
 */
export class Heights {
  private readonly known = new Map<number, number>(); // by row key

  constructor(private readonly estimate: number) {}

  /** measured records the height of a row and reports whether it is news. */
  measured(key: number, height: number): boolean {
    if (height <= 0 || this.of(key) === height) return false;
    this.known.set(key, height);
    return true;
  }

  of(key: number): number {
    return this.known.get(key) ?? this.estimate;
  }

  /** forget drops what was measured: the width changed. */
  forget(): void {
    this.known.clear();
  }

  /** window finds the rows to render for a scroll position. */
  window(keys: readonly number[], top: number, height: number, overscan = 200): Window {
    let y = 0;
    let from = 0;
    while (from < keys.length && y + this.of(keys[from]!) < top - overscan) y += this.of(keys[from++]!);
    const before = y;
    let to = from;
    while (to < keys.length && y < top + height + overscan) y += this.of(keys[to++]!);
    let after = 0;
    for (let i = to; i < keys.length; i++) after += this.of(keys[i]!);
    return { from, to, before, after };
  }
}

/** Window is rows [from, to) with the px of space before and after them. */
export interface Window {
  from: number;
  to: number;
  before: number;
  after: number;
}
