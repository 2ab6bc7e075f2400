// What GET gives of labs: the curriculum with a learner's progress, and one
// lesson. docs/protocol.md, "Labs".

import { get } from "./http";
import { texts } from "./messages";
import { bool, dict, list, num, obj, oneOf, or, record, str, type Decoded, type Decoder } from "./shape";

const missing = obj({ name: str, reason: or(str, ""), fix: or(str, "") });
/** Missing is a capability or a tool that a lab needs and this machine lacks. */
export type Missing = Decoded<typeof missing>;

const labBrief = obj({
  id: str,
  number: num,
  title: texts.text,
  summary: texts.text,
  minutes: or(num, 0),
  steps: or(num, 0),
  done: or(num, 0),
  missing: list(missing),
});
export type LabBrief = Decoded<typeof labBrief>;

const module = obj({
  id: str,
  title: texts.text,
  summary: texts.text,
  planned: or(bool, false),
  requires: list(str),
  labs: list(labBrief),
});
export type Module = Decoded<typeof module>;

const curriculum = obj({
  terminal: or(bool, false),
  code: or(bool, false),
  problems: list(str),
  modules: list(module),
});
export type Curriculum = Decoded<typeof curriculum>;

const field = obj({ path: str, type: or(str, ""), offset: num, size: num });
const struct = obj({
  name: str,
  size: or(num, 0),
  source: or(str, ""),
  marked: list(str),
  fields: list(field),
  problem: or(str, ""),
});
/** StructCard is a struct of the running kernel; `marked` are paths of its fields. */
export type StructCard = Decoded<typeof struct>;

export type Part = { html: string } | { step: string } | { struct: StructCard };
const part: Decoder<Part> = (v, at) => {
  const p = record(v, at);
  if (p["step"] !== undefined) return { step: str(p["step"], `${at}.step`) };
  if (p["struct"] !== undefined) return { struct: struct(p["struct"], `${at}.struct`) };
  return { html: or(str, "")(p["html"], `${at}.html`) };
};

const action = obj({
  kind: oneOf("workload", "run", "type", "open", "focus", "tab", "build", "kill"),
  workload: or(str, ""),
  text: or(str, ""),
  file: or(str, ""),
  line: or(num, null),
  tab: or(str, ""),
});
export type LabAction = Decoded<typeof action>;

const step = obj({
  id: str,
  title: texts.text,
  text: or(texts.html, { en: "", zh: "" }),
  do: list(obj({ action: str, label: texts.text })),
  predict: or(
    obj({
      question: texts.html,
      node: or(bool, false),
      choices: list(obj({ id: str, text: texts.html })),
    }),
    null,
  ),
  check: or(str, ""),
  kind: or(oneOf("edge", "level", "shell"), "edge"),
  within: or(num, 0), // s, 0: no limit
  hints: or(num, 0),
});
export type Step = Decoded<typeof step>;
export type Prediction = NonNullable<Step["predict"]>;

const lesson = obj({
  id: str,
  module: obj({ id: str, title: texts.text }),
  number: num,
  of: num,
  lang: str,
  asked: or(str, ""),
  stale: or(bool, false),
  title: str,
  summary: or(str, ""),
  minutes: or(num, 0),
  previous: or(str, ""),
  next: or(str, ""),
  missing: list(missing),
  terminal: or(bool, false),
  parts: list(part),
  actions: dict(action),
  steps: list(step),
  stage: or(obj({ of: str, fd: or(num, 0) }), null),
  code: or(obj({ language: or(oneOf("c", "go"), "c"), files: list(obj({ name: str, text: str })) }), null),
  values: list(str),
});
export type Lesson = Decoded<typeof lesson>;

export function fetchCurriculum(learner: string, signal?: AbortSignal): Promise<Curriculum> {
  return get(`/api/v1/labs?${new URLSearchParams({ learner })}`, curriculum, signal);
}

export function fetchLesson(lab: string, lang: string, signal?: AbortSignal): Promise<Lesson> {
  return get(`/api/v1/labs/${encodeURIComponent(lab)}?${new URLSearchParams({ lang })}`, lesson, signal);
}
