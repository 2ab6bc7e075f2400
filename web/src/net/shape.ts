// Decoders of untrusted JSON. A decoder takes a value and where it stood, and
// returns it typed or throws ShapeError naming the place. Unknown fields are
// ignored, so that an older page can talk to a newer server.

export class ShapeError extends Error {
  constructor(
    readonly at: string,
    want: string,
    got: unknown,
  ) {
    super(`${at}: want ${want}, got ${got === null ? "null" : typeof got}`);
    this.name = "ShapeError";
  }
}

export type Decoder<T> = (value: unknown, at: string) => T;
export type Decoded<D> = D extends Decoder<infer T> ? T : never;

export const str: Decoder<string> = (v, at) => {
  if (typeof v !== "string") throw new ShapeError(at, "string", v);
  return v;
};

export const num: Decoder<number> = (v, at) => {
  if (typeof v !== "number" || !Number.isFinite(v)) throw new ShapeError(at, "number", v);
  return v;
};

export const bool: Decoder<boolean> = (v, at) => {
  if (typeof v !== "boolean") throw new ShapeError(at, "boolean", v);
  return v;
};

/** oneOf decodes one of some words. */
export function oneOf<const W extends string>(...words: W[]): Decoder<W> {
  return (v, at) => {
    const word = words.find((w) => w === v);
    if (word === undefined) throw new ShapeError(at, words.join("|"), v);
    return word;
  };
}

/** or decodes a field that may be missing or null. */
export function or<T>(decode: Decoder<T>, fallback: NoInfer<T>): Decoder<T>;
export function or<T>(decode: Decoder<T>, fallback: null): Decoder<T | null>;
export function or<T>(decode: Decoder<T>, fallback: T | null): Decoder<T | null> {
  return (v, at) => (v === undefined || v === null ? fallback : decode(v, at));
}

/** list decodes an array; a nil slice of Go arrives as null and is empty. */
export function list<T>(decode: Decoder<T>): Decoder<T[]> {
  return (v, at) => {
    if (v === undefined || v === null) return [];
    if (!Array.isArray(v)) throw new ShapeError(at, "array", v);
    return v.map((item, i) => decode(item, `${at}[${i}]`));
  };
}

/** dict decodes an object whose values all have one type. */
export function dict<T>(decode: Decoder<T>): Decoder<Record<string, T>> {
  return (v, at) => {
    const out: Record<string, T> = {};
    if (v === undefined || v === null) return out;
    for (const [k, item] of Object.entries(record(v, at))) out[k] = decode(item, `${at}.${k}`);
    return out;
  };
}

/** obj decodes an object field by field. */
export function obj<F extends Record<string, Decoder<unknown>>>(
  fields: F,
): Decoder<{ [K in keyof F]: Decoded<F[K]> }> {
  return (v, at) => {
    const source = record(v, at);
    const out: Record<string, unknown> = {};
    for (const [k, decode] of Object.entries(fields)) out[k] = decode(source[k], `${at}.${k}`);
    return out as { [K in keyof F]: Decoded<F[K]> };
  };
}

export function record(v: unknown, at: string): Record<string, unknown> {
  if (typeof v !== "object" || v === null || Array.isArray(v)) throw new ShapeError(at, "object", v);
  return v as Record<string, unknown>;
}
