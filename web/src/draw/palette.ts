/** Colours and faces of the picture; the tokens of styles/tokens.css. */
export interface Palette {
  paper: string;
  panel: string;
  ink: string;
  soft: string;
  line: string;
  accent: string;
  red: string;
  redfill: string;
  /** Disc of a black node, its outline and the label on it. */
  blackfill: string;
  blackline: string;
  blacktext: string;
  ready: string;
  wait: string;
  warn: string;
  edge: string;
  sans: string;
  mono: string;
}

const FACES = {
  sans: 'Inter, system-ui, "Noto Sans CJK SC", sans-serif',
  mono: '"JetBrains Mono", ui-monospace, monospace',
};

export const LIGHT: Palette = {
  paper: "#f7f6f2",
  panel: "#fffefb",
  ink: "#1d1c1a",
  soft: "#67645c",
  line: "#e0ddd4",
  accent: "#0b6e6e",
  red: "#b83b08",
  redfill: "#fff1e8",
  blackfill: "#24231f",
  blackline: "#24231f",
  blacktext: "#f7f6f2",
  ready: "#0b7a53",
  wait: "#2360a8",
  warn: "#8a5f00",
  edge: "#bdb9ae",
  ...FACES,
};

export const DARK: Palette = {
  paper: "#131410",
  panel: "#1b1c18",
  ink: "#ecebe4",
  soft: "#a09d92",
  line: "#2f302a",
  accent: "#4fc1b8",
  red: "#ff8a4c",
  redfill: "#2b1a10",
  blackfill: "#000000",
  blackline: "#85837a",
  blacktext: "#f2f1ea",
  ready: "#3ecf96",
  wait: "#7db4f0",
  warn: "#e0b04a",
  edge: "#5b5c53",
  ...FACES,
};

/** Reads the tokens (--paper, --ink, …) from a computed style; what is missing comes from `base`. */
export function paletteFrom(style: Pick<CSSStyleDeclaration, "getPropertyValue">, base: Palette): Palette {
  const out = { ...base };
  for (const key of Object.keys(base) as (keyof Palette)[]) {
    const value = style.getPropertyValue(`--${key}`).trim();
    if (value !== "") out[key] = value;
  }
  return out;
}

/** Between two "#rrggbb" colours. */
export function blend(a: string, b: string, t: number): string {
  const pa = parseInt(a.slice(1), 16);
  const pb = parseInt(b.slice(1), 16);
  if (Number.isNaN(pa) || Number.isNaN(pb) || a.length !== 7 || b.length !== 7) return t < 0.5 ? a : b;
  let out = "#";
  for (const shift of [16, 8, 0]) {
    const v = Math.round(((pa >> shift) & 255) * (1 - t) + ((pb >> shift) & 255) * t);
    out += v.toString(16).padStart(2, "0");
  }
  return out;
}

/** Steps in which the red share of a subtree is shown. */
export const SHADES = 9;

/**
 * Fill of a subtree by its red share, pale at the level where the first one
 * begins and full at the deepest: most nodes of a tree are on its last levels.
 */
export function shades(p: Palette): { pale: string; full: string }[] {
  return Array.from({ length: SHADES }, (_, i) => {
    const tone = blend(p.blackline, p.red, i / (SHADES - 1));
    return { pale: blend(tone, p.paper, 0.82), full: blend(tone, p.paper, 0.35) };
  });
}

/** Which of shades() a share of red nodes takes. */
export function shadeOf(share: number): number {
  // Hardly more than half of a large red-black tree is red: the scale ends there.
  return Math.max(0, Math.min(SHADES - 1, Math.round(share * 2 * (SHADES - 1))));
}
