// A watched file in words that need no translation.
import type { FileRow } from "../wire/epoll";

/** Kind, addresses and state as `ss` prints them. */
export interface FileWords {
  /** "tcp", "udp", "unix", "netlink", "raw", "socket", "pipe", "eventfd", "epoll", … */
  kind: string;
  /** "127.0.0.1:80", "[::1]:80", "*:80", a path, or "". */
  local: string;
  remote: string;
  /** "ESTAB", "LISTEN", …; "" where there is none. */
  state: string;
  /** Dentry name where it says more than the kind. */
  name: string;
  inode: string;
  /** All of it on one line: "tcp ESTAB 127.0.0.1:80 127.0.0.1:41022". */
  line: string;
}

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;

// include/net/tcp_states.h, in the words of iproute2's ss.
const TCP_STATES = [
  "",
  "ESTAB",
  "SYN-SENT",
  "SYN-RECV",
  "FIN-WAIT-1",
  "FIN-WAIT-2",
  "TIME-WAIT",
  "UNCONN",
  "CLOSE-WAIT",
  "LAST-ACK",
  "LISTEN",
  "CLOSING",
  "SYN-RECV",
];

const PROTOCOLS: Record<number, string> = {
  1: "icmp",
  6: "tcp",
  17: "udp",
  58: "icmp6",
  132: "sctp",
  136: "udplite",
  255: "raw",
  262: "mptcp",
};

/** RFC 5952: lower case, the longest run of zero groups as "::". `b` has 16 bytes. */
export function ipv6(b: Uint8Array): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((b[i]! << 8) | b[i + 1]!);
  if (groups.slice(0, 5).every((g) => g === 0) && groups[5] === 0xffff) {
    return `::ffff:${b[12]}.${b[13]}.${b[14]}.${b[15]}`;
  }
  let start = -1;
  let length = 1; // one zero group alone is not shortened
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > length) {
      start = i;
      length = n;
    }
    i += n;
  }
  const hex = groups.map((g) => g.toString(16));
  if (start < 0) return hex.join(":");
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}

function allZero(b: Uint8Array): boolean {
  return b.every((x) => x === 0);
}

function address(family: number, b: Uint8Array, port: number): string {
  const p = port === 0 ? "*" : String(port);
  if (allZero(b)) return `*:${p}`;
  if (family === AF_INET6) return `[${ipv6(b)}]:${p}`;
  return `${b[0]}.${b[1]}.${b[2]}.${b[3]}:${p}`;
}

/** Words of a file; of an unknown one if the frame brought none. */
export function fileWords(f: FileRow | undefined): FileWords {
  const words: FileWords = {
    kind: "unknown",
    local: "",
    remote: "",
    state: "",
    name: "",
    inode: "",
    line: "",
  };
  if (!f) {
    words.line = words.kind;
    return words;
  }
  words.kind = f.type;
  words.inode = f.inode === 0n ? "" : String(f.inode);
  // "[eventfd]", "[timerfd]": the kind again.
  const anonymous = f.name.startsWith("[");
  if (f.type !== "socket") {
    if (!anonymous && f.name !== f.type) words.name = f.name;
    if (f.type === "other" && anonymous) words.kind = f.name.slice(1, -1);
    if (f.type === "epoll" && f.nested !== 0) words.name = `ep#${f.nested}`;
  } else if (f.family === AF_UNIX) {
    words.kind = "unix";
    words.local = f.name === "" ? "*" : f.name;
    if (f.state === 1) words.state = "ESTAB";
    else if (f.state === 10) words.state = "LISTEN";
  } else if (f.family === AF_INET || f.family === AF_INET6) {
    words.kind = PROTOCOLS[f.proto] ?? (f.sock === 3 ? "raw" : "socket");
    words.local = address(f.family, f.laddr, f.lport);
    words.state = TCP_STATES[f.state] ?? "";
    const connected = f.rport !== 0 || !allZero(f.raddr);
    if (connected) words.remote = address(f.family, f.raddr, f.rport);
  } else if (f.family === AF_NETLINK) {
    words.kind = "netlink";
  }
  words.line = [words.kind, words.state, words.local, words.remote, words.name]
    .filter((w) => w !== "")
    .join(" ");
  return words;
}
