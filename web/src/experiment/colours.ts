// Colours of variants: Okabe and Ito's, darkened on paper and lightened on
// black where the original would be too faint. A hue never stands alone: each
// variant has a shape and a label too.

import { DARK, LIGHT, type Palette } from "../draw/palette";
import type { Tone } from "./drawing";

const onPaper = ["#4d4a44", "#0072b2", "#c14f00", "#00805a", "#a8558a", "#a87200", "#2f7fb5", "#1d1c1a"];
const onBlack = ["#b5b2a7", "#56b4e9", "#f08a4b", "#2fc79b", "#e09ac4", "#e69f00", "#f0e442", "#ecebe4"];

export interface Colours {
  palette: Palette;
  variants: readonly string[];
}

export const light: Colours = { palette: LIGHT, variants: onPaper };
export const dark: Colours = { palette: DARK, variants: onBlack };

export function colourOf(tone: Tone, c: Colours): string {
  if (typeof tone === "number") return c.variants[tone % c.variants.length]!;
  return c.palette[tone];
}
