// A drawing as a file: SVG text, or PNG through a canvas.

import { colourOf, type Colours } from "./colours";
import type { Drawing, Mark } from "./drawing";
import { dotPath, isHollow, n, pathOf } from "./outline";

export interface About {
  title: string;
  desc: string;
  lang: string;
}

function escape(s: string): string {
  return s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

function one(m: Mark, c: Colours): string {
  const colour = colourOf(m.tone, c);
  const alpha = "alpha" in m && m.alpha !== undefined && m.alpha < 1 ? ` opacity="${m.alpha}"` : "";
  switch (m.kind) {
    case "line":
      return `<path d="${pathOf(m.points)}" fill="none" stroke="${colour}" stroke-width="${n(m.width)}" stroke-linejoin="round"${m.dash ? ` stroke-dasharray="${m.dash}"` : ""}${alpha}/>`;
    case "area":
      return `<path d="${pathOf(m.points, true)}" fill="${colour}"${alpha}/>`;
    case "rect":
      return `<rect x="${n(m.x)}" y="${n(m.y)}" width="${n(m.w)}" height="${n(m.h)}" fill="${colour}"${alpha}/>`;
    case "dot":
      return isHollow(m)
        ? `<path d="${dotPath(m)}" fill="${c.palette.paper}" stroke="${colour}" stroke-width="1.6"${alpha}/>`
        : `<path d="${dotPath(m)}" fill="${colour}"${alpha}/>`;
    case "text":
      return `<text x="${n(m.x)}" y="${n(m.y)}" dy="0.35em" font-size="${n(m.size)}"${m.align && m.align !== "start" ? ` text-anchor="${m.align}"` : ""}${m.bold ? ' font-weight="600"' : ""}${m.mono ? ' class="m"' : ""} fill="${colour}">${escape(m.text)}</text>`;
  }
}

/** A file of its own: colours embedded, nothing fetched. */
export function toSVG(d: Drawing, c: Colours, about: About): string {
  const faces = (s: string) => s.replace(/</g, "");
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${n(d.width)}" height="${n(d.height)}" viewBox="0 0 ${n(d.width)} ${n(d.height)}" role="img" aria-labelledby="t d" xml:lang="${escape(about.lang)}">`,
    `<title id="t">${escape(about.title)}</title>`,
    `<desc id="d">${escape(about.desc)}</desc>`,
    `<style>text{font-family:${faces(c.palette.sans)};font-variant-numeric:tabular-nums}.m{font-family:${faces(c.palette.mono)}}</style>`,
    `<rect width="${n(d.width)}" height="${n(d.height)}" fill="${c.palette.paper}"/>`,
    ...d.marks.map((m) => one(m, c)),
    "</svg>",
    "",
  ].join("\n");
}

type Context = Pick<
  CanvasRenderingContext2D,
  | "save"
  | "restore"
  | "fillRect"
  | "stroke"
  | "fill"
  | "setLineDash"
  | "fillText"
  | "fillStyle"
  | "strokeStyle"
  | "lineWidth"
  | "lineJoin"
  | "globalAlpha"
  | "font"
  | "textAlign"
  | "textBaseline"
>;

/** paint draws onto a canvas whose scale is set. */
export function paint(ctx: Context, d: Drawing, c: Colours): void {
  ctx.fillStyle = c.palette.paper;
  ctx.fillRect(0, 0, d.width, d.height);
  for (const m of d.marks) {
    ctx.save();
    const colour = colourOf(m.tone, c);
    ctx.fillStyle = colour;
    ctx.strokeStyle = colour;
    ctx.globalAlpha = "alpha" in m ? (m.alpha ?? 1) : 1;
    switch (m.kind) {
      case "line":
        ctx.lineWidth = m.width;
        ctx.lineJoin = "round";
        ctx.setLineDash(m.dash ? m.dash.split(" ").map(Number) : []);
        ctx.stroke(new Path2D(pathOf(m.points)));
        break;
      case "area":
        ctx.fill(new Path2D(pathOf(m.points, true)));
        break;
      case "rect":
        ctx.fillRect(m.x, m.y, m.w, m.h);
        break;
      case "dot": {
        const path = new Path2D(dotPath(m));
        if (isHollow(m)) {
          ctx.fillStyle = c.palette.paper;
          ctx.lineWidth = 1.6;
          ctx.fill(path);
          ctx.stroke(path);
        } else ctx.fill(path);
        break;
      }
      case "text":
        ctx.font = `${m.bold ? "600 " : ""}${m.size}px ${m.mono ? c.palette.mono : c.palette.sans}`;
        ctx.textAlign = m.align === "middle" ? "center" : (m.align ?? "start");
        ctx.textBaseline = "middle";
        ctx.fillText(m.text, m.x, m.y);
        break;
    }
    ctx.restore();
  }
}

/** The picture as a PNG of `scale` times its size. Fonts must be loaded before. */
export function toPNG(d: Drawing, c: Colours, scale: number): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil(d.width * scale);
  canvas.height = Math.ceil(d.height * scale);
  const ctx = canvas.getContext("2d");
  if (!ctx) return Promise.reject(new Error("this browser gives no 2D canvas"));
  ctx.scale(scale, scale);
  paint(ctx, d, c);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => {
      if (blob) resolve(blob);
      else
        reject(
          new Error(`a picture of ${canvas.width} × ${canvas.height} pixels is too large for this browser`),
        );
    }, "image/png");
  });
}
