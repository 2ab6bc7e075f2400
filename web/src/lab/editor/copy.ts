/**
 * copyText puts text on the clipboard. The page may be on plain http, where
 * there is no clipboard API: then what an element shows is copied as by hand.
 */
export async function copyText(text: string, shown: Element): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const selection = getSelection();
    selection?.selectAllChildren(shown);
    return document.execCommand("copy");
  }
}
