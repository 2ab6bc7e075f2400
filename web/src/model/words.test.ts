import { describe, expect, test } from "vitest";
import { goldenBytes } from "../testing/golden";
import { decodeEpoll, type FileRow } from "../wire/epoll";
import { eventNames, eventShort, eventText, parseEvents } from "./events";
import { fileWords, ipv6 } from "./files";

describe("events", () => {
  test.each([
    [0, "0", ""],
    [0x1, "EPOLLIN", "IN"],
    [0x80000001, "EPOLLIN|EPOLLET", "IN ET"],
    [-2147483647, "EPOLLIN|EPOLLET", "IN ET"],
    [0x1 | 0x8 | 0x10, "EPOLLIN|EPOLLERR|EPOLLHUP", "IN"],
    [0x50000005, "EPOLLIN|EPOLLOUT|EPOLLEXCLUSIVE|EPOLLONESHOT", "IN OUT EXCLUSIVE ONESHOT"],
    [0x2000, "EPOLLRDHUP", "RDHUP"],
    [0x00100001, "EPOLLIN|0x100000", "IN 0x100000"],
  ])("%i", (mask, text, short) => {
    expect(eventText(mask)).toBe(text);
    expect(eventShort(mask)).toBe(short);
  });

  test("names make the mask again", () => {
    for (const mask of [0x1, 0x80000005, 0x70002001]) expect(parseEvents(eventNames(mask))).toBe(mask);
    expect(parseEvents(["EPOLLIN", "EPOLLSOMETHING"])).toBeNull();
  });
});

describe("IPv6 addresses, RFC 5952", () => {
  test.each([
    ["00000000000000000000000000000000", "::"],
    ["00000000000000000000000000000001", "::1"],
    ["20010db8000000000000000000000001", "2001:db8::1"],
    ["20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1"],
    ["20010000000000010000000000000001", "2001:0:0:1::1"],
    ["fe800000000000000000000000000000", "fe80::"],
    ["00000000000000000000ffff7f000001", "::ffff:127.0.0.1"],
  ])("%s", (hex, want) => {
    expect(ipv6(Uint8Array.from(hex.match(/../g)!, (h) => parseInt(h, 16)))).toBe(want);
  });
});

describe("files", () => {
  const files = new Map(decodeEpoll(goldenBytes("key7")).files!.map((f) => [f.id, f]));
  const some = files.get(1)!;

  test.each<[string, FileRow | undefined, string]>([
    ["a listener", files.get(1), "tcp LISTEN 127.0.0.1:8080"],
    ["a connection", files.get(2), "tcp ESTAB 127.0.0.1:8080 10.1.2.3:41022"],
    ["UDP over IPv6", files.get(3), "udp [2001:db8::1]:53"],
    ["a unix listener", files.get(4), "unix LISTEN /run/x.sock"],
    ["an eventfd", files.get(5), "eventfd"],
    ["a nested epoll", files.get(6), "epoll ep#9"],
    ["a pipe", files.get(7), "pipe"],
    ["a wildcard listener", { ...some, laddr: new Uint8Array(16) }, "tcp LISTEN *:8080"],
    ["an anonymous inode", { ...some, type: "other", name: "[perf_event]" }, "perf_event"],
    ["a device", { ...some, type: "tty", name: "pts/3" }, "tty pts/3"],
    ["one that the frame did not bring", undefined, "unknown"],
  ])("%s", (_, file, line) => {
    expect(fileWords(file).line).toBe(line);
  });

  test("an inode beyond 2^53 is exact", () => {
    expect(fileWords(files.get(7)).inode).toBe("9223372036854775813");
  });
});
