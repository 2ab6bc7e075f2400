// Scene → SVG. The same lists in the same order as on the canvas.
import { markPlace, ringWidth } from "../scene/marks";
import type { NodeShape, NodeTone, Scene } from "../scene/types";
import { apex, colour, glyphReach, nodeLook } from "./canvas";
import { shadeOf, shades, type Palette } from "./palette";

export interface About {
  title: string;
  desc: string;
  /** Language of both, "en" or "zh". */
  lang: string;
}

function escape(s: string): string {
  return s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

function n(v: number): string {
  const s = v.toFixed(1);
  return s.endsWith(".0") ? s.slice(0, -2) : s;
}

type Attrs = Record<string, string | number | undefined>;

function tag(name: string, attrs: Attrs, text?: string): string {
  let out = `<${name}`;
  for (const [k, v] of Object.entries(attrs)) {
    if (v !== undefined) out += ` ${k}="${typeof v === "number" ? n(v) : escape(v)}"`;
  }
  return text === undefined ? `${out}/>` : `${out}>${escape(text)}</${name}>`;
}

function faded(alpha: number): string | undefined {
  return alpha < 1 ? alpha.toFixed(2) : undefined;
}

function node(s: NodeShape, tone: NodeTone, alpha: number, p: Palette): string[] {
  const look = nodeLook(p, tone);
  const out = [
    tag("circle", {
      cx: s.x,
      cy: s.y,
      r: s.r,
      fill: s.r < 2.5 ? look.stroke : look.fill,
      stroke: look.stroke,
      "stroke-width": ringWidth(s.r, tone),
      opacity: faded(alpha),
    }),
  ];
  if (s.label !== "") {
    const at = { x: s.x, y: s.y + 0.5, "font-size": s.size, "font-weight": "600", "text-anchor": "middle" };
    out.push(tag("text", { ...at, class: "m", fill: look.text, opacity: faded(alpha) }, s.label));
  }
  if (s.mark && tone === "red") {
    const at = markPlace(s);
    const font = { "font-size": 8, "font-weight": "700", "text-anchor": "middle" };
    const clear = { "paint-order": "stroke", stroke: p.paper, "stroke-width": 3.5 };
    out.push(
      tag("text", { x: at.x, y: at.y, ...font, ...clear, fill: look.text, opacity: faded(alpha) }, "R"),
    );
  }
  return out;
}

/** A file of its own: colours embedded, nothing fetched. */
export function toSVG(scene: Scene, p: Palette, about: About): string {
  const out: string[] = [];
  const fills = shades(p);
  const foot = scene.lanes[0]?.y ?? scene.height;
  out.push(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${n(scene.width)}" height="${n(scene.height)}" viewBox="0 0 ${n(scene.width)} ${n(scene.height)}" role="img" aria-labelledby="t d" xml:lang="${escape(about.lang)}">`,
    `<title id="t">${escape(about.title)}</title>`,
    `<desc id="d">${escape(about.desc)}</desc>`,
    `<style>text{font-family:${p.sans.replace(/</g, "")};dominant-baseline:central}.m{font-family:${p.mono.replace(/</g, "")}}</style>`,
    tag("rect", { width: scene.width, height: scene.height, fill: p.paper }),
    `<clipPath id="c"><rect width="${n(scene.width)}" height="${n(foot)}"/></clipPath>`,
    `<g clip-path="url(#c)">`,
  );
  for (const e of scene.edges) {
    const mid = (e.y1 + e.y2) / 2;
    out.push(
      tag("path", {
        d: `M${n(e.x1)} ${n(e.y1)}C${n(e.x1)} ${n(mid)} ${n(e.x2)} ${n(mid)} ${n(e.x2)} ${n(e.y2)}`,
        fill: "none",
        stroke: colour(p, e.tone),
        "stroke-width": e.width,
        "stroke-linecap": "round",
        opacity: faded(e.alpha),
      }),
    );
  }
  if (scene.glyphs.length > 0) {
    const { y1, y2 } = glyphReach(scene);
    fills.forEach((f, i) => {
      out.push(
        `<linearGradient id="s${i}" gradientUnits="userSpaceOnUse" x1="0" x2="0" y1="${n(y1)}" y2="${n(y2)}"><stop stop-color="${f.pale}"/><stop offset="1" stop-color="${f.full}"/></linearGradient>`,
      );
    });
  }
  for (const g of scene.glyphs) {
    const half = apex(g);
    const right = Math.max(g.x2, g.x + half);
    const left = Math.min(g.x1, g.x - half);
    out.push(
      tag("path", {
        d: `M${n(g.x - half)} ${n(g.y)}L${n(g.x + half)} ${n(g.y)}L${n(right)} ${n(g.y2)}L${n(left)} ${n(g.y2)}Z`,
        fill: `url(#s${shadeOf(g.share)})`,
      }),
    );
    if (g.ready > 0) {
      out.push(
        tag("rect", {
          x: g.x1,
          y: g.y2 + 1.5,
          width: Math.max(1.5, g.x2 - g.x1),
          height: 2.5,
          fill: p.ready,
        }),
      );
    }
    if (g.label !== "") {
      const at = { x: (g.x1 + g.x2) / 2, y: g.y2 - 10, "font-size": 10.5, "text-anchor": "middle" };
      const clear = { "paint-order": "stroke", stroke: p.paper, "stroke-width": 3.5 };
      out.push(tag("text", { ...at, ...clear, class: "m", fill: p.ink }, g.label));
    }
  }
  for (const s of scene.stubs) {
    out.push(tag("line", { x1: s.x1, y1: s.y1, x2: s.x2, y2: s.y2, stroke: p.wait, "stroke-width": 1.4 }));
    if (s.label === "") {
      out.push(tag("rect", { x: s.x2 - 2, y: s.y2 - 2, width: 4, height: 4, fill: p.wait }));
      continue;
    }
    const box = { x: s.x2, y: s.y2 - 9, width: s.label.length * 6.3 + 12, height: 18, rx: 4 };
    out.push(
      tag("rect", { ...box, fill: p.panel, stroke: p.wait, "stroke-width": 1.4 }),
      tag("text", { x: s.x2 + 6, y: s.y2 + 0.5, "font-size": 10.5, class: "m", fill: p.wait }, s.label),
    );
  }
  for (const r of scene.rings) {
    out.push(
      tag("circle", {
        cx: r.x,
        cy: r.y,
        r: r.r,
        fill: "none",
        stroke: colour(p, r.tone),
        "stroke-width": r.width,
        "stroke-dasharray": r.dash ? "3 3" : undefined,
        opacity: faded(r.alpha),
      }),
    );
  }
  for (const s of scene.nodes) {
    if (s.mix < 1) out.push(...node(s, s.was, s.alpha, p));
    if (s.mix > 0) out.push(...node(s, s.tone, s.alpha * s.mix, p));
  }
  for (const m of scene.marks) {
    const d = m.r * 0.45;
    const stroke = { stroke: p.warn, "stroke-width": 1.4 };
    out.push(
      tag("circle", { cx: m.x, cy: m.y, r: m.r, fill: p.paper, ...stroke }),
      tag("path", {
        d: `M${n(m.x - d)} ${n(m.y - d)}L${n(m.x + d)} ${n(m.y + d)}M${n(m.x + d)} ${n(m.y - d)}L${n(m.x - d)} ${n(m.y + d)}`,
        ...stroke,
      }),
    );
  }
  out.push("</g>");
  for (const r of scene.rules) {
    out.push(tag("line", { x1: r.x1, y1: r.y1, x2: r.x2, y2: r.y2, stroke: p.line }));
  }
  for (const a of scene.arrows) {
    out.push(
      tag("path", {
        d: `M${n(a.x - 6)} ${n(a.y)}H${n(a.x + 6)}M${n(a.x + 2)} ${n(a.y - 4)}L${n(a.x + 6)} ${n(a.y)}L${n(a.x + 2)} ${n(a.y + 4)}`,
        fill: "none",
        stroke: p.edge,
        "stroke-width": 1.3,
      }),
    );
  }
  for (const t of scene.threads) {
    out.push(
      tag("rect", { x: t.x, y: t.y, width: t.w, height: t.h, rx: 6, fill: p.panel, stroke: p.line }),
      tag("rect", { x: t.x, y: t.y, width: 4, height: t.h, rx: 2, fill: p.wait }),
      tag(
        "text",
        { x: t.x + 14, y: t.y + t.h / 2 + 0.5, "font-size": 12, class: "m", fill: p.ink },
        t.label.replace(/ {2}/g, "\u00a0 "),
      ),
    );
  }
  for (const t of scene.texts) {
    const clear = t.clear ? { "paint-order": "stroke", stroke: p.paper, "stroke-width": 3.5 } : {};
    out.push(
      tag(
        "text",
        {
          x: t.x,
          y: t.y + 0.5,
          "font-size": t.size,
          "font-weight": t.weight === 400 ? undefined : String(t.weight),
          "text-anchor": t.align === "start" ? undefined : t.align,
          class: t.font === "mono" ? "m" : undefined,
          fill: colour(p, t.tone),
          ...clear,
          opacity: faded(t.alpha),
        },
        t.text,
      ),
    );
  }
  for (const s of scene.pills) {
    const tone = s.list === "ready" ? p.ready : p.warn;
    const box = {
      x: s.x - s.w / 2 + 1,
      y: s.y - s.h / 2 + 1,
      width: s.w - 2,
      height: s.h - 2,
      rx: s.h / 2 - 1,
    };
    const font = { "font-size": 12, "font-weight": "600", "text-anchor": "middle", class: "m" };
    out.push(
      tag("rect", {
        ...box,
        fill: p.panel,
        stroke: tone,
        "stroke-width": 2,
        "stroke-dasharray": s.list === "overflow" ? "3 3" : undefined,
        opacity: faded(s.alpha),
      }),
      tag("text", { x: s.x, y: s.y + 0.5, ...font, fill: tone, opacity: faded(s.alpha) }, s.label),
    );
  }
  out.push("</svg>", "");
  return out.join("\n");
}
