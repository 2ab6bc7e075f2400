import { describe, expect, it } from "vitest";
import type { Diagnostic, ProgramState } from "../../net/messages";
import { mayBecome, mostText, sizeOf } from "./bound";
import { countOf, fileOf, marksOf, mostMarks, type Lines } from "./diagnostics";
import { Drafts, draftDelay } from "./drafts";
import { indentOf } from "./indent";
import { wordsOf } from "./program";

function lines(text: string): Lines {
  const all = text.split("\n");
  return {
    lines: all.length,
    line(n) {
      const from = all.slice(0, n - 1).reduce((sum, l) => sum + l.length + 1, 0);
      return { from, to: from + all[n - 1]!.length, text: all[n - 1]! };
    },
  };
}

const error = (line: number, column: number, file = "main.c"): Diagnostic => ({
  file,
  line,
  column,
  severity: "error",
  text: "no",
});

describe("diagnostics", () => {
  const source = 'int main(void)\n{\n\tputs("中文", foo);\n\treturn 0\n}\n';
  const doc = lines(source);
  const under = (d: Diagnostic) => {
    const [m] = marksOf([d], "main.c", doc);
    return m && { line: m.line, text: source.slice(m.from, m.to) };
  };

  it.each<[string, Diagnostic, { line: number; text: string }]>([
    ["a word", error(1, 5), { line: 1, text: "main" }],
    ["the middle of a word", error(1, 7), { line: 1, text: "in" }],
    ["a sign", error(2, 1), { line: 2, text: "{" }],
    ["behind a tab and characters of three bytes", error(3, 17), { line: 3, text: "foo" }],
    ["the end of a line", error(4, 10), { line: 4, text: "0" }],
    ["far behind it", error(4, 99), { line: 4, text: "0" }],
    ["no column", error(3, 0), { line: 3, text: "" }],
    ["behind the end of the file", error(99, 3), { line: 6, text: "" }],
  ])("underline %s", (_, d, want) => {
    expect(under(d)).toEqual(want);
  });

  it("belong to their file", () => {
    const all = [
      error(1, 1),
      error(2, 1, "./main.c"),
      error(1, 1, "conn.h"),
      error(0, 0),
      error(3, 1, "/usr/main.c"),
    ];
    expect(marksOf(all, "main.c", doc).map((m) => m.line)).toEqual([1, 2]);
    expect(countOf(all, "conn.h")).toBe(1);
    expect(all.map((d) => fileOf(d, ["main.c", "conn.h"]))).toEqual([
      "main.c",
      "main.c",
      "conn.h",
      "main.c",
      "",
    ]);
  });

  it("come in the order of the file, and not without end", () => {
    expect(
      marksOf([error(3, 2), error(1, 5), error(1, 1)], "main.c", doc).map((m) => [m.line, m.from]),
    ).toEqual([
      [1, 0],
      [1, 4],
      [3, 18],
    ]);
    expect(
      marksOf(
        Array.from({ length: 500 }, () => error(1, 1)),
        "main.c",
        doc,
      ),
    ).toHaveLength(mostMarks);
  });

  it("counts errors only", () => {
    expect(countOf([error(1, 1), { ...error(2, 1), severity: "warning" }], "main.c")).toBe(1);
  });
});

describe("drafts", () => {
  function setup() {
    const sent: [string, string][] = [];
    let timer: { ms: number; run: () => void } | null = null;
    const drafts = new Drafts(
      (ms, run) => {
        const mine = { ms, run };
        timer = mine;
        return () => {
          if (timer === mine) timer = null;
        };
      },
      (file, text) => sent.push([file, text]),
    );
    const later = () => {
      const t = timer;
      timer = null;
      t?.run();
    };
    drafts.given("main.c", "start");
    return { drafts, sent, later, timer: () => timer };
  }

  it("go once, a while after the last key", () => {
    const t = setup();
    t.drafts.changed("main.c", "a");
    t.drafts.changed("main.c", "ab");
    expect(t.sent).toEqual([]);
    expect(t.timer()?.ms).toBe(draftDelay);
    t.later();
    expect(t.sent).toEqual([["main.c", "ab"]]);
    expect(t.drafts.pending).toBe(false);
    t.drafts.flush();
    expect(t.sent).toHaveLength(1);
  });

  it("go at once on flush, of every file", () => {
    const t = setup();
    t.drafts.changed("main.c", "a");
    t.drafts.changed("conn.h", "b");
    t.drafts.flush();
    expect(t.sent).toEqual([
      ["main.c", "a"],
      ["conn.h", "b"],
    ]);
    expect(t.timer()).toBeNull();
  });

  it("do not go when all is as it was", () => {
    const t = setup();
    t.drafts.changed("main.c", "startx");
    t.drafts.changed("main.c", "start");
    t.drafts.flush();
    expect(t.sent).toEqual([]);
    expect(t.timer()).toBeNull();
  });

  it("take a text from outside until it is changed here", () => {
    const t = setup();
    expect(t.drafts.given("main.c", "start")).toBe(false);
    expect(t.drafts.given("main.c", "from another page")).toBe(true);
  });

  it("never lose what was typed to an older text, and send it again", () => {
    const t = setup();
    t.drafts.changed("main.c", "typed while offline");
    t.later();
    expect(t.drafts.given("main.c", "what the server still had")).toBe(false);
    t.later();
    expect(t.sent).toEqual([
      ["main.c", "typed while offline"],
      ["main.c", "typed while offline"],
    ]);
  });

  it("do not answer their own echo", () => {
    const t = setup();
    t.drafts.changed("main.c", "a");
    t.later();
    expect(t.drafts.given("main.c", "a")).toBe(false);
    t.later();
    expect(t.sent).toHaveLength(1);
  });
});

describe("the bound of a file", () => {
  const may = (after: string, before = "") =>
    mayBecome(
      after.length,
      () => after,
      () => before,
    );

  it.each<[string, string, string, boolean]>([
    ["short", "int x;", "", true],
    ["just as long as may be", "x".repeat(mostText), "", true],
    ["one byte more", "x".repeat(mostText + 1), "", false],
    ["characters of three bytes", "中".repeat(mostText / 3 + 1), "", false],
    ["too long already, getting shorter", "x".repeat(mostText + 5), "x".repeat(mostText + 6), true],
    ["too long already, getting longer", "x".repeat(mostText + 7), "x".repeat(mostText + 6), false],
  ])("%s", (_, after, before, want) => {
    expect(may(after, before)).toBe(want);
  });

  it("looks at the text only near the bound", () => {
    const never = () => {
      throw new Error("asked for the text");
    };
    expect(mayBecome(1000, never, never)).toBe(true);
  });

  it("counts bytes", () => {
    expect(sizeOf("a中")).toBe(4);
  });
});

describe("indentation", () => {
  it.each<[string, string, "c" | "go", string]>([
    ["four by default", "int x;\n", "c", "    "],
    ["two", "int f() {\n  if (x)\n    y();\n}\n", "c", "  "],
    ["tabs", "int f()\n{\n\tif (x)\n\t\ty();\n}\n", "c", "\t"],
    ["not that of comments", "/*\n * text\n */\nint f() {\n    y();\n}\n", "c", "    "],
    ["Go is tabs", "package main\n", "go", "\t"],
  ])("%s", (_, text, language, want) => {
    expect(indentOf(text, language).unit).toBe(want);
  });
});

describe("the program in words", () => {
  const base: ProgramState = { run: 1, state: "none", pid: 0, ended: "", diagnostics: [] };

  it.each<[Partial<ProgramState>, string, string]>([
    [{}, "editor.program.none", ""],
    [{ state: "building" }, "editor.program.building", "wait"],
    [{ state: "failed", diagnostics: [error(1, 1), error(2, 1)] }, "editor.program.failed", "bad"],
    [{ state: "failed", ended: "ld: cannot find -lx" }, "editor.program.stopped", "bad"],
    [{ state: "running", pid: 7 }, "editor.program.running", "live"],
    [{ state: "ended", ended: "exit status 0" }, "editor.program.ended", ""],
    [{ state: "ended", ended: "signal: segmentation fault" }, "editor.program.ended", "bad"],
  ])("%j is %s", (p, key, tone) => {
    expect(wordsOf({ ...base, ...p })).toMatchObject({ key, tone });
  });

  it("counts errors, and groups no pid", () => {
    expect(wordsOf({ ...base, state: "failed", diagnostics: [error(1, 1), error(2, 1)] }).params).toEqual({
      n: 2,
    });
    expect(wordsOf({ ...base, state: "running", pid: 12345 }).params).toEqual({ pid: "12345" });
  });
});
