// CodeMirror with the files of a lab: one view, one state per file.

import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
  type Language,
} from "@codemirror/language";
import {
  EditorState,
  RangeSet,
  StateEffect,
  StateField,
  type Extension,
  type Range,
} from "@codemirror/state";
import {
  Decoration,
  EditorView,
  gutter,
  GutterMarker,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
  WidgetType,
  type DecorationSet,
} from "@codemirror/view";
import type { Diagnostic } from "../../net/messages";
import { mayBecome } from "./bound";
import { marksOf, type Mark } from "./diagnostics";
import { highlight, look } from "./highlight";
import { indentOf } from "./indent";

export interface Reports {
  changed(file: string, text: string): void;
  /** A change was refused: the file would be too long. */
  refused(): void;
  build(): void;
  save(): void;
  blurred(): void;
  /** Words for a severity. */
  severity(severity: Diagnostic["severity"]): string;
}

const flashFor = 1600; // ms, as in highlight.ts
const setMarks = StateEffect.define<readonly Mark[]>();
const setFlash = StateEffect.define<number | null>(); // position in the line
const setReadonly = StateEffect.define<boolean>();

/** languageOf loads the grammar alone; the packages' support adds completion, which is large. */
export async function languageOf(language: "c" | "go"): Promise<Language> {
  if (language === "go") return (await import("@codemirror/lang-go")).goLanguage;
  return (await import("@codemirror/lang-cpp")).cppLanguage;
}

export class CodeView {
  private readonly view: EditorView;
  private readonly states = new Map<string, EditorState>();
  private file = "";
  private diagnostics: readonly Diagnostic[] = [];
  private locked = false;
  private flashing = 0;

  /**
   * The view lives in a shadow root: there CodeMirror keeps its styles in
   * constructed sheets, which the content policy of the page allows.
   */
  constructor(
    host: HTMLElement,
    private readonly language: "c" | "go",
    private readonly grammar: Language,
    private readonly reports: Reports,
  ) {
    const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    this.view = new EditorView({ root, parent: root });
  }

  /** put gives a file its text, first or anew. */
  put(file: string, text: string): void {
    const old = file === this.file ? this.view.state : this.states.get(file);
    if (old && old.doc.toString() === text) return;
    const state = old
      ? old.update({ changes: { from: 0, to: old.doc.length, insert: text } }).state
      : this.fresh(file, text);
    this.states.set(file, state);
    if (file === this.file) this.view.setState(state);
  }

  /** replace is a change like one that was typed: undo takes it back. */
  replace(text: string): void {
    this.view.dispatch({
      changes: { from: 0, to: this.view.state.doc.length, insert: text },
      selection: { anchor: 0 },
      scrollIntoView: true,
    });
    this.view.focus();
  }

  show(file: string): void {
    if (file === this.file) return;
    if (this.file) this.states.set(this.file, this.view.state);
    const state = this.states.get(file);
    if (!state) return;
    this.file = file;
    this.view.setState(state);
    this.mark(this.diagnostics);
    this.lock(this.locked);
  }

  lock(locked: boolean): void {
    this.locked = locked;
    this.view.dispatch({ effects: setReadonly.of(locked) });
  }

  mark(diagnostics: readonly Diagnostic[]): void {
    this.diagnostics = diagnostics;
    const marks = marksOf(diagnostics, this.file, this.view.state.doc);
    this.view.dispatch({ effects: setMarks.of(marks) });
  }

  /** go scrolls to a line, puts the cursor there and lets it flash. */
  go(line: number, column = 0, focus = false): void {
    const { doc } = this.view.state;
    const { from, to } = doc.line(Math.min(Math.max(line, 1), doc.lines));
    const at = Math.min(to, from + Math.max(0, column - 1));
    this.view.dispatch({
      selection: { anchor: at },
      effects: [EditorView.scrollIntoView(at, { y: "center" }), setFlash.of(null)],
    });
    this.view.dispatch({ effects: setFlash.of(from) });
    clearTimeout(this.flashing);
    this.flashing = window.setTimeout(() => this.view.dispatch({ effects: setFlash.of(null) }), flashFor);
    if (focus) this.view.focus();
  }

  label(text: string): void {
    this.view.contentDOM.setAttribute("aria-label", text);
  }

  text(): string {
    return this.view.state.doc.toString();
  }

  focus(): void {
    this.view.focus();
  }

  destroy(): void {
    clearTimeout(this.flashing);
    this.view.destroy();
  }

  private fresh(file: string, text: string): EditorState {
    const { unit, width } = indentOf(text, this.language);
    const { reports } = this;
    return EditorState.create({
      doc: text,
      extensions: [
        keymap.of([
          { key: "Mod-Enter", run: () => (reports.build(), true) },
          { key: "Mod-s", run: () => (reports.save(), true), preventDefault: true },
          indentWithTab,
          ...defaultKeymap,
          ...historyKeymap,
        ]),
        history(),
        lineNumbers(),
        signs(reports),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        bracketMatching(),
        indentOnInput(),
        indentUnit.of(unit),
        EditorState.tabSize.of(width),
        this.grammar,
        syntaxHighlighting(highlight),
        look,
        readonlyField,
        flashField,
        bound(reports),
        EditorView.contentAttributes.of({ spellcheck: "false", autocapitalize: "off" }),
        EditorView.updateListener.of((u) => {
          if (u.docChanged) reports.changed(file, u.state.doc.toString());
        }),
        EditorView.domEventHandlers({ blur: () => (reports.blurred(), false) }),
      ],
    });
  }
}

/** bound refuses what would make the file too long. */
function bound(reports: Reports): Extension {
  return EditorState.changeFilter.of((tr) => {
    const may = mayBecome(
      tr.newDoc.length,
      () => tr.newDoc.toString(),
      () => tr.startState.doc.toString(),
    );
    if (!may) queueMicrotask(() => reports.refused()); // a filter changes nothing itself
    return may;
  });
}

const readonlyField = StateField.define<boolean>({
  create: () => false,
  update(value, tr) {
    for (const e of tr.effects) if (e.is(setReadonly)) value = e.value;
    return value;
  },
  provide: (f) => EditorState.readOnly.from(f),
});

const flashField = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(value, tr) {
    value = value.map(tr.changes);
    for (const e of tr.effects) {
      if (!e.is(setFlash)) continue;
      value = e.value === null ? Decoration.none : Decoration.set(flashed.range(e.value));
    }
    return value;
  },
  provide: (f) => EditorView.decorations.from(f),
});
const flashed = Decoration.line({ class: "flash" });

/** signs are the marks of diagnostics: in the gutter, under the words, and in words under the line. */
function signs(reports: Reports): Extension {
  const field = StateField.define<{ decorations: DecorationSet; signs: RangeSet<GutterMarker> }>({
    create: () => ({ decorations: Decoration.none, signs: RangeSet.empty }),
    update(value, tr) {
      if (tr.docChanged) {
        value = { decorations: value.decorations.map(tr.changes), signs: value.signs.map(tr.changes) };
      }
      for (const e of tr.effects) if (e.is(setMarks)) value = drawn(e.value, tr.state, reports);
      return value;
    },
    provide: (f) => EditorView.decorations.from(f, (v) => v.decorations),
  });
  return [field, gutter({ class: "cm-signs", markers: (view) => view.state.field(field).signs })];
}

function drawn(
  marks: readonly Mark[],
  state: EditorState,
  reports: Reports,
): { decorations: DecorationSet; signs: RangeSet<GutterMarker> } {
  const decorations: Range<Decoration>[] = [];
  const worst = new Map<number, Diagnostic>();
  for (const m of marks) {
    const line = state.doc.line(m.line);
    const d = m.diagnostic;
    if (m.to > m.from) {
      decorations.push(Decoration.mark({ class: `under ${d.severity}` }).range(m.from, m.to));
    }
    decorations.push(
      Decoration.widget({ widget: new Said(d, reports.severity(d.severity)), block: true, side: 1 }).range(
        line.to,
      ),
    );
    const before = worst.get(line.from);
    if (!before || rank[d.severity] < rank[before.severity]) worst.set(line.from, d);
  }
  const signs = [...worst].map(([from, d]) => new Sign(d, reports.severity(d.severity)).range(from));
  return { decorations: Decoration.set(decorations, true), signs: RangeSet.of(signs, true) };
}

const rank: Record<Diagnostic["severity"], number> = { error: 0, warning: 1, note: 2 };
const letters: Record<Diagnostic["severity"], string> = { error: "!", warning: "!", note: "i" };

class Sign extends GutterMarker {
  constructor(
    private readonly diagnostic: Diagnostic,
    private readonly severity: string,
  ) {
    super();
  }

  override eq(other: Sign): boolean {
    return this.diagnostic === other.diagnostic;
  }

  override toDOM(): HTMLElement {
    const sign = document.createElement("div");
    sign.className = `sign ${this.diagnostic.severity}`;
    sign.textContent = letters[this.diagnostic.severity];
    sign.title = `${this.severity}: ${this.diagnostic.text}`;
    return sign;
  }
}

class Said extends WidgetType {
  constructor(
    private readonly diagnostic: Diagnostic,
    private readonly severity: string,
  ) {
    super();
  }

  override eq(other: Said): boolean {
    return this.diagnostic === other.diagnostic && this.severity === other.severity;
  }

  override toDOM(): HTMLElement {
    const said = document.createElement("div");
    said.className = `said ${this.diagnostic.severity}`;
    said.textContent = `${this.severity}: ${this.diagnostic.text}`;
    const block = document.createElement("div");
    block.className = "saying";
    block.append(said);
    return block;
  }
}
