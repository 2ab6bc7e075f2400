import { describe, expect, it } from "vitest";
import { result, series, summary } from "../testing/experiments";
import type { Metric } from "../net/experiments";
import { roleChart, roleRows, rolesOf } from "./roles";

const metric = (id: string, unit = "s/GB"): Metric => ({
  id,
  label: { en: id, zh: id },
  unit,
  better: "lower",
  exact: false,
});
const roles = [metric("sender_cpu_per_gb"), metric("receiver_cpu_per_gb")];

describe("CPU by role", () => {
  it("needs two roles in one unit", () => {
    expect(rolesOf([metric("cpu_per_gb"), ...roles])).toEqual(roles);
    expect(rolesOf([metric("cpu_per_gb"), roles[0]!])).toEqual([]);
    expect(rolesOf([roles[0]!, metric("receiver_cpu", "µs")])).toEqual([]);
  });

  it("adds up, and leaves out whom it does not know whole", () => {
    const s = series("4k", 0);
    s.variants[0]!.metrics["sender_cpu_per_gb"] = summary([0.2, 0.2, 0.21]);
    s.variants[0]!.metrics["receiver_cpu_per_gb"] = summary([0.3, 0.3, 0.31]);
    s.variants[1]!.metrics["sender_cpu_per_gb"] = summary([0.1]);
    const rows = roleRows(null, result([s]), "4k", roles, "en");
    expect(rows.map((r) => [r.id, r.medians])).toEqual([["pread", [0.2, 0.3]]]);
    const d = roleChart(rows, ["sender", "receiver"], "s/GB", 1000, "en-GB");
    const texts = d.marks.flatMap((m) => (m.kind === "text" ? [m.text] : []));
    expect(texts).toContain("0.20 + 0.30 = 0.50 s/GB");
    const bars = d.marks.flatMap((m) => (m.kind === "rect" && m.h === 16 ? [m] : []));
    expect(bars).toHaveLength(2);
    expect(bars[1]!.x).toBeGreaterThan(bars[0]!.x + bars[0]!.w);
    expect(new Set(bars.map((b) => b.alpha)).size).toBe(2);
  });
});
