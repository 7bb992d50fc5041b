/** `describeFiles`: computes the vectors of files in batches, for a model that has no method `embedAll`. */
import { makeThumbnail } from '../../image/thumbnail.js';
import { describeImages } from './describe.js';
import type { EmbedFilesOptions, IngestModel, IngestResult } from './target.js';

/** Number of batches that run at the same time. */
const IN_FLIGHT = 2;

/**
 * Yields, for each file in order, the result that `embedAll` would yield.
 * @throws DeviceError; the signal's reason; the errors that iterating over `files` throws
 */
export async function* describeFiles(
  model: IngestModel,
  files: AsyncGenerator<File, void, undefined>,
  options: EmbedFilesOptions & { readonly batchSize: number },
): AsyncGenerator<IngestResult, void, undefined> {
  const running: Promise<Omit<IngestResult, 'index'>[]>[] = [];
  let index = 0;
  try {
    for (;;) {
      const batch: File[] = [];
      while (batch.length < options.batchSize) {
        const { done, value } = await files.next();
        if (done) break;
        batch.push(value);
      }
      if (batch.length === 0 && running.length === 0) return;
      if (batch.length > 0) {
        running.push(describeBatch(model, batch, options));
        running.at(-1)!.catch(() => undefined); // rejection is handled below, unless an earlier batch fails
      }
      if (running.length >= IN_FLIGHT || batch.length === 0)
        for (const result of await running.shift()!) yield { index: index++, ...result };
    }
  } finally {
    await Promise.allSettled(running);
  }
}

/**
 * Computes the vectors and thumbnails of a batch of files. Each file is decoded twice: once for its vector
 * and once for its thumbnail.
 */
export async function describeBatch(
  model: IngestModel,
  files: readonly File[],
  { thumbnailPx, ...options }: EmbedFilesOptions,
): Promise<Omit<IngestResult, 'index'>[]> {
  const [descriptions, thumbnails] = await Promise.all([
    describeImages(model, files, options),
    Promise.all(files.map((file) => (thumbnailPx > 0 ? makeThumbnail(file, thumbnailPx) : undefined))),
  ]);
  return descriptions.map((description, i) => {
    if (description instanceof Error) return { error: description };
    const { vector: embedding, patches } = description;
    return { embedding, patches, thumbnail: thumbnails[i] };
  });
}
