// Live values in the text of a lesson: `<output data-value="3">` in HTML, "{{3}}"
// in the text of an action. They change without the HTML being made again.

const unknown = "…";

export function fillText(text: string, values: readonly string[]): string {
  return text.replace(/\{\{(\d+)\}\}/g, (_, n: string) => values[Number(n)] ?? unknown);
}

/** fill writes the values into the outputs under an element, where they changed. */
export function fill(root: ParentNode, values: readonly string[]): void {
  for (const el of root.querySelectorAll<HTMLElement>("output[data-value]")) {
    const value = values[Number(el.dataset["value"])] ?? unknown;
    if (el.textContent !== value) el.textContent = value;
  }
}

/** settle prepares fresh HTML of a lesson: quiet outputs, links that leave this page alone. */
export function settle(root: ParentNode): void {
  for (const el of root.querySelectorAll("output")) el.setAttribute("aria-live", "off");
  for (const a of root.querySelectorAll<HTMLAnchorElement>("a[href]")) {
    const href = a.getAttribute("href") ?? "";
    const lab = /^lab:([a-z0-9-]+)$/.exec(href);
    if (lab) a.setAttribute("href", `#/lab/${lab[1]}`);
    else if (/^https?:/.test(href)) {
      a.target = "_blank";
      a.rel = "noopener noreferrer";
    }
  }
  for (const el of root.querySelectorAll<HTMLElement>("pre, table")) {
    // What may be wider than the column can be scrolled with the keyboard.
    if (el.tagName === "PRE") el.tabIndex = 0;
  }
}
