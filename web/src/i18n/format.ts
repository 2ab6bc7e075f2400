// Templates of en.json and zh.json: "{name}" is replaced, numbers are grouped
// the way the language does, and "{n:item|items}" picks by the number n.

export type Params = Record<string, string | number>;

export function format(template: string, params: Params, locale: string): string {
  return template.replace(
    /\{(\w+)(?::([^|}]*)\|([^}]*))?\}/g,
    (all, name: string, one?: string, many?: string) => {
      const value = params[name];
      if (value === undefined) return all;
      if (one !== undefined && many !== undefined) return value === 1 ? one : many;
      return typeof value === "number" ? value.toLocaleString(locale) : value;
    },
  );
}
