/**
 * Reads a checkpoint in several files, with or without `model.safetensors.index.json`, as one stream of
 * tensors.
 */
import { SourceError } from '../errors.js';
import { quote, type SafetensorsHeader, type TensorInfo } from './format.js';
import { once } from '../io/sources.js';
import { parseJsonText } from '../platform/json.js';
import type { CheckpointFile, CheckpointOptions, ShardIndex } from './checkpointFiles.js';
import { openTensors, type TensorPiece, type TensorStream } from './tensorStream.js';

/**
 * Limit for the number of files of a checkpoint. DINOv2's largest model has one file; an index with more
 * than 64 files is a mistake or an attack.
 */
const MAX_SHARDS = 64;
/** Number of files whose headers are read in parallel. */
const AT_ONCE = 4;

const broken = (found: string): SourceError =>
  new SourceError(
    'SOURCE_INDEX',
    `model.safetensors.index.json: ${found}. Get the files again, or save the model as one file.`,
  );

/**
 * Parses a shard index. @throws SourceError SOURCE_INDEX if the file is no shard index, or names a file
 * outside its folder
 */
export function parseShardIndex(bytes: Uint8Array): ShardIndex {
  let json: unknown;
  try {
    json = parseJsonText(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new SourceError(
      'SOURCE_INDEX',
      'model.safetensors.index.json: the file is not JSON. Get the file again.',
      { cause },
    );
  }
  const { weight_map: map, metadata } = (typeof json === 'object' && json !== null ? json : {}) as {
    weight_map?: unknown;
    metadata?: { total_size?: unknown } | null;
  };
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    throw broken(`expected an object "weight_map", found ${JSON.stringify(map)?.slice(0, 40) ?? 'none'}`);
  const weightMap = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !isPlainName(file))
      throw broken(
        `expected for tensor ${quote(tensor)} the name of a .safetensors file in the same folder, found ${shown(file)}`,
      );
    weightMap.set(tensor, file);
  }
  const files = [...new Set(weightMap.values())];
  if (files.length < 1 || files.length > MAX_SHARDS)
    throw broken(`expected 1 to ${MAX_SHARDS} files, found ${files.length}`);
  checkNumbering(files);
  const size = metadata?.total_size;
  return { files, weightMap, totalBytes: typeof size === 'number' ? size : undefined };
}

/** Returns whether a file name leads to a file in the folder, however a server interprets the name. */
const isPlainName = (file: string): boolean =>
  file.length <= 255 && /^[\w-][\w.-]*\.safetensors$/.test(file) && !file.includes('..');

const shown = (value: unknown): string =>
  typeof value === 'string' ? quote(value) : (JSON.stringify(value)?.slice(0, 110) ?? 'none');

/**
 * Checks file names such as `model-00001-of-00003.safetensors`: if they are numbered, the index must list
 * all files.
 */
function checkNumbering(files: readonly string[]): void {
  const counted = files.flatMap((file) => {
    const match = /-(\d+)-of-(\d+)\.safetensors$/.exec(file);
    return match ? [{ file, k: Number(match[1]), n: Number(match[2]) }] : [];
  });
  const wrong = counted.find(({ k, n }) => n !== files.length || k < 1 || k > n);
  if (wrong)
    throw broken(
      `the index lists ${files.length} files, but the file name ${quote(wrong.file)} states a different number`,
    );
}

/**
 * Opens a checkpoint of several files. All headers are read first, then the tensors of one file after the
 * other.
 * @throws SourceError SOURCE_INDEX if the shard index and the files contradict each other; the errors of
 *   `openTensors`
 */
export async function openShards(
  files: readonly CheckpointFile[],
  options: CheckpointOptions = {},
): Promise<TensorStream> {
  const { index, onProgress } = options;
  const loaded = files.map(() => 0);
  const totals: (number | undefined)[] = files.map(() => undefined);
  const open = (i: number): Promise<TensorStream> =>
    openTensors(files[i]!.source, {
      ...options,
      sha256: files[i]!.sha256,
      onProgress:
        onProgress &&
        (({ loadedBytes, totalBytes }) => {
          loaded[i] = loadedBytes;
          totals[i] = totalBytes;
          onProgress({
            loadedBytes: sum(loaded),
            totalBytes: totals.every((total) => total !== undefined) ? sum(totals) : undefined,
          });
        }),
    });
  const streams: TensorStream[] = [];
  try {
    for (let i = 0; i < files.length; i += AT_ONCE) {
      const some = await Promise.allSettled(files.slice(i, i + AT_ONCE).map((_, k) => open(i + k)));
      for (const each of some) if (each.status === 'fulfilled') streams.push(each.value);
      for (const each of some) if (each.status === 'rejected') throw each.reason;
    }
    const headers = streams.map(({ header }) => header);
    headers.forEach((header, i) => (totals[i] = header.fileBytes));
    return merged(files, streams, merge(files, headers, index));
  } catch (error) {
    for (const stream of streams) void stream.cancel(error).catch(() => undefined); // a second error must not hide the first
    throw error;
  }
}

const sum = (numbers: readonly (number | undefined)[]): number =>
  numbers.reduce<number>((total, number) => total + (number ?? 0), 0);

/** Merges the headers of all files. A tensor's offsets still count from the start of its own file. */
function merge(
  files: readonly CheckpointFile[],
  headers: readonly SafetensorsHeader[],
  index: ShardIndex | undefined,
): SafetensorsHeader {
  const tensors = new Map<string, TensorInfo>();
  const homes = new Map<string, string>();
  headers.forEach((header, i) => {
    const { name } = files[i]!;
    for (const [tensor, info] of header.tensors) {
      const other = homes.get(tensor);
      if (other !== undefined)
        throw broken(`expected every tensor in one file, found ${quote(tensor)} in ${other} and in ${name}`);
      homes.set(tensor, name);
      tensors.set(tensor, info);
    }
  });
  if (index) {
    for (const [tensor, file] of index.weightMap)
      if (homes.get(tensor) !== file)
        throw broken(
          `expected tensor ${quote(tensor)} in ${file}, found it in ${homes.get(tensor) ?? 'no file'}`,
        );
    for (const [tensor, file] of homes)
      if (!index.weightMap.has(tensor))
        throw broken(`the index does not list the tensor ${quote(tensor)} of ${file}`);
    const bytes = headers.reduce((total, header) => total + header.fileBytes - header.dataBegin, 0);
    if (index.totalBytes !== undefined && index.totalBytes !== bytes)
      throw broken(`expected tensors with a total of ${index.totalBytes} bytes (total_size), found ${bytes}`);
  }
  return {
    tensors,
    metadata: headers[0]!.metadata,
    dataBegin: 0,
    fileBytes: sum(headers.map(({ fileBytes }) => fileBytes)),
  };
}

function merged(
  files: readonly CheckpointFile[],
  streams: readonly TensorStream[],
  header: SafetensorsHeader,
): TensorStream {
  async function* pieces(): AsyncGenerator<TensorPiece, void, undefined> {
    for (const stream of streams) yield* stream.pieces;
  }
  const cancel = async (reason?: unknown): Promise<void> =>
    void (await Promise.allSettled(streams.map((stream) => stream.cancel(reason))));
  const names = files.map(({ name }) => name).join(', ');
  return { header, pieces: once(pieces, names.slice(0, 100)), cancel };
}
