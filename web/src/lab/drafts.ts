// The texts that the learner wrote, and which of them the server has not.

export class Drafts {
  private readonly texts = new Map<string, string>();
  private readonly unsent = new Set<string>();

  /** of a file; undefined where there is no draft. */
  of(file: string): string | undefined {
    return this.texts.get(file);
  }

  wrote(file: string, text: string): void {
    this.texts.set(file, text);
    this.unsent.add(file);
  }

  /** read takes what the server has; it tells whether any of it is new here. What was not sent yet is newer. */
  read(drafts: Readonly<Record<string, string>>): boolean {
    let news = false;
    for (const [file, text] of Object.entries(drafts)) {
      if (this.unsent.has(file) || this.texts.get(file) === text) continue;
      this.texts.set(file, text);
      news = true;
    }
    return news;
  }

  /** waiting are those that the server has not, with their texts. */
  waiting(): [file: string, text: string][] {
    return [...this.unsent].map((f) => [f, this.texts.get(f) ?? ""]);
  }

  /** sent says that the server has this text; a newer one goes on waiting. */
  sent(file: string, text: string): void {
    if (this.texts.get(file) === text) this.unsent.delete(file);
  }
}
