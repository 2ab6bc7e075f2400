// Tab belongs to the shell, or to the editor. Escape and then Tab leaves them,
// so that nobody who works by keyboard is caught.

const within = 2000; // ms

export class Leave {
  private armedAt = -Infinity;

  constructor(private readonly now: () => number) {}

  /** leaves takes a key that was pressed and says whether it moves the focus out. */
  leaves(key: string): boolean {
    if (key === "Escape") {
      this.armedAt = this.now();
      return false;
    }
    if (key === "Shift") return false; // Shift+Tab goes backwards
    const armed = this.now() - this.armedAt <= within;
    this.armedAt = -Infinity;
    return key === "Tab" && armed;
  }
}
