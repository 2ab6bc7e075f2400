// What GET gives of experiments: what there is, results of runs, and what the
// claims of the article come to. docs/protocol.md, "Experiments"; the types are
// those of internal/experiment.

import { get, remove } from "./http";
import { progress, texts } from "./messages";
import { bool, dict, list, num, obj, or, record, str, type Decoded, type Decoder } from "./shape";

const noText = { en: "", zh: "" };
const text = or(texts.text, noText);

const missing = obj({ name: str, reason: or(str, ""), fix: or(str, "") });

const variant = obj({ id: str, label: text });
export type Variant = Decoded<typeof variant>;

const series = obj({
  id: str,
  label: text,
  variants: list(variant),
  baseline: or(str, ""),
  quick: or(bool, false),
  x: or(num, 0), // 0: no point of a curve
});
export type Series = Decoded<typeof series>;

const metric = obj({
  id: str,
  label: text,
  unit: or(str, ""),
  better: or(str, ""), // "lower", "higher" or ""
  exact: or(bool, false),
});
export type Metric = Decoded<typeof metric>;

const info = obj({
  id: str,
  title: text,
  question: text,
  about: text,
  seconds: or(num, 0),
  quick: or(num, 0),
  series: list(series),
  metrics: list(metric),
  missing: list(missing),
});
/** Info describes an experiment before it is run. */
export type Info = Decoded<typeof info>;

const runBrief = obj({
  run: num,
  started: or(str, ""),
  seconds: or(num, 0),
  state: or(str, ""),
  quick: or(bool, false),
});
export type RunBrief = Decoded<typeof runBrief>;

const overview = obj({
  experiments: list(info),
  running: or(progress, null),
  runs: dict(list(runBrief)), // newest first
});
export type Overview = Decoded<typeof overview>;

const summary = obj({
  values: list(num),
  median: num,
  low: num, // quartiles
  high: num,
  min: or(num, 0),
  max: or(num, 0),
  spread: or(num, 0),
});
export type Summary = Decoded<typeof summary>;

// zh is empty where the text is an error's.
const warning = obj({ code: or(str, ""), text: or(str, ""), zh: or(str, "") });
export type Warning = Decoded<typeof warning>;

const variantResult = obj({
  id: str,
  metrics: dict(summary),
  syscalls: dict(num),
  notes: list(warning),
  failed: or(num, 0),
});
export type VariantResult = Decoded<typeof variantResult>;

const comparison = obj({
  variant: str,
  metric: str,
  ratio: num,
  low: num,
  high: num,
  level: or(num, 0),
  clear: or(bool, false),
  why: or(str, ""), // "few", "noise", "tie"
});
export type Comparison = Decoded<typeof comparison>;

const seriesResult = obj({
  id: str,
  x: or(num, 0),
  baseline: or(str, ""),
  variants: list(variantResult),
  comparisons: list(comparison),
});
export type SeriesResult = Decoded<typeof seriesResult>;

const partTest = obj({
  series: or(str, ""),
  variant: or(str, ""),
  against: or(str, ""),
  metric: or(str, ""),
  want: or(str, ""),
  ratio: or(num, 0),
  low: or(num, 0),
  high: or(num, 0),
  rounds: or(num, 0),
  outcome: or(str, ""),
  why: or(str, ""), // of "unclear" and "missing": "noise", "few", "quick", "failed", "uncounted", "absent"
});
export type PartTest = Decoded<typeof partTest>;

const claimVerdict = obj({
  claim: or(str, ""),
  verdict: or(str, ""),
  when: text,
  reason: text,
  why: or(str, ""),
  because: text, // why parts have no outcome
  parts: list(partTest),
});
export type ClaimVerdict = Decoded<typeof claimVerdict>;

const machine = obj({
  kernel: or(str, ""),
  machine: or(str, ""),
  cpu: or(str, ""),
  cpus: or(num, 0),
  memory: or(num, 0),
  disk: or(str, ""),
});
export type MachineInfo = Decoded<typeof machine>;

const conditions = obj({
  loadBefore: or(num, 0),
  loadAfter: or(num, 0),
  cpuPressure: or(num, -1),
  ioPressure: or(num, -1),
  memoryPressure: or(num, -1),
  others: or(num, 0),
  steal: or(num, 0),
});
export type Conditions = Decoded<typeof conditions>;

const anything: Decoder<Record<string, unknown>> = (v, at) => ({ ...record(v, at) });

const result = obj({
  format: or(num, 1),
  run: or(num, 0),
  experiment: str,
  quick: or(bool, false),
  started: or(str, ""),
  seconds: or(num, 0),
  state: str,
  problem: or(str, ""),
  version: or(str, ""),
  machine,
  conditions,
  series: list(seriesResult),
  warnings: list(warning),
  parameters: or(anything, {}),
  runner: or(num, 0),
  trials: or(num, 0),
  verdicts: list(claimVerdict),
});
/** Result is one run, as it is kept and exported. */
export type Result = Decoded<typeof result>;

/** readResult reads what the message "result" brings. */
export function readResult(whole: unknown): Result {
  return result(whole, "result");
}

export function fetchExperiments(signal?: AbortSignal): Promise<Overview> {
  return get("/api/v1/experiments", overview, signal);
}

export function fetchRun(experiment: string, run: number, signal?: AbortSignal): Promise<Result> {
  return get(runPath(experiment, run), result, signal);
}

export function deleteRun(experiment: string, run: number): Promise<void> {
  return remove(runPath(experiment, run));
}

/** runPath is where the server has a run as a file. */
export function runPath(experiment: string, run: number): string {
  return `/api/v1/experiments/${encodeURIComponent(experiment)}/runs/${run}`;
}

const part = obj({
  series: or(str, ""),
  variant: or(str, ""),
  against: or(str, ""),
  metric: or(str, ""),
  want: or(str, ""),
  when: text,
});
export type Part = Decoded<typeof part>;

const standing = obj({
  status: or(str, ""),
  verdict: or(claimVerdict, null),
  run: or(num, 0),
  started: or(str, ""),
  quick: or(bool, false),
  stale: or(bool, false),
  missing: list(missing),
});
/** Standing is what is known of a claim on this machine. */
export type Standing = Decoded<typeof standing>;

const claim = obj({
  id: str,
  text,
  section: or(str, ""),
  experiment: or(str, ""),
  lesson: or(str, ""),
  later: or(str, ""), // id of a module
  see: list(str),
  means: text,
  parts: list(part),
  standing: or(standing, {
    status: "",
    verdict: null,
    run: 0,
    started: "",
    quick: false,
    stale: false,
    missing: [],
  }),
});
/** Claim is something that the article says, how it is tested, and what came of it. */
export type Claim = Decoded<typeof claim>;

const claims = obj({ claims: list(claim) });

export async function fetchClaims(signal?: AbortSignal): Promise<Claim[]> {
  return (await get("/api/v1/claims", claims, signal)).claims;
}
