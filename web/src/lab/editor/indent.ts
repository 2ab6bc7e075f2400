// How a file is indented, from how it is.

export interface Indent {
  unit: string;
  width: number; // columns of a tab
}

export function indentOf(text: string, language: "c" | "go"): Indent {
  if (language === "go") return { unit: "\t", width: 4 };
  const leads = [...text.matchAll(/^(\t| {2,})(?=[^\s*])/gm)].map((m) => m[1]!);
  const tabs = leads.filter((l) => l === "\t").length;
  if (tabs * 2 > leads.length) return { unit: "\t", width: 8 };
  const spaces = leads.filter((l) => l !== "\t").map((l) => l.length);
  return { unit: " ".repeat(spaces.length > 0 ? Math.min(8, Math.min(...spaces)) : 4), width: 8 };
}
