import { describe, expect, test } from "vitest";
import { ClrsTree } from "../testing/clrs";
import { random } from "../testing/frames";
import { RbTree } from "./rbtree";

function expectSame(tree: RbTree, clrs: ClrsTree): void {
  expect(tree.size).toBe(clrs.ids.length);
  expect(tree.root).toBe(clrs.rootId);
  for (const n of clrs.nodes()) {
    const { id, parent, left, right, red } = n;
    expect(tree.get(id)).toEqual({ id, parent, left, right, red });
  }
}

describe("the kernel's algorithm", () => {
  test.each([1, 2, 3, 4, 5])("agrees with the textbook's over 2,000 random operations, seed %i", (seed) => {
    const rnd = random(seed);
    const tree = new RbTree();
    const clrs = new ClrsTree();
    const keys = new Map<number, number>();
    let nextId = 1;
    for (let i = 0; i < 2000; i++) {
      const alive = [...keys.keys()];
      if (alive.length < 3 || rnd() < 0.52) {
        const id = nextId++;
        keys.set(id, rnd());
        tree.insert(id, (a, b) => keys.get(a)! < keys.get(b)!);
        clrs.insert(id, keys.get(id)!);
      } else {
        const id = alive[Math.floor(rnd() * alive.length)]!;
        keys.delete(id);
        tree.erase(id);
        clrs.erase(id);
      }
      if (i % 20 === 0) expectSame(tree, clrs);
    }
    expectSame(tree, clrs);
  });

  test("tells a left rotation: three ascending keys", () => {
    const tree = new RbTree();
    const less = (a: number, b: number): boolean => a < b;
    for (const id of [1, 2, 3]) tree.insert(id, less);
    expect(tree.steps).toEqual([
      { op: "link", node: 1, parent: 0, side: "root" },
      { op: "recolour", node: 1, to: "black" },
      { op: "link", node: 2, parent: 1, side: "right" },
      { op: "link", node: 3, parent: 2, side: "right" },
      { op: "rotate", direction: "left", at: 1, pivot: 2 },
      { op: "recolour", node: 2, to: "black" },
      { op: "recolour", node: 1, to: "red" },
    ]);
  });

  test("tells a double rotation: 1, 3, 2", () => {
    const tree = new RbTree();
    const less = (a: number, b: number): boolean => a < b;
    for (const id of [1, 3, 2]) tree.insert(id, less);
    expect(tree.steps.filter((s) => s.op === "rotate")).toEqual([
      { op: "rotate", direction: "right", at: 3, pivot: 2 },
      { op: "rotate", direction: "left", at: 1, pivot: 2 },
    ]);
  });
});
