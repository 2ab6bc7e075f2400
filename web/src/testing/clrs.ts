// A red-black tree after Cormen, Leiserson, Rivest and Stein, with a sentinel:
// written apart from model/rbtree.ts, which follows lib/rbtree.c, so that each
// is held against the other. Keys are numbers.

interface N {
  key: number;
  id: number;
  red: boolean;
  p: N;
  left: N;
  right: N;
}

export interface PlainNode {
  id: number;
  key: number;
  parent: number;
  left: number;
  right: number;
  red: boolean;
}

export class ClrsTree {
  private readonly nil: N;
  private root: N;
  private readonly byId = new Map<number, N>();

  constructor() {
    const nil = { key: 0, id: 0, red: false } as N;
    nil.p = nil.left = nil.right = nil;
    this.nil = nil;
    this.root = nil;
  }

  get rootId(): number {
    return this.root.id;
  }

  get ids(): number[] {
    return [...this.byId.keys()];
  }

  nodes(): PlainNode[] {
    return [...this.byId.values()].map((n) => ({
      id: n.id,
      key: n.key,
      parent: n.p.id,
      left: n.left.id,
      right: n.right.id,
      red: n.red,
    }));
  }

  private leftRotate(x: N): void {
    const y = x.right;
    x.right = y.left;
    if (y.left !== this.nil) y.left.p = x;
    this.transplantTo(x, y);
    y.left = x;
    x.p = y;
  }

  private rightRotate(x: N): void {
    const y = x.left;
    x.left = y.right;
    if (y.right !== this.nil) y.right.p = x;
    this.transplantTo(x, y);
    y.right = x;
    x.p = y;
  }

  private transplantTo(u: N, v: N): void {
    v.p = u.p;
    if (u.p === this.nil) this.root = v;
    else if (u === u.p.left) u.p.left = v;
    else u.p.right = v;
  }

  insert(id: number, key: number): void {
    const { nil } = this;
    let y = nil;
    let x = this.root;
    while (x !== nil) {
      y = x;
      x = key < x.key ? x.left : x.right;
    }
    let z: N = { id, key, red: true, p: y, left: nil, right: nil };
    this.byId.set(id, z);
    if (y === nil) this.root = z;
    else if (key < y.key) y.left = z;
    else y.right = z;
    while (z.p.red) {
      if (z.p === z.p.p.left) {
        const uncle = z.p.p.right;
        if (uncle.red) {
          z.p.red = false;
          uncle.red = false;
          z.p.p.red = true;
          z = z.p.p;
        } else {
          if (z === z.p.right) {
            z = z.p;
            this.leftRotate(z);
          }
          z.p.red = false;
          z.p.p.red = true;
          this.rightRotate(z.p.p);
        }
      } else {
        const uncle = z.p.p.left;
        if (uncle.red) {
          z.p.red = false;
          uncle.red = false;
          z.p.p.red = true;
          z = z.p.p;
        } else {
          if (z === z.p.left) {
            z = z.p;
            this.rightRotate(z);
          }
          z.p.red = false;
          z.p.p.red = true;
          this.leftRotate(z.p.p);
        }
      }
    }
    this.root.red = false;
  }

  erase(id: number): void {
    const { nil } = this;
    const z = this.byId.get(id)!;
    this.byId.delete(id);
    let y = z;
    let wasRed = y.red;
    let x: N;
    if (z.left === nil) {
      x = z.right;
      this.transplantTo(z, z.right);
    } else if (z.right === nil) {
      x = z.left;
      this.transplantTo(z, z.left);
    } else {
      y = z.right;
      while (y.left !== nil) y = y.left;
      wasRed = y.red;
      x = y.right;
      if (y.p === z) x.p = y;
      else {
        this.transplantTo(y, y.right);
        y.right = z.right;
        y.right.p = y;
      }
      this.transplantTo(z, y);
      y.left = z.left;
      y.left.p = y;
      y.red = z.red;
    }
    if (!wasRed) this.eraseFixup(x);
    nil.p = nil;
  }

  private eraseFixup(from: N): void {
    let x = from;
    while (x !== this.root && !x.red) {
      const isLeft = x === x.p.left;
      let w = isLeft ? x.p.right : x.p.left;
      if (w.red) {
        w.red = false;
        x.p.red = true;
        if (isLeft) this.leftRotate(x.p);
        else this.rightRotate(x.p);
        w = isLeft ? x.p.right : x.p.left;
      }
      if (!w.left.red && !w.right.red) {
        w.red = true;
        x = x.p;
        continue;
      }
      const far = isLeft ? w.right : w.left;
      if (!far.red) {
        (isLeft ? w.left : w.right).red = false;
        w.red = true;
        if (isLeft) this.rightRotate(w);
        else this.leftRotate(w);
        w = isLeft ? x.p.right : x.p.left;
      }
      w.red = x.p.red;
      x.p.red = false;
      (isLeft ? w.right : w.left).red = false;
      if (isLeft) this.leftRotate(x.p);
      else this.rightRotate(x.p);
      x = this.root;
    }
    x.red = false;
  }
}
