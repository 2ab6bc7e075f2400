import { describe, expect, it } from "vitest";
import { Flag } from "../core";
import { rowsOf, writeFrame } from "../testing/frames";
import { modelOf, randomTree } from "../testing/scenes";
import { EpollStream, fit } from "../core";
import { culledModel } from "../testing/scenes";
import { itemOf, lines, why } from "./card";

const plain = (k: string, p: object = {}) => [k, ...Object.values(p)].join(" ");

describe("card", () => {
  const model = modelOf(randomTree(7));
  const order = model.inOrder();
  const item = (rank: number) => itemOf(model, order[rank] ?? 0)!;

  it("says where a node hangs, by the member of the struct that tells it", () => {
    const all = order.map((id) => lines(model, itemOf(model, id)!, plain)[0]!.value);
    expect(all.filter((v) => v.includes("card.root"))).toHaveLength(1);
    expect(all.filter((v) => v.includes("card.under"))).toHaveLength(6);
    expect(lines(model, item(0), plain).map((l) => l.name)).toEqual([
      "rbn",
      "ffd.file",
      "ffd.fd",
      "event.events",
      "event.data",
      "rdllink",
    ]);
  });

  it("gives the keys on both sides as the reason", () => {
    expect(why(model, item(0))?.key).toBe("why.first");
    expect(why(model, item(6))?.key).toBe("why.last");
    const w = why(model, item(3))!;
    expect(w.key).toBe("why.between");
    expect([w.params["bfd"], w.params["afd"]]).toEqual([String(item(2).fd), String(item(4).fd)]);
    const one = modelOf(randomTree(1));
    expect(why(one, itemOf(one, one.inOrder()[0]!)!)?.key).toBe("why.only");
  });

  it("knows that dup makes neighbours", () => {
    const tree = randomTree(3);
    const rows = rowsOf(tree, () => ({ file: 5 }));
    const root = rows.find((r) => r.parent === 0)!.id;
    const frame = writeFrame({ sequence: 1, flags: Flag.key, nodes: rows, root, items: 3 });
    const m = new EpollStream().push(frame).model;
    expect(why(m, itemOf(m, m.inOrder()[1]!)!)?.key).toBe("why.samefile");
  });

  it("tells less of a culled tree rather than guess", () => {
    const m = culledModel(50_000, fit(50_000), 1200);
    const glyphs = m.glyphs!;
    const single = glyphs.find((g) => g.count === 1)!;
    const subtree = glyphs.find((g) => g.count > 1)!;
    expect(itemOf(m, subtree.id)).toBeNull();
    const n = itemOf(m, single.id)!;
    expect(n.data).toBeNull();
    expect(lines(m, n, plain).map((l) => l.name)).not.toContain("event.data");
    expect(why(m, n)).toBeNull();
  });
});
