// What one frame of a large tree costs on the way to the canvas. Not a test:
// `npm run bench` prints medians for the closing note of a change.
import { bench, describe } from "vitest";
import { EpollStream } from "../model/epoll";
import { balancedDepth, balancedGlyphs, keyFrame, writeFrame } from "../testing/frames";
import { culledModel, modelOf, optionsFor, randomTree } from "../testing/scenes";
import { decodeEpoll } from "../wire/epoll";
import { buildEpollScene } from "./epoll";
import { fit } from "./viewport";

const million = 1_000_000;
const glyphs = balancedGlyphs(million, 0, million, 1280);
const glyphFrame = writeFrame({
  sequence: 1,
  flags: 9,
  items: million,
  depth: balancedDepth(million),
  glyphs,
});
const glyphModel = culledModel(million, fit(million), 1280);
const zoomed = { lo: 400_000, hi: 410_000 };
const zoomedModel = culledModel(million, zoomed, 1280);
const tree = randomTree(4096);
const frame = keyFrame(tree, { sequence: 1 });
const model = modelOf(tree);

describe(`1,000,000 items, ${glyphs.length} glyphs`, () => {
  bench("decode", () => void decodeEpoll(glyphFrame));
  bench("decode and apply", () => void new EpollStream().push(glyphFrame));
  bench("scene, whole", () => void buildEpollScene(glyphModel, optionsFor(glyphModel, { width: 1280 })));
  bench("scene, zoomed", () => {
    buildEpollScene(zoomedModel, optionsFor(zoomedModel, { width: 1280, viewport: zoomed }));
  });
});

describe("4,096 items, all of them held", () => {
  bench("decode", () => void decodeEpoll(frame));
  bench("decode, apply and check links", () => void new EpollStream().push(frame));
  bench("scene, whole", () => void buildEpollScene(model, optionsFor(model, { width: 1280 })));
  bench("scene, 200 in view", () => {
    buildEpollScene(model, optionsFor(model, { width: 1280, viewport: { lo: 1000, hi: 1200 } }));
  });
});
