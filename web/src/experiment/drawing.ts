// A chart as a flat list of marks. The page, the SVG file and the PNG are drawn
// from the same list.

export type Tone = "ink" | "soft" | "line" | "edge" | "accent" | "warn" | "panel" | "paper" | number; // number: colour of a variant
export type Shape = "circle" | "square" | "up" | "diamond" | "down" | "cross" | "ring" | "bar";
export const shapes: readonly Shape[] = ["circle", "square", "up", "diamond", "down", "cross", "ring", "bar"];

export type Mark =
  | {
      kind: "line";
      points: readonly (readonly [number, number])[];
      tone: Tone;
      width: number;
      dash?: string;
      alpha?: number;
    }
  | {
      kind: "area";
      points: readonly (readonly [number, number])[];
      tone: Tone;
      alpha: number;
    }
  | { kind: "rect"; x: number; y: number; w: number; h: number; tone: Tone; alpha?: number }
  | {
      kind: "dot";
      x: number;
      y: number;
      r: number;
      shape: Shape;
      tone: Tone;
      alpha?: number;
      hollow?: boolean;
    }
  | {
      kind: "text";
      x: number;
      y: number; // middle of the line
      text: string;
      size: number;
      tone: Tone;
      align?: "start" | "middle" | "end";
      mono?: boolean;
      bold?: boolean;
    };

export interface Drawing {
  width: number;
  height: number;
  marks: Mark[];
}

/** stack puts drawings below each other. */
export function stack(parts: readonly Drawing[], gap: number, margin = 0): Drawing {
  const marks: Mark[] = [];
  let y = margin;
  for (const p of parts) {
    marks.push(...p.marks.map((m) => moved(m, margin, y)));
    y += p.height + gap;
  }
  const width = Math.max(0, ...parts.map((p) => p.width)) + 2 * margin;
  return { width, height: y - (parts.length > 0 ? gap : 0) + margin, marks };
}

function moved(m: Mark, dx: number, dy: number): Mark {
  if (m.kind === "line" || m.kind === "area") {
    return { ...m, points: m.points.map(([x, y]) => [x + dx, y + dy] as const) };
  }
  return { ...m, x: m.x + dx, y: m.y + dy };
}

/** outline of a shape about the origin, as corners; a circle has none. */
export function corners(shape: Shape, r: number): [number, number][] {
  switch (shape) {
    case "square":
      return box(r * 0.86, r * 0.86);
    case "up":
      return [
        [0, -r * 1.1],
        [r, r * 0.8],
        [-r, r * 0.8],
      ];
    case "down":
      return [
        [0, r * 1.1],
        [r, -r * 0.8],
        [-r, -r * 0.8],
      ];
    case "diamond":
      return [
        [0, -r * 1.2],
        [r * 1.2, 0],
        [0, r * 1.2],
        [-r * 1.2, 0],
      ];
    case "cross": {
      const a = r * 0.4;
      return [
        [-a, -r],
        [a, -r],
        [a, -a],
        [r, -a],
        [r, a],
        [a, a],
        [a, r],
        [-a, r],
        [-a, a],
        [-r, a],
        [-r, -a],
        [-a, -a],
      ];
    }
    case "bar":
      return box(r * 0.45, r * 1.15);
    case "circle":
    case "ring":
      return [];
  }
}

function box(w: number, h: number): [number, number][] {
  return [
    [-w, -h],
    [w, -h],
    [w, h],
    [-w, h],
  ];
}

// Widths are estimated: a file is drawn without a document to measure in.
const wideGlyph = /[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]/;

/** textWidth is about how wide a text is in Inter at a size. */
export function textWidth(text: string, size: number): number {
  let w = 0;
  for (const c of text)
    w += wideGlyph.test(c) ? 1 : /[ilj.,:;'|()[\] ]/.test(c) ? 0.32 : /[mwMW%@]/.test(c) ? 0.84 : 0.57;
  return w * size;
}

/** wrapped breaks a text into at most `most` lines; the last ends in "…" if more was to come. */
export function wrapped(text: string, width: number, size: number, most = 2): string[] {
  const words = text.match(/[\u2e80-\u9fff\uff00-\uff60]|[^\s\u2e80-\u9fff\uff00-\uff60]+\s*|\s+/g) ?? [];
  const lines: string[] = [];
  let line = "";
  for (const w of words) {
    if (line !== "" && textWidth((line + w).trimEnd(), size) > width) {
      lines.push(line.trim());
      line = "";
    }
    line += w;
  }
  if (line.trim() !== "") lines.push(line.trim());
  if (lines.length <= most) return lines.map((l) => cut(l, width, size));
  const kept = lines.slice(0, most);
  kept[most - 1] = cut(`${kept[most - 1]} ${lines[most]}`, width, size, true);
  return kept.map((l, i) => (i === most - 1 ? l : cut(l, width, size)));
}

function cut(text: string, width: number, size: number, more = false): string {
  if (!more && textWidth(text, size) <= width) return text;
  let s = text;
  while (s.length > 1 && textWidth(`${s}…`, size) > width) s = s.slice(0, -1);
  return `${s.trimEnd()}…`;
}
