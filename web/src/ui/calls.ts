import type { Call } from "../net/messages";

const keep = 5000;

/**
 * CallLog holds the system calls of one workload in order of seq, the newest
 * 5,000. The same seq again replaces a call that was pending.
 */
export class CallLog {
  readonly calls: Call[] = [];
  /** Calls that the page was too slow for, as the server counted them. */
  lost = 0;

  /** add merges calls and reports whether anything was appended at the end. */
  add(calls: readonly Call[]): boolean {
    let appended = false;
    for (const c of calls) {
      const i = this.find(c.seq);
      if (this.calls[i]?.seq === c.seq) this.calls[i] = c;
      else {
        appended ||= i === this.calls.length;
        this.calls.splice(i, 0, c);
      }
    }
    if (this.calls.length > keep) this.calls.splice(0, this.calls.length - keep);
    return appended;
  }

  private find(seq: number): number {
    let lo = 0;
    let hi = this.calls.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (this.calls[mid]!.seq < seq) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }
}

/** Piece is a run of a strace line: coloured, and for an fd, clickable. */
export interface Piece {
  text: string;
  kind: "name" | "plain" | "flag" | "fd";
  fd?: number;
}

const fdFirst =
  /^(epoll_ctl|epoll_wait|epoll_pwait2?|close|dup[23]?|read|write|send|sendto|recv|recvfrom|timerfd_settime)$/;

/**
 * pieces splits "epoll_ctl(3, EPOLL_CTL_ADD, 5, {events=EPOLLIN, …})" into its
 * name, its file descriptors, its flags and the rest.
 */
export function pieces(text: string): Piece[] {
  const open = text.indexOf("(");
  if (open < 0) return [{ text, kind: "plain" }];
  const name = text.slice(0, open);
  const out: Piece[] = [{ text: name, kind: "name" }];
  const fdAt = fdFirst.test(name) ? (name === "epoll_ctl" ? [0, 2] : [0]) : [];
  let arg = 0;
  let depth = 0;
  for (const token of text.slice(open).match(/"(?:[^"\\]|\\.)*"|-?\w+|[^\w"-]|-/g) ?? []) {
    if (/^[([{]$/.test(token)) depth++;
    if (/^[)\]}]$/.test(token)) depth--;
    if (token === "," && depth === 1) arg++;
    const fd = depth === 1 && fdAt.includes(arg) && /^\d+$/.test(token);
    if (fd) out.push({ text: token, kind: "fd", fd: Number(token) });
    else if (/^E(POLL|FD|INVAL)?[A-Z_]{3,}$/.test(token)) out.push({ text: token, kind: "flag" });
    else {
      const last = out[out.length - 1]!;
      if (last.kind === "plain") last.text += token;
      else out.push({ text: token, kind: "plain" });
    }
  }
  return out;
}

/** mainFd is the fd a line is about: the one added, changed, read or closed. */
export function mainFd(text: string): number | null {
  const fds = pieces(text).filter((p) => p.kind === "fd");
  return fds[fds.length - 1]?.fd ?? null;
}

/** clock is HH:MM:SS.mmm of an RFC 3339 time, in the reader's zone. */
export function clock(time: string): string {
  const d = new Date(time);
  if (Number.isNaN(d.getTime())) return "";
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}
