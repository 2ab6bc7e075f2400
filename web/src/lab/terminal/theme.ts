// The terminal's colours, from the tokens of the page (terminal.css, tokens.css).

import type { ITheme } from "@xterm/xterm";

const names = [
  "black",
  "red",
  "green",
  "yellow",
  "blue",
  "magenta",
  "cyan",
  "white",
  "brightBlack",
  "brightRed",
  "brightGreen",
  "brightYellow",
  "brightBlue",
  "brightMagenta",
  "brightCyan",
  "brightWhite",
] as const;

/** colours reads a theme; `token` gives the value of a custom property. */
export function colours(token: (name: string) => string): ITheme {
  const theme: ITheme = {
    background: token("--sunk"),
    foreground: token("--ink"),
    cursor: token("--accent"),
    cursorAccent: token("--sunk"),
    selectionBackground: token("--term-selected"),
    selectionInactiveBackground: token("--term-selected-away"),
    scrollbarSliderBackground: token("--line"),
    scrollbarSliderHoverBackground: token("--edge"),
    scrollbarSliderActiveBackground: token("--edge"),
  };
  names.forEach((name, i) => (theme[name] = token(`--term-${i}`)));
  return theme;
}
