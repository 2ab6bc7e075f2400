// The insertion and erasure of lib/rbtree.c, step by step, on plain links.
// Two pictures of the kernel's tree show what changed, not how; running the
// same algorithm from the first and arriving exactly at the second is the proof
// of the steps between. Where it does not arrive, nothing is claimed.

/** One rotation: `pivot` rises over `at`, until then its parent. */
export interface Rotation {
  direction: "left" | "right";
  at: number;
  pivot: number;
}

/** One step of the kernel's algorithm. */
export type RbStep =
  | { op: "link"; node: number; parent: number; side: "left" | "right" | "root" }
  | { op: "unlink"; node: number; successor: number }
  | { op: "recolour"; node: number; to: "red" | "black" }
  | ({ op: "rotate" } & Rotation);

export interface RbNode {
  id: number;
  parent: number;
  left: number;
  right: number;
  red: boolean;
}

type Side = "left" | "right";

/** A red-black tree over ids; 0 is no node. */
export class RbTree {
  root = 0;
  readonly steps: RbStep[] = [];
  private readonly nodes = new Map<number, RbNode>();

  /** Takes the node as it is; links are the caller's. */
  put(n: RbNode): void {
    this.nodes.set(n.id, n);
    if (n.parent === 0) this.root = n.id;
  }

  get(id: number): RbNode | undefined {
    return this.nodes.get(id);
  }

  get size(): number {
    return this.nodes.size;
  }

  private of(id: number): RbNode {
    const n = this.nodes.get(id);
    if (!n) throw new Error(`node ${id} is not in the tree`);
    return n;
  }

  private isRed(id: number): boolean {
    return id !== 0 && this.of(id).red;
  }

  private paint(id: number, red: boolean): void {
    const n = this.of(id);
    if (n.red === red) return;
    n.red = red;
    this.steps.push({ op: "recolour", node: id, to: red ? "red" : "black" });
  }

  private replaceChild(parent: number, was: number, now: number): void {
    if (parent === 0) {
      this.root = now;
      return;
    }
    const p = this.of(parent);
    if (p.left === was) p.left = now;
    else p.right = now;
  }

  // The child on the far side of `direction` rises: rotating left lifts the right child.
  private rotate(at: number, direction: Side): void {
    const far: Side = direction === "left" ? "right" : "left";
    const x = this.of(at);
    const pivot = this.of(x[far]);
    x[far] = pivot[direction];
    if (x[far] !== 0) this.of(x[far]).parent = at;
    pivot[direction] = at;
    pivot.parent = x.parent;
    this.replaceChild(x.parent, at, pivot.id);
    x.parent = pivot.id;
    this.steps.push({ op: "rotate", direction, at, pivot: pivot.id });
  }

  /** rb_link_node and rb_insert_color; `less` orders ids by key. */
  insert(id: number, less: (a: number, b: number) => boolean): void {
    let parent = 0;
    let side: Side | "root" = "root";
    for (let at = this.root; at !== 0; at = this.of(at)[side]) {
      parent = at;
      side = less(id, at) ? "left" : "right";
    }
    this.nodes.set(id, { id, parent, left: 0, right: 0, red: true });
    if (side === "root") this.root = id;
    else this.of(parent)[side] = id;
    this.steps.push({ op: "link", node: id, parent, side });

    let node = id;
    for (;;) {
      const p = this.of(node).parent;
      if (p === 0) {
        this.paint(node, false);
        return;
      }
      if (!this.isRed(p)) return;
      const g = this.of(p).parent;
      const near: Side = this.of(g).left === p ? "left" : "right";
      const far: Side = near === "left" ? "right" : "left";
      const uncle = this.of(g)[far];
      if (this.isRed(uncle)) {
        // Case 1: colour flips; go on at the grandparent.
        this.paint(uncle, false);
        this.paint(p, false);
        node = g;
        this.paint(node, true);
        continue;
      }
      let top = p;
      if (this.of(p)[far] === node) {
        // Case 2: turn the inner grandchild outwards.
        this.rotate(p, near);
        top = node;
      }
      // Case 3: the parent rises over the grandparent.
      this.rotate(g, far);
      this.paint(top, false);
      this.paint(g, true);
      return;
    }
  }

  /** rb_erase: __rb_erase_augmented and ____rb_erase_color. */
  erase(id: number): void {
    const node = this.of(id);
    let rebalance = 0;
    let successor = 0;
    if (node.left === 0 || node.right === 0) {
      const child = node.left || node.right;
      this.replaceChild(node.parent, id, child);
      if (child !== 0) {
        this.of(child).parent = node.parent;
        successor = child;
      } else if (!node.red) {
        rebalance = node.parent;
      }
      this.steps.push({ op: "unlink", node: id, successor });
      if (child !== 0) this.paint(child, node.red);
    } else {
      successor = node.right;
      let parent = successor;
      if (this.of(successor).left !== 0) {
        while (this.of(successor).left !== 0) {
          parent = successor;
          successor = this.of(successor).left;
        }
        this.of(parent).left = this.of(successor).right;
        this.of(successor).right = node.right;
        this.of(node.right).parent = successor;
      }
      const s = this.of(successor);
      const orphan = parent === successor ? s.right : this.of(parent).left;
      s.left = node.left;
      this.of(node.left).parent = successor;
      this.replaceChild(node.parent, id, successor);
      s.parent = node.parent;
      this.steps.push({ op: "unlink", node: id, successor });
      if (orphan !== 0) {
        this.of(orphan).parent = parent;
        this.paint(orphan, false);
      } else if (!s.red) {
        rebalance = parent;
      }
      this.paint(successor, node.red);
    }
    this.nodes.delete(id);
    if (rebalance !== 0) this.eraseColour(rebalance);
  }

  private eraseColour(start: number): void {
    let node = 0;
    let parent = start;
    for (;;) {
      const near: Side = this.of(parent).right !== node ? "left" : "right";
      const far: Side = near === "left" ? "right" : "left";
      let sibling = this.of(parent)[far];
      if (this.isRed(sibling)) {
        // Case 1: a red sibling rises, its inner child is the new sibling.
        this.rotate(parent, near);
        this.paint(sibling, false);
        this.paint(parent, true);
        sibling = this.of(parent)[far];
      }
      if (!this.isRed(this.of(sibling)[far])) {
        if (!this.isRed(this.of(sibling)[near])) {
          // Case 2: the sibling's side gives up a black too.
          this.paint(sibling, true);
          if (this.isRed(parent)) {
            this.paint(parent, false);
            return;
          }
          node = parent;
          parent = this.of(node).parent;
          if (parent === 0) return;
          continue;
        }
        // Case 3: turn the sibling's inner child outwards.
        const inner = this.of(sibling)[near];
        this.rotate(sibling, far);
        this.paint(inner, false);
        this.paint(sibling, true);
        sibling = inner;
      }
      // Case 4: the sibling rises over the parent and takes its colour.
      const wasRed = this.isRed(parent);
      this.rotate(parent, near);
      this.paint(this.of(sibling)[far], false);
      this.paint(sibling, wasRed);
      this.paint(parent, false);
      return;
    }
  }
}
