// Drafts on their way to the server: a while after the last key, or at once
// when the learner leaves, builds or asks for it.

export const draftDelay = 600; // ms

export class Drafts {
  private readonly waiting = new Map<string, string>();
  private cancel: (() => void) | null = null;
  /** Text of each file as it came from outside. */
  private readonly last = new Map<string, string>();
  /** Text of each file that was changed here. */
  private readonly mine = new Map<string, string>();
  /** Text of each file that the server should have. */
  private readonly sent = new Map<string, string>();

  constructor(
    private readonly after: (ms: number, run: () => void) => () => void,
    private readonly send: (file: string, text: string) => void,
  ) {}

  /**
   * given takes a text from outside and says whether the editor shall have it.
   * What was changed here is newer: then the server gets that once more, as
   * after a lost connection.
   */
  given(file: string, text: string): boolean {
    if (this.last.get(file) === text) return false;
    this.last.set(file, text);
    this.sent.set(file, text);
    const mine = this.mine.get(file);
    if (mine === undefined) return true;
    this.changed(file, mine);
    return false;
  }

  changed(file: string, text: string): void {
    this.mine.set(file, text);
    this.cancel?.();
    this.cancel = null;
    // Typed and taken back: nothing to send.
    if (this.sent.get(file) === text) this.waiting.delete(file);
    else this.waiting.set(file, text);
    if (this.waiting.size > 0) this.cancel = this.after(draftDelay, () => this.flush());
  }

  /** flush sends what waits, now. */
  flush(): void {
    this.cancel?.();
    this.cancel = null;
    const drafts = [...this.waiting];
    this.waiting.clear();
    for (const [file, text] of drafts) {
      this.sent.set(file, text);
      this.send(file, text);
    }
  }

  get pending(): boolean {
    return this.waiting.size > 0;
  }
}
