// Shapes → Canvas2D and SVG. Both draw the same lists in the same order.
import {
  handPoints,
  type Hatch,
  type Paint,
  type Picture,
  type Shape,
  type Surface,
  type Tone,
} from "../scene/shapes";
import { blend, type Palette } from "./palette";
import type { About } from "./svg";

const TAU = Math.PI * 2;
const DASH = [4, 3];
const STEP = 6; // px between the lines of a hatch

export function toneColour(p: Palette, tone: Tone): string {
  return p[tone];
}

function paintColour(p: Palette, paint: Paint): string {
  const base = toneColour(p, paint.tone);
  return paint.wash > 0 ? blend(base, p.paper, paint.wash) : base;
}

type Segment = readonly [number, number, number, number];

/** The lines of a hatch over a box, in canvas and SVG alike. Dots are short lines. */
export function hatchLines(kind: Hatch, x: number, y: number, w: number, h: number): Segment[] {
  const out: Segment[] = [];
  const along = (rising: boolean): void => {
    // Anchored to the picture, so that neighbours join.
    const first = Math.floor((x + (rising ? y : -y - h)) / STEP) * STEP;
    for (let c = first; c <= x + w + (rising ? y + h : -y); c += STEP) {
      if (rising) out.push([c - y, y, c - y - h, y + h]);
      else out.push([c + y, y, c + y + h, y + h]);
    }
  };
  if (kind === "rising" || kind === "cross") along(true);
  if (kind === "falling" || kind === "cross") along(false);
  if (kind === "level") {
    for (let at = Math.ceil(y / 4) * 4; at < y + h; at += 4) out.push([x, at, x + w, at]);
  }
  if (kind === "upright") {
    for (let at = Math.ceil(x / 4) * 4; at < x + w; at += 4) out.push([at, y, at, y + h]);
  }
  if (kind === "dots") {
    for (let py = Math.ceil(y / 5) * 5; py < y + h; py += 5) {
      const shift = (Math.round(py / 5) % 2) * 2.5;
      for (let px = Math.ceil(x / 5) * 5 + shift; px < x + w; px += 5) out.push([px - 0.5, py, px + 0.5, py]);
    }
  }
  return out;
}

/** The box around an outline. */
function boundsOf(s: Extract<Shape, Surface>): { x: number; y: number; w: number; h: number } {
  if (s.kind === "box") return s;
  let x0 = Infinity;
  let y0 = Infinity;
  let x1 = -Infinity;
  let y1 = -Infinity;
  const take = (a: number, r: number): void => {
    const x = s.cx + Math.cos(a) * r;
    const y = s.cy + Math.sin(a) * r;
    x0 = Math.min(x0, x);
    y0 = Math.min(y0, y);
    x1 = Math.max(x1, x);
    y1 = Math.max(y1, y);
  };
  const angles = [s.a0, s.a1];
  for (let q = Math.ceil(s.a0 / (Math.PI / 2)) * (Math.PI / 2); q < s.a1; q += Math.PI / 2) angles.push(q);
  for (const a of angles) {
    take(a, s.r0);
    take(a, s.r1);
  }
  return { x: x0, y: y0, w: x1 - x0, h: y1 - y0 };
}

function outline(ctx: CanvasRenderingContext2D, s: Extract<Shape, Surface>): void {
  ctx.beginPath();
  if (s.kind === "box") {
    ctx.roundRect(s.x, s.y, Math.max(0, s.w), Math.max(0, s.h), s.r);
    return;
  }
  if (s.a1 - s.a0 >= TAU - 1e-6) {
    ctx.arc(s.cx, s.cy, s.r1, 0, TAU);
    ctx.moveTo(s.cx + s.r0, s.cy);
    ctx.arc(s.cx, s.cy, s.r0, 0, TAU, true);
  } else {
    ctx.arc(s.cx, s.cy, s.r1, s.a0, s.a1);
    ctx.arc(s.cx, s.cy, s.r0, s.a1, s.a0, true);
    ctx.closePath();
  }
}

function surface(ctx: CanvasRenderingContext2D, s: Extract<Shape, Surface>, p: Palette): void {
  outline(ctx, s);
  if (s.fill) {
    ctx.fillStyle = paintColour(p, s.fill);
    ctx.fill();
  }
  if (s.hatch !== "none") {
    const b = boundsOf(s);
    ctx.save();
    ctx.clip();
    ctx.strokeStyle = toneColour(p, s.hatchTone);
    ctx.lineWidth = s.hatch === "dots" ? 1.4 : 1;
    ctx.beginPath();
    for (const [x1, y1, x2, y2] of hatchLines(s.hatch, b.x, b.y, b.w, b.h)) {
      ctx.moveTo(x1, y1);
      ctx.lineTo(x2, y2);
    }
    ctx.stroke();
    ctx.restore();
    outline(ctx, s);
  }
  if (s.stroke) {
    ctx.strokeStyle = paintColour(p, s.stroke);
    ctx.lineWidth = s.width;
    ctx.setLineDash(s.dash ? DASH : []);
    ctx.stroke();
    ctx.setLineDash([]);
  }
}

function text(
  ctx: CanvasRenderingContext2D,
  p: Palette,
  s: string,
  x: number,
  y: number,
  clear: boolean,
): void {
  if (clear) {
    ctx.lineWidth = 3.5;
    ctx.strokeStyle = p.paper;
    ctx.lineJoin = "round";
    ctx.strokeText(s, x, y);
  }
  ctx.fillText(s, x, y);
}

function one(ctx: CanvasRenderingContext2D, s: Shape, p: Palette): void {
  switch (s.kind) {
    case "box":
    case "sector":
      surface(ctx, s, p);
      return;
    case "line": {
      ctx.strokeStyle = toneColour(p, s.tone);
      ctx.lineWidth = s.width;
      ctx.setLineDash(s.dash ? DASH : []);
      ctx.beginPath();
      ctx.moveTo(s.x1, s.y1);
      ctx.lineTo(s.x2, s.y2);
      ctx.stroke();
      ctx.setLineDash([]);
      if (!s.head) return;
      const [a, b] = arrowHead(s.x1, s.y1, s.x2, s.y2);
      ctx.beginPath();
      ctx.moveTo(a.x, a.y);
      ctx.lineTo(s.x2, s.y2);
      ctx.lineTo(b.x, b.y);
      ctx.stroke();
      return;
    }
    case "hand": {
      const h = handPoints(s);
      ctx.strokeStyle = toneColour(p, s.tone);
      ctx.lineWidth = s.filled ? 2.4 : 1.6;
      ctx.beginPath();
      ctx.moveTo(h.tip.x, h.tip.y);
      ctx.lineTo(h.end.x, h.end.y);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(h.tip.x, h.tip.y);
      ctx.lineTo(h.left.x, h.left.y);
      ctx.lineTo(h.right.x, h.right.y);
      ctx.closePath();
      ctx.fillStyle = s.filled ? toneColour(p, s.tone) : p.paper;
      ctx.fill();
      ctx.stroke();
      if (s.label === "") return;
      ctx.font = `600 10.5px ${p.mono}`;
      ctx.textAlign = "center";
      ctx.fillStyle = toneColour(p, s.tone);
      text(ctx, p, s.label, h.label.x, h.label.y + 0.5, true);
      return;
    }
    case "words":
      ctx.font = `${s.weight} ${s.size}px ${s.font === "mono" ? p.mono : p.sans}`;
      ctx.textAlign = s.align === "middle" ? "center" : s.align;
      ctx.fillStyle = toneColour(p, s.tone);
      text(ctx, p, s.text, s.x, s.y + 0.5, s.clear);
  }
}

function arrowHead(
  x1: number,
  y1: number,
  x2: number,
  y2: number,
): [{ x: number; y: number }, { x: number; y: number }] {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const at = (by: number) => ({ x: x2 - 7 * Math.cos(angle + by), y: y2 - 7 * Math.sin(angle + by) });
  return [at(0.5), at(-0.5)];
}

/** Draws the whole picture. The canvas is width·dpr by height·dpr pixels. */
export function drawShapes(ctx: CanvasRenderingContext2D, picture: Picture, p: Palette, dpr: number): void {
  ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
  ctx.globalAlpha = 1;
  ctx.fillStyle = p.paper;
  ctx.fillRect(0, 0, picture.width, picture.height);
  ctx.textBaseline = "middle";
  ctx.lineCap = "round";
  for (const s of picture.shapes) {
    if (s.alpha <= 0) continue;
    ctx.globalAlpha = Math.min(1, s.alpha);
    one(ctx, s, p);
  }
  ctx.globalAlpha = 1;
}

/** The picture as a PNG of `scale` times its size. Fonts must be loaded before. */
export function shapesToPNG(picture: Picture, palette: Palette, scale: number): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const ctx = canvas.getContext("2d");
  if (!ctx) return Promise.reject(new Error("this browser gives no 2D canvas"));
  drawShapes(ctx, picture, palette, scale);
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

function escape(s: string): string {
  return s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

function n(v: number): string {
  const s = v.toFixed(2);
  return s.replace(/\.?0+$/, "");
}

function tag(name: string, attrs: Record<string, string | number | undefined>, inner?: string): string {
  let out = `<${name}`;
  for (const [k, v] of Object.entries(attrs)) {
    if (v !== undefined) out += ` ${k}="${typeof v === "number" ? n(v) : escape(v)}"`;
  }
  return inner === undefined ? `${out}/>` : `${out}>${inner}</${name}>`;
}

function outlinePath(s: Extract<Shape, Surface>): string {
  if (s.kind === "box") return "";
  const at = (a: number, r: number): string => `${n(s.cx + Math.cos(a) * r)} ${n(s.cy + Math.sin(a) * r)}`;
  if (s.a1 - s.a0 >= TAU - 1e-6) {
    const circle = (r: number, sweep: number): string =>
      `M${at(0, r)}A${n(r)} ${n(r)} 0 1 ${sweep} ${at(Math.PI, r)}A${n(r)} ${n(r)} 0 1 ${sweep} ${at(0, r)}Z`;
    return circle(s.r1, 1) + circle(s.r0, 0);
  }
  const large = s.a1 - s.a0 > Math.PI ? 1 : 0;
  return `M${at(s.a0, s.r1)}A${n(s.r1)} ${n(s.r1)} 0 ${large} 1 ${at(s.a1, s.r1)}L${at(s.a1, s.r0)}A${n(s.r0)} ${n(s.r0)} 0 ${large} 0 ${at(s.a0, s.r0)}Z`;
}

/** A file of its own: colours embedded, nothing fetched. */
export function shapesToSVG(picture: Picture, p: Palette, about: About): string {
  let clips = 0;
  const surfaceTags = (s: Extract<Shape, Surface>, opacity: string | undefined): string[] => {
    const look = {
      fill: s.fill ? paintColour(p, s.fill) : "none",
      stroke: s.stroke ? paintColour(p, s.stroke) : undefined,
      "stroke-width": s.stroke ? s.width : undefined,
      "stroke-dasharray": s.dash ? DASH.join(" ") : undefined,
      opacity,
    };
    const shape = (attrs: Record<string, string | number | undefined>): string =>
      s.kind === "box"
        ? tag("rect", {
            x: s.x,
            y: s.y,
            width: Math.max(0, s.w),
            height: Math.max(0, s.h),
            rx: s.r,
            ...attrs,
          })
        : tag("path", { d: outlinePath(s), "fill-rule": "evenodd", ...attrs });
    if (s.hatch === "none") return [shape(look)];
    const b = boundsOf(s);
    const id = `h${++clips}`;
    const d = hatchLines(s.hatch, b.x, b.y, b.w, b.h)
      .map(([x1, y1, x2, y2]) => `M${n(x1)} ${n(y1)}L${n(x2)} ${n(y2)}`)
      .join("");
    return [
      tag("clipPath", { id }, shape({ "clip-rule": "evenodd" })),
      shape({ fill: look.fill, opacity }),
      tag("path", {
        d,
        "clip-path": `url(#${id})`,
        stroke: toneColour(p, s.hatchTone),
        fill: "none",
        opacity,
      }),
      ...(s.stroke ? [shape({ ...look, fill: "none" })] : []),
    ];
  };
  const clear = { "paint-order": "stroke", stroke: p.paper, "stroke-width": 3.5 };
  const body = picture.shapes.flatMap((s): string[] => {
    if (s.alpha <= 0) return [];
    const opacity = s.alpha < 1 ? s.alpha.toFixed(2) : undefined;
    switch (s.kind) {
      case "box":
      case "sector":
        return surfaceTags(s, opacity);
      case "line": {
        const stroke = {
          stroke: toneColour(p, s.tone),
          "stroke-width": s.width,
          "stroke-dasharray": s.dash ? DASH.join(" ") : undefined,
          opacity,
        };
        const out = [tag("line", { x1: s.x1, y1: s.y1, x2: s.x2, y2: s.y2, ...stroke })];
        if (s.head) {
          const [a, b] = arrowHead(s.x1, s.y1, s.x2, s.y2);
          const d = `M${n(a.x)} ${n(a.y)}L${n(s.x2)} ${n(s.y2)}L${n(b.x)} ${n(b.y)}`;
          out.push(
            tag("path", { d, fill: "none", stroke: toneColour(p, s.tone), "stroke-width": s.width, opacity }),
          );
        }
        return out;
      }
      case "hand": {
        const h = handPoints(s);
        const c = toneColour(p, s.tone);
        const width = s.filled ? 2.4 : 1.6;
        const d = `M${n(h.tip.x)} ${n(h.tip.y)}L${n(h.left.x)} ${n(h.left.y)}L${n(h.right.x)} ${n(h.right.y)}Z`;
        const out = [
          tag("line", {
            x1: h.tip.x,
            y1: h.tip.y,
            x2: h.end.x,
            y2: h.end.y,
            stroke: c,
            "stroke-width": width,
            opacity,
          }),
          tag("path", { d, fill: s.filled ? c : p.paper, stroke: c, "stroke-width": width, opacity }),
        ];
        if (s.label !== "") {
          const font = { "font-size": 10.5, "font-weight": "600", "text-anchor": "middle", class: "m" };
          out.push(
            tag(
              "text",
              { x: h.label.x, y: h.label.y + 0.5, ...font, ...clear, fill: c, opacity },
              escape(s.label),
            ),
          );
        }
        return out;
      }
      case "words":
        return [
          tag(
            "text",
            {
              x: s.x,
              y: s.y + 0.5,
              "font-size": s.size,
              "font-weight": s.weight === 400 ? undefined : String(s.weight),
              "text-anchor": s.align === "start" ? undefined : s.align,
              class: s.font === "mono" ? "m" : undefined,
              fill: toneColour(p, s.tone),
              ...(s.clear ? clear : {}),
              opacity,
            },
            escape(s.text),
          ),
        ];
    }
  });
  const size = `width="${n(picture.width)}" height="${n(picture.height)}" viewBox="0 0 ${n(picture.width)} ${n(picture.height)}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img" aria-labelledby="t d" xml:lang="${escape(about.lang)}">`,
    `<title id="t">${escape(about.title)}</title>`,
    `<desc id="d">${escape(about.desc)}</desc>`,
    `<style>text{font-family:${p.sans.replace(/</g, "")};dominant-baseline:central}.m{font-family:${p.mono.replace(/</g, "")}}</style>`,
    tag("rect", { width: picture.width, height: picture.height, fill: p.paper }),
    ...body,
    "</svg>",
    "",
  ].join("\n");
}
