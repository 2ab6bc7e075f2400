// The page's content policy takes style sheets from this server only: a <style>
// element made by a script has no effect, and is complained of even when empty.
// A constructed sheet is not inline, and may be filled. xterm.js knows only
// <style>: while it makes its elements, it gets others in their place, whose
// text goes to a sheet.

/** Styles are sheets of a document, until they are removed. */
export class Styles {
  private readonly sheets: CSSStyleSheet[] = [];

  constructor(private readonly document: Document) {}

  add(text: string): CSSStyleSheet {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    this.sheets.push(sheet);
    this.document.adoptedStyleSheets.push(sheet);
    return sheet;
  }

  /** during runs `make`, which is synchronous; the text of the <style> elements it asks for is in sheets for good. */
  during(make: () => void): void {
    const { document } = this;
    // An own property hides the method of the prototype until it is deleted.
    document.createElement = ((tag: string, options?: ElementCreationOptions) => {
      const style = tag.toLowerCase() === "style";
      const element = Document.prototype.createElement.call(document, style ? "template" : tag, options);
      if (style) this.redirect(element);
      return element;
    }) as typeof document.createElement;
    try {
      make();
    } finally {
      delete (document as Partial<Document>).createElement;
    }
  }

  remove(): void {
    const mine = new Set(this.sheets);
    this.document.adoptedStyleSheets = this.document.adoptedStyleSheets.filter((s) => !mine.has(s));
    this.sheets.length = 0;
  }

  private redirect(element: HTMLElement): void {
    const sheet = this.add("");
    let text = "";
    Object.defineProperty(element, "textContent", {
      get: () => text,
      set: (value: string | null) => {
        text = value ?? "";
        sheet.replaceSync(text);
      },
    });
  }
}
