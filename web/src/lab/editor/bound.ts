// A file has at most 48 KiB (docs/protocol.md, `draft`).

export const mostText = 48 * 1024; // bytes

/** sizeOf counts bytes in UTF-8. */
export function sizeOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

/**
 * mayBecome tells whether a text may take the place of another. `length` are
 * those in UTF-16 units, cheap to know; the texts are asked for only near the
 * bound. What is too long already may only become shorter.
 */
export function mayBecome(length: number, text: () => string, before: () => string): boolean {
  if (length * 3 <= mostText) return true;
  const size = sizeOf(text());
  return size <= mostText || size < sizeOf(before());
}
