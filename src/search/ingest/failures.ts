/**
 * `Failures`: the list of files that could not be ingested. Files of one format that this browser does not
 * decode share one failure.
 */
import { ImageError } from '../../errors.js';
import type { IngestFailure } from './options.js';

/** Number of bytes that identify a format. */
const HEADER_BYTES = 1024;

export class Failures {
  readonly list: IngestFailure[] = [];
  /** For each undecodable format: the index of its failure in `list`, and the ids of its files. */
  readonly #formats = new Map<string, { readonly at: number; readonly ids: string[] }>();

  /** Adds the failure of one file. */
  add(id: string, error: unknown): void {
    this.list.push({ id, error: error instanceof Error ? error : new Error(String(error)) });
  }

  /**
   * Adds the failure of an image that could not be decoded or embedded. If its format already has a failure,
   * the file joins that failure.
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

/** Describes the format of a file, if it is a photograph format that this browser does not decode. */
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
