import type { Scene } from "../scene/types";
import { drawScene, fitCanvas } from "./canvas";
import type { Palette } from "./palette";

/** The picture as a PNG of `scale` times its size. Fonts must be loaded before. */
export function toPNG(scene: Scene, palette: Palette, scale: number): Promise<Blob> {
  const canvas = document.createElement("canvas");
  fitCanvas(canvas, scene, scale);
  const ctx = canvas.getContext("2d");
  if (!ctx) return Promise.reject(new Error("this browser gives no 2D canvas"));
  drawScene(ctx, scene, palette, scale);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => {
      if (blob) resolve(blob);
      else
        reject(
          new Error(`a picture of ${canvas.width} × ${canvas.height} pixels is too large for this browser`),
        );
    }, "image/png");
  });
}
