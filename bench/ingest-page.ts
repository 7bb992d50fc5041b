/**
 * The page of ingest.mjs: times indexing a folder of photographs, and only decoding the same files.
 */
import { DINOv2 as PageModel } from '../src/index.js';
import { configOf } from '../src/model/config.js';
import { EmbeddingIndex, ingest } from '../src/search.js';
import { DINOv2 as WorkerModel } from '../src/worker.js';
import { stubbed, stubLargeGpuWork } from './ingest-stub.js';

export interface Setting {
  readonly where: 'page' | 'worker';
  readonly model: 'tiny' | 'small';
  readonly stub: boolean;
  readonly thumbnailPx: number;
  readonly batchSize: number | undefined;
}

export interface Measured {
  readonly ms: number;
  readonly longestTaskMs: number;
  /** Largest total size of the page's open bitmaps. Bitmaps in a worker are not counted. */
  readonly mostBitmapBytes: number;
}

let photographs: File[] = [];
const DECODE: ImageBitmapOptions = {
  imageOrientation: 'from-image',
  colorSpaceConversion: 'none',
  premultiplyAlpha: 'none',
};

/** Makes a JPEG file with waves and grain, about as large as a camera's file of 12 megapixels. */
async function takePhotograph(width: number, height: number): Promise<Blob> {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d')!;
  const grain = new ImageData(256, 256);
  let seed = 1;
  for (let i = 0; i < grain.data.length; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    grain.data[i] = i % 4 === 3 ? 255 : 118 + (seed >>> 28) + 40 * Math.sin(i / 3000);
  }
  const tile = new OffscreenCanvas(256, 256);
  tile.getContext('2d')!.putImageData(grain, 0, 0);
  context.fillStyle = context.createPattern(tile, 'repeat')!;
  context.fillRect(0, 0, width, height);
  const drawn = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.85 });
  // Removes the sRGB colour profile (segment FF E2), which Chromium writes but cameras do not.
  const bytes = new DataView(await drawn.arrayBuffer());
  let at = 2;
  while (bytes.getUint16(at) !== 0xffe2) at += 2 + bytes.getUint16(at + 2);
  return new Blob([drawn.slice(0, at), drawn.slice(at + 2 + bytes.getUint16(at + 2))]);
}

async function prepare(count: number, base64: string | undefined): Promise<number> {
  const blob = base64
    ? new Blob([Uint8Array.from(atob(base64), (each) => each.charCodeAt(0))])
    : await takePhotograph(4032, 3024);
  photographs = Array.from({ length: count }, (_, i) => new File([blob], `${i}.jpg`, { lastModified: i }));
  return blob.size;
}

/** Decodes all photographs, `atOnce` at a time. Resolves to milliseconds. */
async function decode(atOnce: number): Promise<number> {
  const begin = performance.now();
  let next = 0;
  const decoder = async (): Promise<void> => {
    while (next < photographs.length) (await createImageBitmap(photographs[next++]!, DECODE)).close();
  };
  await Promise.all(Array.from({ length: atOnce }, decoder));
  return performance.now() - begin;
}

let bitmapBytes = 0;
let mostBitmapBytes = 0;
function countBitmaps(): void {
  const create = createImageBitmap;
  globalThis.createImageBitmap = async (...given: [ImageBitmapSource]) => {
    const bitmap = await create(...given);
    const bytes = bitmap.width * bitmap.height * 4;
    bitmapBytes += bytes;
    mostBitmapBytes = Math.max(mostBitmapBytes, bitmapBytes);
    const close = bitmap.close.bind(bitmap);
    bitmap.close = () => {
      bitmapBytes -= bytes;
      close();
    };
    return bitmap;
  };
}

const models = new Map<string, PageModel | WorkerModel>();

async function modelOf({ where, model, stub }: Setting): Promise<PageModel | WorkerModel> {
  const key = `${where} ${model} ${stub}`;
  const config =
    model === 'small'
      ? ('small' as const)
      : { ...configOf('small'), embedDim: 128, depth: 2, numHeads: 2, hiddenFeatures: 512 };
  const loaded =
    models.get(key) ??
    (where === 'page'
      ? await PageModel.synthetic(config, { selfTest: false })
      : await WorkerModel.synthetic(config, {
          selfTest: false,
          worker: 'own',
          workerUrl: new URL(`/bench/ingest-worker.ts${stub ? '?stub' : ''}`, location.href),
        }));
  models.set(key, loaded);
  return loaded;
}

/** Indexes `files`. Resolves to milliseconds. */
async function run(setting: Setting, files: readonly File[]): Promise<number> {
  const model = await modelOf(setting);
  const { batchSize, thumbnailPx } = setting;
  const look = setting.model === 'tiny' ? { cropSize: 56 } : {}; // 16 patches, so that a forward pass takes almost no time
  const index = new EmbeddingIndex({ dim: model.config.embedDim, device: 'cpu' });
  const begin = performance.now();
  const { added, failures } = await ingest(index, model, files, { thumbnailPx, batchSize, ...look }).finished;
  if (added !== files.length) throw failures[0]?.error ?? new Error(`${added} of ${files.length} were added`);
  return performance.now() - begin;
}

/** Warms up: loads the model and makes its programs for all batch sizes. */
const warm = (setting: Setting): Promise<number> => run(setting, photographs.slice(0, 16));

async function measure(setting: Setting): Promise<Measured> {
  mostBitmapBytes = 0;
  let longestTaskMs = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longestTaskMs = Math.max(longestTaskMs, duration);
  });
  observer.observe({ type: 'longtask' });
  const ms = await run(setting, photographs);
  if (setting.stub && setting.where === 'page' && stubbed.passes === 0)
    throw new Error('no GPU pass was stubbed: the library has renamed its passes. Update ingest-stub.ts.');
  await new Promise((resolve) => setTimeout(resolve, 200));
  observer.disconnect();
  return { ms, longestTaskMs, mostBitmapBytes };
}

Object.assign(globalThis, {
  bench: { prepare, decode, warm, measure, stub: stubLargeGpuWork, countBitmaps },
});
