/**
 * Detects browsers that premultiply the colours of an ImageBitmap by its alpha. Pillow drops alpha and keeps
 * the stored colours, so premultiplied colours would change the result. Firefox 153 premultiplies every
 * ImageBitmap, even with `premultiplyAlpha: 'none'`.
 */
import { TextureUsage } from '../gpu/constants.js';
import type { Gpu } from '../gpu/device.js';

/** A PNG of one pixel: colour (200, 100, 50), alpha 1 of 255. */
const NEARLY_TRANSPARENT_PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGM4kWLECAAEtgFg+P6R2QAAAABJRU5ErkJggg==';

/** WebGPU requires `bytesPerRow` of a texture-to-buffer copy to be a multiple of 256. */
const ROW_BYTES = 256;

const verdicts = new WeakMap<Gpu, Promise<boolean>>();

/**
 * Resolves to true if a bitmap with alpha loses its stored colours on the way to the GPU. The result is
 * cached per device.
 */
export function bitmapsLoseColours(gpu: Gpu): Promise<boolean> {
  let verdict = verdicts.get(gpu);
  if (!verdict) {
    verdict = tryBitmap(gpu);
    verdicts.set(gpu, verdict);
    verdict.catch(() => verdicts.delete(gpu));
  }
  return verdict;
}

async function tryBitmap(gpu: Gpu): Promise<boolean> {
  const bytes = Uint8Array.from(atob(NEARLY_TRANSPARENT_PNG), (each) => each.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }), {
    premultiplyAlpha: 'none',
  });
  try {
    return await gpu.task('bitmap with alpha', undefined, async (task) => {
      const buffer = task.burst((burst) => {
        const texture = burst.texture({
          label: 'bitmap with alpha',
          size: [1, 1],
          format: 'rgba8unorm',
          usage: TextureUsage.COPY_DST | TextureUsage.COPY_SRC | TextureUsage.RENDER_ATTACHMENT,
        });
        const pixel = burst.storage('pixel', ROW_BYTES);
        gpu.device.queue.copyExternalImageToTexture(
          { source: bitmap },
          { texture, premultipliedAlpha: false },
          [1, 1],
        );
        burst.encoder().copyTextureToBuffer({ texture }, { buffer: pixel, bytesPerRow: ROW_BYTES }, [1, 1]);
        return pixel;
      });
      const [red, green, blue] = new Uint8Array(await task.read(buffer, 0, 4));
      return red !== 200 || green !== 100 || blue !== 50;
    });
  } finally {
    bitmap.close();
  }
}
