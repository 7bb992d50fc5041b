/**
 * `Failures`: the list of files that could not be ingested. All files of a format that this browser cannot
 * decode share one entry of the list.
 */
import { ImageError } from '../../errors.js';
import type { IngestFailure } from './options.js';

/** Number of bytes at the start of a file from which its format is recognised. */
const HEADER_BYTES = 1024;

export class Failures {
  readonly list: IngestFailure[] = [];
  /**
   * For each format that the browser does not decode: the position of its failure in `list`, and the ids of
   * the files that have this format.
   */
  readonly #formats = new Map<string, { readonly at: number; readonly ids: string[] }>();

  /** Adds the failure of one file. */
  add(id: string, error: unknown): void {
    this.list.push({ id, error: error instanceof Error ? error : new Error(String(error)) });
  }

  /**
   * Adds the failure of an image that could not be decoded or embedded. If the list already has a failure for
   * the format of its file, the file's id is added to that failure.
   */
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
    const message = `${ids.length} files, the first of them ${ids[0]}: this browser cannot decode them. Each is ${format.what}. ${format.advice}.`;
    this.list[at] = { id: ids[0]!, ids, error: new ImageError('IMAGE_DECODE', message, { cause: error }) };
  }
}

/**
 * Names the format of a file if it is a photograph format that this browser does not decode; otherwise
 * returns undefined.
 */
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
    return undefined; // the file can no longer be read; `error` reports that
  }
}
