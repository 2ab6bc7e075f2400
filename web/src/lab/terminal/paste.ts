// How much text a paste may bring.

export const mostPaste = 1024 * 1024; // bytes

/** tooLong is the size in bytes of a paste that is refused, 0 for one that may pass. */
export function tooLong(text: string): number {
  if (text.length * 3 <= mostPaste) return 0;
  const size = new TextEncoder().encode(text).length;
  return size > mostPaste ? size : 0;
}
