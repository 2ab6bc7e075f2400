// What the compiler says, put to places in a file.

import type { Diagnostic } from "../../net/messages";

/** Lines is what is needed of a document: line n, from 1. */
export interface Lines {
  readonly lines: number;
  line(n: number): { readonly from: number; readonly to: number; readonly text: string };
}

/** Mark is a diagnostic and its place: `from`–`to` is underlined, empty if the compiler named no column. */
export interface Mark {
  line: number;
  from: number;
  to: number;
  diagnostic: Diagnostic;
}

/** A compiler that lost its way says the same over and over. */
export const mostMarks = 50;

/** marksOf are the marks of one file, in its order. What stands beyond its end belongs to the last line. */
export function marksOf(diagnostics: readonly Diagnostic[], file: string, doc: Lines): Mark[] {
  return diagnostics
    .filter((d) => sameFile(d.file, file) && d.line > 0)
    .slice(0, mostMarks)
    .map((diagnostic) => place(diagnostic, doc))
    .sort((a, b) => a.line - b.line || a.from - b.from);
}

/** countOf tells how many errors a file has, for its tab. */
export function countOf(diagnostics: readonly Diagnostic[], file: string): number {
  return diagnostics.filter((d) => d.severity === "error" && sameFile(d.file, file)).length;
}

/** fileOf is the file of the editor that a diagnostic speaks of, "" if none: a header of the system. */
export function fileOf(d: Diagnostic, files: readonly string[]): string {
  return files.find((f) => sameFile(d.file, f)) ?? "";
}

function sameFile(said: string, file: string): boolean {
  return said === file || said === `./${file}`;
}

function place(diagnostic: Diagnostic, doc: Lines): Mark {
  const line = Math.min(diagnostic.line, doc.lines);
  const { from, to, text } = doc.line(line);
  if (diagnostic.column < 1 || line !== diagnostic.line) return { line, from, to: from, diagnostic };
  const at = Math.min(indexOfByte(text, diagnostic.column - 1), text.length);
  const word = /^(\w+|.)/u.exec(text.slice(at))?.[0] ?? "";
  // At the end of a line ("expected ;"): its last character.
  if (word === "") return { line, from: Math.max(from, to - 1), to, diagnostic };
  return { line, from: from + at, to: from + at + word.length, diagnostic };
}

/** indexOfByte turns an offset in bytes, as compilers count, to one in the string. */
function indexOfByte(text: string, byte: number): number {
  let bytes = 0;
  let i = 0;
  for (const char of text) {
    if (bytes >= byte) break;
    const c = char.codePointAt(0)!;
    bytes += c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    i += char.length;
  }
  return i;
}
