/** Files that could not be taken. Those of one format that is not decoded here are told of together. */
import { ImageError } from '../../errors.js';
import type { IngestFailure } from './options.js';

/** Bytes by which a format is known. */
const HEADER_BYTES = 1024;

export class Failures {
  readonly list: IngestFailure[] = [];
  /** By format: where its failure stands in the list, and the ids of its files. */
  readonly #formats = new Map<string, { readonly at: number; readonly ids: string[] }>();

  add(id: string, error: unknown): void {
    this.list.push({ id, error: error instanceof Error ? error : new Error(String(error)) });
  }

  /** @param file that is no image that can be used */
  async addFile(id: string, error: Error, file: Blob): Promise<void> {
    const format = await formatOf(file, error);
    if (!format) return this.add(id, error);
    const known = this.#formats.get(format.what);
    if (!known) {
      this.#formats.set(format.what, { at: this.list.length, ids: [id] });
      return this.add(id, error);
    }
    const { at, ids } = known;
    ids.push(id);
    const message = `${ids.length} files, the first of them ${ids[0]}: expected images that can be decoded here, found in each ${format.what}. ${format.advice}.`;
    this.list[at] = { id: ids[0]!, ids, error: new ImageError('IMAGE_DECODE', message, { cause: error }) };
  }
}

/** What a file is, where that is a format of photographs that is not decoded here. */
async function formatOf(
  file: Blob,
  error: Error,
): Promise<{ readonly what: string; readonly advice: string } | undefined> {
  if (!(error instanceof ImageError) || error.code !== 'IMAGE_DECODE') return undefined;
  try {
    const { identifyFile } = await import('../../image/otherFiles.js');
    const found = identifyFile(new Uint8Array(await file.slice(0, HEADER_BYTES).arrayBuffer()));
    return found?.never ? undefined : found;
  } catch {
    return undefined; // the file can no longer be read: its own error tells enough
  }
}
