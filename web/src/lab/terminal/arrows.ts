/** arrow is the place in a row of tabs that a key leads to, -1 for other keys. */
export function arrow(key: string, at: number, count: number): number {
  switch (key) {
    case "ArrowLeft":
      return (at + count - 1) % count;
    case "ArrowRight":
      return (at + 1) % count;
    case "Home":
      return 0;
    case "End":
      return count - 1;
  }
  return -1;
}
