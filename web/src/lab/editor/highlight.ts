// The editor's look, from the tokens of the page (editor.css, tokens.css).

import { HighlightStyle } from "@codemirror/language";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

export const highlight = HighlightStyle.define([
  {
    tag: [tags.keyword, tags.modifier, tags.operatorKeyword],
    color: "var(--code-keyword)",
    fontWeight: "600",
  },
  { tag: [tags.typeName, tags.standard(tags.typeName), tags.className], color: "var(--code-type)" },
  { tag: [tags.string, tags.character, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: [tags.escape], color: "var(--code-number)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--code-number)" },
  { tag: [tags.comment], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.processingInstruction, tags.macroName, tags.meta], color: "var(--code-macro)" },
  {
    tag: [tags.function(tags.variableName), tags.function(tags.definition(tags.variableName))],
    color: "var(--code-function)",
  },
  { tag: [tags.labelName], color: "var(--code-macro)" },
]);

export const look = EditorView.theme({
  "&": { height: "100%", background: "var(--panel)", color: "var(--ink)", fontSize: "13px" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": {
    fontFamily: "var(--mono)",
    fontVariantLigatures: "none",
    lineHeight: "20px",
    scrollbarWidth: "thin",
    scrollbarColor: "var(--line) transparent",
  },
  ".cm-content": { padding: "8px 0 24px", caretColor: "var(--ink)" },
  ".cm-line": { padding: "0 16px 0 8px" },
  ".cm-gutters": {
    background: "var(--panel)",
    color: "var(--soft)",
    border: "0",
    fontVariantNumeric: "tabular-nums",
  },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 8px 0 4px", minWidth: "36px" },
  ".cm-activeLine": { background: "transparent" },
  ".cm-activeLineGutter": { background: "transparent" },
  "&.cm-focused .cm-activeLine": { background: "var(--code-line)" },
  "&.cm-focused .cm-activeLineGutter": { background: "var(--code-line)", color: "var(--ink)" },
  "& ::selection": { background: "var(--code-selected)" },
  ".cm-line::selection, .cm-line ::selection": { background: "var(--code-selected)" },
  "&.cm-focused .cm-matchingBracket, .cm-matchingBracket": {
    background: "var(--accent-wash)",
    outline: "1px solid var(--accent)",
  },
  "&.cm-focused .cm-nonmatchingBracket": { background: "var(--bad-wash)", color: "var(--bad)" },

  ".cm-signs": { width: "20px" },
  ".cm-signs .cm-gutterElement": { display: "flex", justifyContent: "center" },
  ".sign": {
    width: "16px",
    height: "16px",
    margin: "2px 0",
    borderRadius: "50%",
    font: "600 11px/16px var(--sans)",
    textAlign: "center",
    cursor: "default",
  },
  ".sign.error": { background: "var(--bad)", color: "var(--panel)" },
  ".sign.warning": { background: "var(--warn)", color: "var(--panel)", borderRadius: "4px" },
  ".sign.note": { border: "1px solid var(--edge)", color: "var(--soft)", lineHeight: "14px" },
  ".under": { textDecoration: "underline wavy", textUnderlineOffset: "4px", textDecorationSkipInk: "none" },
  ".under.error": { textDecorationColor: "var(--bad)" },
  ".under.warning": { textDecorationColor: "var(--warn)" },
  ".under.note": { textDecorationColor: "var(--edge)" },
  // No margins: CodeMirror measures a block without them.
  ".saying": { padding: "2px 16px 4px 8px" },
  // It stays in sight when long lines are scrolled sideways.
  ".said": {
    position: "sticky",
    left: "64px",
    width: "fit-content",
    maxWidth: "480px",
    padding: "2px 10px",
    borderLeft: "3px solid",
    borderRadius: "0 6px 6px 0",
    font: "400 12px/18px var(--sans)",
    whiteSpace: "pre-wrap",
    overflowWrap: "anywhere",
  },
  ".said.error": { background: "var(--bad-wash)", color: "var(--bad)" },
  ".said.warning": { background: "var(--warn-wash)", color: "var(--warn)" },
  ".said.note": { background: "var(--sunk)", color: "var(--soft)" },

  ".flash": { animation: "flash 1600ms ease-out", background: "transparent" },
  "@keyframes flash": {
    "0%, 40%": { background: "var(--code-flash)" },
    "100%": { background: "transparent" },
  },
  "@media (prefers-reduced-motion: reduce)": {
    ".flash": { animation: "none", background: "var(--code-flash)" },
  },
});
