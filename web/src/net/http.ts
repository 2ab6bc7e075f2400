// JSON over HTTP, with the server's refusals as errors for people.

import { RequestError } from "./client";
import { obj, or, str, type Decoder } from "./shape";

const refusal = obj({ error: obj({ code: str, message: str, fix: or(str, "") }) });

/** get rejects with RequestError: the server's own, or one of `lost`, `unreadable`. */
export function get<T>(path: string, decode: Decoder<T>, signal?: AbortSignal): Promise<T> {
  return ask("GET", path, signal).then(({ r, text }) => {
    try {
      const body: unknown = JSON.parse(text);
      if (r.ok) return decode(body, path);
      throw refused(body, path);
    } catch (e) {
      throw e instanceof RequestError ? e : unreadable(r, path, e);
    }
  });
}

/** remove deletes; it rejects as `get` does. */
export async function remove(path: string): Promise<void> {
  const { r, text } = await ask("DELETE", path);
  if (r.ok) return;
  let error: RequestError;
  try {
    error = refused(JSON.parse(text), path);
  } catch (e) {
    error = unreadable(r, path, e);
  }
  throw error;
}

async function ask(
  method: string,
  path: string,
  signal?: AbortSignal,
): Promise<{ r: Response; text: string }> {
  try {
    const r = await fetch(path, {
      method,
      headers: { Accept: "application/json" },
      cache: "no-store",
      ...(signal && { signal }),
    });
    return { r, text: await r.text() };
  } catch (e) {
    if (signal?.aborted) throw e;
    throw new RequestError("lost", "labserver does not answer");
  }
}

function refused(body: unknown, path: string): RequestError {
  const { code, message, fix } = refusal(body, path).error;
  return new RequestError(code, message, fix);
}

function unreadable(r: Response, path: string, e: unknown): RequestError {
  return new RequestError(
    r.ok ? "unreadable" : `http_${r.status}`,
    r.ok
      ? `labserver sent something this page cannot read: ${(e as Error).message}`
      : `labserver answered ${path} with ${r.status} ${r.statusText}`.trimEnd(),
  );
}
