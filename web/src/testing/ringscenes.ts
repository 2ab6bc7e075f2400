// Words, sizes and a ring with something of everything, for tests of pictures.
import type { RingSceneOptions, RingWords } from "../scene/uring";
import { RequestFlag } from "../wire/uring";
import { cqe, request, ring, ringModel, sqe } from "./rings";

export const ringWords: RingWords = {
  application: "application",
  kernel: "kernel",
  appWrites: "application writes",
  kernelWrites: "kernel writes",
  writesSQ: "writes SQEs",
  readsCQ: "reads CQEs",
  pending: "pending",
  unread: "unread",
  unknown: "not seen",
  none: "none",
  more: "+ {n} more",
  lanes: { submitted: "issued", armed: "armed", timeout: "timeouts", punted: "io-wq", taskwork: "task work" },
  lost: "{n} lost",
  dropped: "bad index",
  enters: "io_uring_enter",
  running: "running",
  asleep: "asleep",
  broken: "more than there are entries",
  waits: "waits for {n}",
  inFlight: "in flight",
  brief: {
    appWrites: "app",
    kernelWrites: "kernel",
    writesSQ: "SQ",
    readsCQ: "CQ",
    unknown: "unseen",
    lanes: {
      submitted: "issued",
      armed: "armed",
      timeout: "timeouts",
      punted: "io-wq",
      taskwork: "task work",
    },
    lost: "{n} lost",
    enters: "enter",
    broken: "broken",
    waits: "waits {n}",
  },
};

export const ringOptions = (change: Partial<RingSceneOptions> = {}): RingSceneOptions => ({
  width: 880,
  height: 520,
  words: ringWords,
  comm: "owner",
  ...change,
});

export const busyRing = ringModel({
  ring: ring({
    sqHead: 6,
    cachedSQHead: 7,
    sqTail: 10,
    cqHead: 14,
    cqTail: 17,
    overflowList: 2,
    cqOverflow: 1,
    requests: 2,
    armed: 1,
    inFlight: 2,
    sqDropped: 1,
  }),
  sqes: [sqe(6), sqe(7, { op: 22, fd: 5 }), sqe(8, { op: 13, index: 9 }), sqe(9, { op: 6 })],
  cqes: [cqe(14), cqe(15, { res: -125 }), cqe(16, { res: 64 })],
  requests: [request(41), request(42, { op: 13, where: "taskwork", flags: RequestFlag.multishot })],
});
