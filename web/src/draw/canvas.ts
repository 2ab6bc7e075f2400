// Scene → Canvas2D. Shapes of one look are drawn as one path.
import type { Minimap } from "../scene/minimap";
import { markPlace, ringWidth } from "../scene/marks";
import type { GlyphShape, NodeShape, NodeTone, Scene, TextShape, Tone } from "../scene/types";
import { shadeOf, SHADES, shades, type Palette } from "./palette";

const TAU = Math.PI * 2;
const DASH = [3, 3];
const SOLID: number[] = [];

/** The colour of a tone. */
export function colour(p: Palette, tone: Tone): string {
  switch (tone) {
    case "ink":
      return p.ink;
    case "soft":
      return p.soft;
    case "edge":
      return p.edge;
    case "line":
      return p.line;
    case "accent":
      return p.accent;
    case "red":
      return p.red;
    case "black":
      return p.blackfill;
    case "ready":
    case "delivering":
      return p.ready;
    case "overflow":
    case "warn":
      return p.warn;
    case "wait":
      return p.wait;
  }
}

export interface NodeLook {
  fill: string;
  stroke: string;
  text: string;
}

export function nodeLook(p: Palette, tone: NodeTone): NodeLook {
  if (tone === "black") return { fill: p.blackfill, stroke: p.blackline, text: p.blacktext };
  if (tone === "red") return { fill: p.redfill, stroke: p.red, text: p.red };
  return { fill: p.panel, stroke: p.soft, text: p.ink };
}

/** Sets the canvas's pixel size for the scene; true if it changed (and was cleared). */
export function fitCanvas(
  canvas: HTMLCanvasElement,
  scene: { width: number; height: number },
  dpr: number,
): boolean {
  const w = Math.max(1, Math.round(scene.width * dpr));
  const h = Math.max(1, Math.round(scene.height * dpr));
  if (canvas.width === w && canvas.height === h) return false;
  canvas.width = w;
  canvas.height = h;
  return true;
}

function edges(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette): void {
  // Few looks, so one pass for each is cheaper than sorting.
  for (const tone of ["edge", "accent"] as const) {
    ctx.strokeStyle = colour(p, tone);
    for (const width of [0.7, 1, 1.4, 2.2]) {
      let any = false;
      for (const e of scene.edges) {
        if (e.tone !== tone || e.width !== width || e.alpha < 1) continue;
        if (!any) {
          ctx.beginPath();
          ctx.lineWidth = width;
          any = true;
        }
        const mid = (e.y1 + e.y2) / 2;
        ctx.moveTo(e.x1, e.y1);
        // A curve cannot be told from a line over so few pixels.
        if (Math.abs(e.x2 - e.x1) < 3) ctx.lineTo(e.x2, e.y2);
        else ctx.bezierCurveTo(e.x1, mid, e.x2, mid, e.x2, e.y2);
      }
      if (any) ctx.stroke();
    }
  }
  for (const e of scene.edges) {
    if (e.alpha >= 1 || e.alpha <= 0) continue;
    const mid = (e.y1 + e.y2) / 2;
    ctx.globalAlpha = e.alpha;
    ctx.strokeStyle = colour(p, e.tone);
    ctx.lineWidth = e.width;
    ctx.beginPath();
    ctx.moveTo(e.x1, e.y1);
    ctx.bezierCurveTo(e.x1, mid, e.x2, mid, e.x2, e.y2);
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

/** Half the width of a subtree's upper end. */
export function apex(g: GlyphShape): number {
  return Math.min(0.6, (g.x2 - g.x1) / 2);
}

/** From the first level that has a subtree to the deepest. */
export function glyphReach(scene: Scene): { y1: number; y2: number } {
  let y1 = Infinity;
  let y2 = -Infinity;
  for (const g of scene.glyphs) {
    y1 = Math.min(y1, g.y);
    y2 = Math.max(y2, g.y2);
  }
  return { y1, y2 };
}

function glyphs(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette): void {
  if (scene.glyphs.length === 0) return;
  const fills = shades(p);
  const reach = glyphReach(scene);
  for (let shade = 0; shade < SHADES; shade++) {
    let fill: CanvasGradient | null = null;
    for (const g of scene.glyphs) {
      if (shadeOf(g.share) !== shade) continue;
      if (!fill) {
        fill = ctx.createLinearGradient(0, reach.y1, 0, reach.y2);
        fill.addColorStop(0, fills[shade]!.pale);
        fill.addColorStop(1, fills[shade]!.full);
        ctx.fillStyle = fill;
      }
      // Each its own path. As one path, 512 tall slivers took Chromium's software
      // rasteriser more than 60 ms a frame; singly, each convex, they fit in one.
      const half = apex(g);
      ctx.beginPath();
      ctx.moveTo(g.x - half, g.y);
      ctx.lineTo(g.x + half, g.y);
      ctx.lineTo(Math.max(g.x2, g.x + half), g.y2);
      ctx.lineTo(Math.min(g.x1, g.x - half), g.y2);
      ctx.closePath();
      ctx.fill();
    }
  }
  // Where something is ready inside, the base is underlined.
  ctx.fillStyle = p.ready;
  for (const g of scene.glyphs) {
    if (g.ready > 0) ctx.fillRect(g.x1, g.y2 + 1.5, Math.max(1.5, g.x2 - g.x1), 2.5);
  }
  ctx.fillStyle = p.ink;
  ctx.font = `500 10.5px ${p.mono}`;
  ctx.textAlign = "center";
  for (const g of scene.glyphs) {
    if (g.label === "") continue;
    label(ctx, p, g.label, (g.x1 + g.x2) / 2, g.y2 - 10);
  }
}

// Text with the paper around its letters.
function label(ctx: CanvasRenderingContext2D, p: Palette, s: string, x: number, y: number): void {
  ctx.lineWidth = 3.5;
  ctx.strokeStyle = p.paper;
  ctx.lineJoin = "round";
  ctx.strokeText(s, x, y);
  ctx.fillText(s, x, y);
}

function oneNode(
  ctx: CanvasRenderingContext2D,
  n: NodeShape,
  tone: NodeTone,
  alpha: number,
  p: Palette,
): void {
  if (alpha <= 0 || n.r <= 0) return;
  const look = nodeLook(p, tone);
  ctx.globalAlpha = alpha;
  ctx.beginPath();
  ctx.arc(n.x, n.y, n.r, 0, TAU);
  ctx.fillStyle = n.r < 2.5 ? look.stroke : look.fill;
  ctx.fill();
  ctx.lineWidth = ringWidth(n.r, tone);
  ctx.strokeStyle = look.stroke;
  ctx.stroke();
  if (n.label !== "") {
    ctx.fillStyle = look.text;
    ctx.font = `600 ${n.size}px ${p.mono}`;
    ctx.fillText(n.label, n.x, n.y + 0.5);
  }
  if (n.mark && tone === "red") {
    const at = markPlace(n);
    ctx.fillStyle = look.text;
    ctx.font = `700 8px ${p.sans}`;
    label(ctx, p, "R", at.x, at.y);
  }
}

function plain(n: NodeShape, tone: NodeTone): boolean {
  return n.tone === tone && n.alpha >= 1 && n.mix >= 1;
}

function nodes(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette): void {
  for (const tone of ["black", "red", "unknown"] as const) {
    const look = nodeLook(p, tone);
    ctx.strokeStyle = look.stroke;
    // Dots, small discs, discs: three widths of outline.
    for (const [from, to] of [
      [0, 2.5],
      [2.5, 4],
      [4, 8],
      [8, Infinity],
    ] as const) {
      let any = false;
      for (const n of scene.nodes) {
        if (n.r < from || n.r >= to || !plain(n, tone)) continue;
        if (!any) {
          ctx.beginPath();
          any = true;
        }
        ctx.moveTo(n.x + n.r, n.y);
        ctx.arc(n.x, n.y, n.r, 0, TAU);
      }
      if (!any) continue;
      ctx.fillStyle = from === 0 ? look.stroke : look.fill;
      ctx.fill();
      ctx.lineWidth = ringWidth(from, tone);
      ctx.stroke();
    }
  }
  ctx.textAlign = "center";
  // Setting the font is dear, and neighbours mostly share their size.
  let size = 0;
  for (const tone of ["black", "red", "unknown"] as const) {
    ctx.fillStyle = nodeLook(p, tone).text;
    for (const n of scene.nodes) {
      if (n.label === "" || !plain(n, tone)) continue;
      if (n.size !== size) {
        size = n.size;
        ctx.font = `600 ${size}px ${p.mono}`;
      }
      ctx.fillText(n.label, n.x, n.y + 0.5);
    }
  }
  ctx.fillStyle = p.red;
  ctx.font = `700 8px ${p.sans}`;
  for (const n of scene.nodes) {
    if (!n.mark || !plain(n, "red")) continue;
    const at = markPlace(n);
    label(ctx, p, "R", at.x, at.y);
  }
  for (const n of scene.nodes) {
    if (n.alpha >= 1 && n.mix >= 1) continue;
    if (n.mix < 1) oneNode(ctx, n, n.was, n.alpha, p);
    oneNode(ctx, n, n.tone, n.alpha * n.mix, p);
  }
  ctx.globalAlpha = 1;
}

function rings(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette): void {
  for (const r of scene.rings) {
    if (r.alpha <= 0) continue;
    ctx.globalAlpha = r.alpha;
    ctx.strokeStyle = colour(p, r.tone);
    ctx.lineWidth = r.width;
    ctx.setLineDash(r.dash ? DASH : SOLID);
    ctx.beginPath();
    ctx.arc(r.x, r.y, r.r, 0, TAU);
    ctx.stroke();
  }
  ctx.setLineDash(SOLID);
  ctx.globalAlpha = 1;
}

function stubs(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette): void {
  if (scene.stubs.length === 0) return;
  ctx.textAlign = "left";
  ctx.font = `500 10.5px ${p.mono}`;
  for (const s of scene.stubs) {
    ctx.globalAlpha = s.alpha;
    ctx.strokeStyle = p.wait;
    ctx.lineWidth = 1.4;
    ctx.beginPath();
    ctx.moveTo(s.x1, s.y1);
    ctx.lineTo(s.x2, s.y2);
    ctx.stroke();
    if (s.label === "") {
      ctx.fillStyle = p.wait;
      ctx.fillRect(s.x2 - 2, s.y2 - 2, 4, 4);
      continue;
    }
    const w = s.label.length * 6.3 + 12;
    ctx.beginPath();
    ctx.roundRect(s.x2, s.y2 - 9, w, 18, 4);
    ctx.fillStyle = p.panel;
    ctx.fill();
    ctx.stroke();
    ctx.fillStyle = p.wait;
    ctx.fillText(s.label, s.x2 + 6, s.y2 + 0.5);
  }
  ctx.globalAlpha = 1;
}

function marks(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette): void {
  for (const m of scene.marks) {
    ctx.globalAlpha = m.alpha;
    ctx.beginPath();
    ctx.arc(m.x, m.y, m.r, 0, TAU);
    ctx.fillStyle = p.paper;
    ctx.fill();
    ctx.strokeStyle = p.warn;
    ctx.lineWidth = 1.4;
    ctx.stroke();
    const d = m.r * 0.45;
    ctx.beginPath();
    ctx.moveTo(m.x - d, m.y - d);
    ctx.lineTo(m.x + d, m.y + d);
    ctx.moveTo(m.x + d, m.y - d);
    ctx.lineTo(m.x - d, m.y + d);
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

function lanes(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette): void {
  ctx.strokeStyle = p.edge;
  ctx.lineWidth = 1.3;
  ctx.beginPath();
  for (const a of scene.arrows) {
    ctx.moveTo(a.x - 6, a.y);
    ctx.lineTo(a.x + 6, a.y);
    ctx.moveTo(a.x + 2, a.y - 4);
    ctx.lineTo(a.x + 6, a.y);
    ctx.lineTo(a.x + 2, a.y + 4);
  }
  ctx.stroke();
  ctx.textAlign = "left";
  ctx.font = `400 12px ${p.mono}`;
  for (const t of scene.threads) {
    ctx.beginPath();
    ctx.roundRect(t.x + 0.5, t.y + 0.5, t.w - 1, t.h - 1, 6);
    ctx.fillStyle = p.panel;
    ctx.fill();
    ctx.strokeStyle = p.line;
    ctx.lineWidth = 1;
    ctx.stroke();
    ctx.fillStyle = p.wait;
    ctx.beginPath();
    ctx.roundRect(t.x, t.y, 4, t.h, 2);
    ctx.fill();
    ctx.fillStyle = p.ink;
    ctx.fillText(t.label, t.x + 14, t.y + t.h / 2 + 0.5);
  }
}

function pills(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette): void {
  ctx.textAlign = "center";
  ctx.font = `600 12px ${p.mono}`;
  for (const s of scene.pills) {
    if (s.alpha <= 0) continue;
    ctx.globalAlpha = s.alpha;
    const tone = s.list === "ready" ? p.ready : p.warn;
    ctx.beginPath();
    ctx.roundRect(s.x - s.w / 2 + 1, s.y - s.h / 2 + 1, s.w - 2, s.h - 2, s.h / 2 - 1);
    ctx.fillStyle = p.panel;
    ctx.fill();
    ctx.strokeStyle = tone;
    ctx.lineWidth = 2;
    if (s.list === "overflow") ctx.setLineDash(DASH);
    ctx.stroke();
    ctx.setLineDash(SOLID);
    ctx.fillStyle = tone;
    ctx.fillText(s.label, s.x, s.y + 0.5);
  }
  ctx.globalAlpha = 1;
}

function fontOf(t: TextShape, p: Palette): string {
  return `${t.weight} ${t.size}px ${t.font === "mono" ? p.mono : p.sans}`;
}

function texts(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette): void {
  for (const t of scene.texts) {
    if (t.alpha <= 0) continue;
    ctx.globalAlpha = t.alpha;
    ctx.font = fontOf(t, p);
    ctx.textAlign = t.align === "middle" ? "center" : t.align;
    ctx.fillStyle = colour(p, t.tone);
    if (t.clear) label(ctx, p, t.text, t.x, t.y + 0.5);
    else ctx.fillText(t.text, t.x, t.y + 0.5);
  }
  ctx.globalAlpha = 1;
}

/** Draws the whole picture. The canvas is width·dpr by height·dpr pixels. */
export function drawScene(ctx: CanvasRenderingContext2D, scene: Scene, p: Palette, dpr: number): void {
  ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
  ctx.globalAlpha = 1;
  ctx.fillStyle = p.paper;
  ctx.fillRect(0, 0, scene.width, scene.height);
  ctx.textBaseline = "middle";
  ctx.lineCap = "round";
  ctx.save();
  // What leaves the view at the sides must not run over the lanes.
  const foot = scene.lanes[0]?.y ?? scene.height;
  ctx.beginPath();
  ctx.rect(0, 0, scene.width, foot);
  ctx.clip();
  edges(ctx, scene, p);
  glyphs(ctx, scene, p);
  stubs(ctx, scene, p);
  rings(ctx, scene, p);
  nodes(ctx, scene, p);
  marks(ctx, scene, p);
  ctx.restore();
  ctx.strokeStyle = p.line;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (const r of scene.rules) {
    const half = r.x1 === r.x2 ? 0.5 : 0;
    ctx.moveTo(r.x1 + half, r.y1 + 0.5 - half);
    ctx.lineTo(r.x2 + half, r.y2 + 0.5 - half);
  }
  ctx.stroke();
  lanes(ctx, scene, p);
  texts(ctx, scene, p);
  pills(ctx, scene, p);
}

/** Draws the small picture of the whole tree. */
export function drawMinimap(ctx: CanvasRenderingContext2D, map: Minimap, p: Palette, dpr: number): void {
  ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
  ctx.clearRect(0, 0, map.width, map.height);
  const fills = shades(p);
  map.columns.forEach((c, x) => {
    if (c.depth <= 0) return;
    ctx.fillStyle = fills[shadeOf(c.share)]!.full;
    ctx.fillRect(x, 0, 1, c.depth * (map.height - 3));
    if (!c.ready) return;
    ctx.fillStyle = p.ready;
    ctx.fillRect(x, map.height - 3, 1, 3);
  });
  const f = map.frame;
  ctx.fillStyle = p.paper;
  ctx.globalAlpha = 0.6;
  ctx.fillRect(0, 0, f.x, map.height);
  ctx.fillRect(f.x + f.w, 0, map.width - f.x - f.w, map.height);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = p.accent;
  ctx.lineWidth = 1.5;
  ctx.strokeRect(f.x + 0.75, f.y + 0.75, Math.max(2, f.w - 1.5), f.h - 1.5);
}
