// The page's language. What the first picture says in English is in the first
// bundle, the rest comes with the parts that say it (more.ts); Chinese is
// fetched when it is chosen.

import en from "./en.json";
import { format, type Params } from "./format";

export type Key = keyof typeof en;
export type Lang = "en" | "zh";
export const languages: Record<Lang, string> = { en: "English", zh: "中文" };

const locales: Record<Lang, string> = { en: "en-GB", zh: "zh-CN" };
let state = $state.raw<{ lang: Lang; strings: Readonly<Record<string, string>> }>({
  lang: "en",
  strings: en,
});

export function t(key: Key, params?: Params): string {
  return say(key, en[key], params);
}

/** say is the text of a key in the page's language; `english` is what it is in English. */
export function say(key: string, english: string, params: Params = {}): string {
  return format(state.strings[key] ?? english, params, locales[state.lang]);
}

/** count formats a number as the language groups it. */
export function count(n: number): string {
  return n.toLocaleString(locales[state.lang]);
}

export function lang(): Lang {
  return state.lang;
}

export async function setLang(lang: Lang): Promise<void> {
  const strings = lang === "en" ? en : (await import("./zh.json")).default;
  state = { lang, strings };
  document.documentElement.lang = lang === "zh" ? "zh-Hans" : "en";
}

export function isLang(s: string | null | undefined): s is Lang {
  return s === "en" || s === "zh";
}
