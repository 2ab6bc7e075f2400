import { describe, expect, it } from "vitest";
import type { LabBrief, Lesson, Module, StructCard } from "../net/labs";
import { isDone, nextLab, opensOn, progress } from "./curriculum";
import { drawerTabs } from "./drawer";
import { spotAt, withoutTitle, yOf } from "./place";
import { isLong, structRows } from "./structs";

describe("the curriculum", () => {
  const text = { en: "", zh: "" };
  const lab = (id: string, done: number, steps: number): LabBrief => ({
    id,
    number: 1,
    title: text,
    summary: text,
    minutes: 20,
    steps,
    done,
    missing: [],
  });
  const module = (id: string, ...labs: LabBrief[]): Module => ({
    id,
    title: text,
    summary: text,
    planned: labs.length === 0,
    requires: [],
    labs,
  });
  const of = (...modules: Module[]) => opensOn({ terminal: true, code: true, problems: [], modules });

  it("goes on at the first lesson that is not done", () => {
    expect(nextLab(module("m", lab("a", 3, 3), lab("b", 1, 3), lab("c", 0, 3)))?.id).toBe("b");
    expect(nextLab(module("m", lab("a", 3, 3)))).toBeNull();
    expect(isDone(lab("no steps", 0, 0))).toBe(false);
  });

  it("opens the module that has something left, never a planned one", () => {
    expect(of(module("p"), module("a", lab("x", 1, 1)), module("b", lab("y", 0, 1)))).toBe("b");
    expect(of(module("p"), module("a", lab("x", 1, 1)))).toBe("a");
    expect(of(module("p"))).toBeNull();
  });

  it("adds up", () => {
    expect(progress(module("m", lab("a", 3, 3), lab("b", 1, 4)))).toEqual({
      minutes: 40,
      steps: 7,
      done: 4,
      lessons: 1,
    });
  });
});

describe("a place in a lesson", () => {
  const boxes = [
    { top: 0, height: 100 },
    { top: 100, height: 400 },
  ];
  const longer = [
    { top: 0, height: 300 },
    { top: 300, height: 200 },
  ];

  it("is the same in a text of other lengths", () => {
    expect(yOf(longer, spotAt(boxes, 300))).toBe(400);
    expect(yOf(boxes, spotAt(boxes, 123))).toBe(123);
  });

  it("stays at the top, and does without parts", () => {
    expect(spotAt(boxes, 0)).toBeNull();
    expect(yOf(longer, null)).toBe(0);
    expect(yOf([], { part: 3, into: 0.5 })).toBe(0);
  });

  it("has its title once", () => {
    expect(withoutTitle("<h1>Growing</h1>\n<p>x</p>")).toBe("<p>x</p>");
    expect(withoutTitle("<p>x</p><h1>y</h1>")).toBe("<p>x</p><h1>y</h1>");
  });
});

describe("a struct", () => {
  const struct = (n: number, marked: string[]): StructCard => ({
    name: "struct epitem",
    size: 8 * n,
    source: "fs/eventpoll.c",
    marked,
    problem: "",
    fields: Array.from({ length: n }, (_, i) => ({ path: `f${i}`, type: "int", offset: 8 * i, size: 8 })),
  });
  const shape = (s: StructCard, all = false) =>
    structRows(s, all).map((r) => ("gap" in r ? -r.gap : `${r.marked ? "*" : ""}${r.field.path}`));

  it("that is long shows its marked fields, and how many lie between", () => {
    expect(shape(struct(14, ["f2", "f3", "f9"]))).toEqual([-2, "*f2", "*f3", -5, "*f9", -4]);
    expect(shape(struct(14, ["f2"]), true)).toHaveLength(14);
  });

  it("that is short, or has nothing marked, shows all", () => {
    expect(shape(struct(3, ["f1"]))).toEqual(["f0", "*f1", "f2"]);
    expect(isLong(struct(40, []))).toBe(false);
    expect(isLong(struct(40, ["not there"]))).toBe(false);
  });

  it("marks the members of a marked struct too", () => {
    const s = struct(2, ["ffd"]);
    s.fields[0]!.path = "ffd.file";
    s.fields[1]!.path = "ffdx";
    expect(shape(s)).toEqual(["*ffd.file", "ffdx"]);
  });
});

describe("the drawer", () => {
  const lesson = (more: Partial<Lesson>) => ({ stage: null, terminal: false, code: null, ...more }) as Lesson;
  it("has what the lab offers", () => {
    expect(drawerTabs(lesson({}), false, false)).toEqual([]);
    expect(drawerTabs(lesson({}), true, false)).toEqual(["calls"]);
    expect(drawerTabs(lesson({ stage: { of: "program", fd: 0 } }), false, false)).toEqual([]);
    expect(
      drawerTabs(
        lesson({ stage: { of: "puppet", fd: 3 }, terminal: true, code: { language: "c", files: [] } }),
        false,
        true,
      ),
    ).toEqual(["lesson", "calls", "terminal", "code"]);
  });
});
