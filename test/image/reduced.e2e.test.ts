// Chrome on Android decodes large JPEGs at a lower resolution, to save memory. Here, a page's createImageBitmap does so.
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openWorkerSite, type Globals, type WorkerSite } from '../worker/site.ts';

let site: WorkerSite;
beforeAll(async () => void (site = await openWorkerSite()));
afterAll(() => site.close());

test('a JPEG that the browser reduces is refused; one that it decodes whole is computed', async () => {
  const page = await site.open();
  const picture = sharp({ create: { width: 400, height: 300, channels: 3, background: '#336699' } });
  const text = (await picture.jpeg().toBuffer()).toString('base64');
  const outcomes = await page.evaluate(async (base64) => {
    const { library } = globalThis as unknown as Globals;
    const model = await library.DINOv2.fromPretrained('/weights/', { selfTest: false });
    const file = await (await fetch(`data:image/jpeg;base64,${base64}`)).blob();
    const embed = (): Promise<string> =>
      model.embed(file, { cropSize: 28 }).then(
        () => 'embedded',
        (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
      );
    const whole = await embed();
    const decode = globalThis.createImageBitmap as (...given: unknown[]) => Promise<ImageBitmap>;
    globalThis.createImageBitmap = ((source: Blob, options: ImageBitmapOptions) =>
      decode(source, { ...options, resizeWidth: 200, resizeHeight: 150 })) as typeof createImageBitmap;
    const reduced = await embed();
    model.dispose();
    return { whole, reduced };
  }, text);
  expect(outcomes.whole).toBe('embedded');
  expect(outcomes.reduced).toMatch(/^IMAGE_SIZE: .*expected 400 × 300 pixels.*found 200 × 150/);
});
