/** What tests do with the page Live: wait for frames, click the picture, save a still and decode it. */
import type { Page } from 'playwright';
import { downloaded } from './site.js';

/** Waits until the page has shown `count` more frames. */
export async function frames(page: Page, count: number): Promise<void> {
  await page.evaluate(async (more) => {
    const world = globalThis as unknown as { drawn: number };
    const until = world.drawn + more;
    while (world.drawn < until) await new Promise((resolve) => setTimeout(resolve, 20));
  }, count);
}

/** Counts what would read pixels or buffers back, and the frames that are drawn. */
export const watchReads = (page: Page): Promise<unknown> =>
  page.addInitScript(() => {
    const world = globalThis as unknown as { reads: string[]; drawn: number };
    Object.assign(world, { reads: [], drawn: 0 });
    const trap = (prototype: object, name: string): void => {
      const original = Reflect.get(prototype, name) as (...args: unknown[]) => unknown;
      Reflect.set(prototype, name, function (this: unknown, ...args: unknown[]) {
        world.reads.push(name);
        return original.apply(this, args);
      });
    };
    trap(GPUBuffer.prototype, 'mapAsync');
    trap(CanvasRenderingContext2D.prototype, 'getImageData');
    trap(OffscreenCanvasRenderingContext2D.prototype, 'getImageData');
    trap(VideoFrame.prototype, 'copyTo');
    const { drawImage } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.drawImage = function (
      this: CanvasRenderingContext2D,
      ...args: never[]
    ) {
      if (this.canvas.id === 'under') world.drawn += 1;
      return Reflect.apply(drawImage, this, args);
    } as typeof drawImage;
  });

export interface Pixels {
  readonly width: number;
  readonly height: number;
  /** Number of colours in a small copy of the picture. */
  readonly distinct: number;
  /** Mean of red, green and blue around a point, given in shares of the width and the height. */
  at(x: number, y: number): number;
}

/** Decodes a PNG file, in the page. */
export async function pixelsOf(page: Page, png: Buffer): Promise<Pixels> {
  const [across, down] = [64, 48];
  const { width, height, data } = await page.evaluate(
    async ([base64, w, h]) => {
      const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes]));
      const context = new OffscreenCanvas(w, h).getContext('2d')!;
      context.imageSmoothingQuality = 'high';
      context.drawImage(bitmap, 0, 0, w, h);
      const small = Array.from(context.getImageData(0, 0, w, h).data);
      return { width: bitmap.width, height: bitmap.height, data: small };
    },
    [png.toString('base64'), across, down] as const,
  );
  return {
    width,
    height,
    distinct: new Set(new Uint32Array(Uint8Array.from(data).buffer)).size,
    at(x, y) {
      const begin = 4 * (Math.floor(y * down) * across + Math.floor(x * across));
      return (data[begin]! + data[begin + 1]! + data[begin + 2]!) / 3;
    },
  };
}

/** Saves a still and decodes it. */
export async function still(page: Page): Promise<{ name: string; pixels: Pixels }> {
  const download = page.waitForEvent('download');
  await page.locator('#save').click();
  const saved = await download;
  return { name: saved.suggestedFilename(), pixels: await pixelsOf(page, await downloaded(saved)) };
}

/** Clicks the right picture. */
export async function click(page: Page, x: number, y: number): Promise<void> {
  const { width, height } = (await page.locator('#map-frame').boundingBox())!;
  await page.locator('#map-frame').click({ position: { x: x * width, y: y * height } });
}
