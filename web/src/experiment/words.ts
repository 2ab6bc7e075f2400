// Words of charts and verdicts that several parts say.

import { count, lang } from "../i18n/index.svelte";
import { isKey, t } from "../i18n/more";
import type { Info, Metric, Result, Warning } from "../net/experiments";
import type { Progress } from "../net/messages";
import type { ChartWords } from "./chart";
import { clock, figure, ratio } from "./numbers";
import { pick, seriesLabel, variantLabel, type Group, type Row } from "./rows";

export function locale(): string {
  return lang() === "zh" ? "zh-CN" : "en-GB";
}

export function metricName(m: Metric): string {
  const label = pick(m.label, lang()) || m.id;
  return m.unit ? t("exp.metric", { label, unit: m.unit }) : label;
}

export function chartWords(m: Metric, g: Group, then = 0): ChartWords {
  return {
    locale: locale(),
    metric: metricName(m),
    unit: m.unit,
    exact: m.exact,
    better: m.better === "lower" ? t("exp.less") : m.better === "higher" ? t("exp.more") : "",
    quartiles: t("exp.quartiles"),
    ratio: t("exp.ratio", { base: g.baseline }),
    base: t("exp.base"),
    none: t("exp.none"),
    log: t("exp.log"),
    then: then > 0 ? t("exp.chart.then", { n: then }) : "",
    why: whyNot,
    failed: (n) => t("exp.failed", { n }),
  };
}

/** whyNot is why a comparison is not clear, "" if it is. */
export function whyNot(row: Pick<Row, "comparison">): string {
  const c = row.comparison;
  if (!c || c.clear) return "";
  const key = `exp.why.${c.why}`;
  return isKey(key) ? t(key) : t("exp.why.noise");
}

/** chartText tells a chart in words. */
export function chartText(g: Group, m: Metric): string {
  const rows = g.rows.map((r) => {
    if (!r.summary) return t("exp.text.none", { label: r.label });
    const f = figure(r.summary.median, r.summary.low, r.summary.high, m.exact, locale());
    const c = r.comparison;
    const value = m.unit ? `${f.value} ${m.unit}` : f.value;
    const said = t("exp.text.row", { label: r.label, value, low: f.low, high: f.high });
    if (!c) return said;
    const q = ratio(c.ratio, c.low, c.high, locale());
    return `${said}${t("exp.text.ratio", { ratio: q.value, low: q.low, high: q.high, base: g.baseline })}`;
  });
  return [`${g.label}, ${metricName(m)}.`, ...rows].join(" ");
}

/** warningText is a warning as the server put it, in the page's language. */
export function warningText(w: Warning): string {
  if (lang() === "zh") return w.zh || errorWords(w) || w.text || w.code;
  return w.text || errorWords(w) || w.code;
}

/** warningDetail is an error's text, in English, where the page says in Chinese what it is about. */
export function warningDetail(w: Warning): string {
  return lang() === "zh" && !w.zh && errorWords(w) ? w.text : "";
}

// What a warning is about whose text is an error.
function errorWords(w: Warning): string {
  const key = `exp.warning.${w.code}`;
  return isKey(key) ? t(key) : "";
}

export function phaseText(p: Progress): string {
  const key = `exp.phase.${p.phase.replaceAll(" ", "")}`;
  return isKey(key) ? t(key) : p.phase;
}

/** doing is what a run measures just now: "64 KiB · sendfile". */
export function doing(info: Info | null, p: Progress): string {
  if (!p.series) return "";
  const s = seriesLabel(info, p.series, lang());
  return p.variant ? `${s} · ${variantLabel(info, p.series, p.variant, lang())}` : s;
}

export function stateText(state: string): string {
  const key = `exp.state.${state.replaceAll(" ", "")}`;
  return isKey(key) ? t(key) : state;
}

export function when(iso: string): string {
  const d = new Date(iso);
  if (Number.isNaN(d.getTime())) return iso;
  return d.toLocaleString(locale(), { dateStyle: "medium", timeStyle: "short" });
}

/** runLine names a run: "run 7 · 26 Nov 2026, 22:10 · 34 s". */
export function runLine(r: Pick<Result, "run" | "started" | "seconds">): string {
  const parts = [when(r.started), clock(r.seconds)];
  if (r.run > 0) parts.unshift(t("exp.run.no", { n: count(r.run) }));
  return parts.join(" · ");
}
