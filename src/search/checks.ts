/** Checks and encodes the arguments of `EmbeddingIndex` methods, before the index is changed. */
import { IndexError } from '../errors.js';
import { isBlob } from '../optionObject.js';
import { checkedVector, decodeInto, encodedBytes, encodeInto, encodeVector } from './codec.js';
import { modelText, sameModel } from './identity.js';
import type { EncodedPatches, IndexHeader, ModelIdentity, StoredItem } from './journal.js';
import type { IndexOptions, Item, ItemUpdate, PatchTokens } from './options.js';
import { parseJsonText, show } from '../platform/json.js';

const MAX_ID_LENGTH = 1024;
const MAX_DIM = 16_384;
const MAX_GRID = 4096;

/**
 * Makes the header of a new index from its options; missing options get defaults. @throws IndexError
 * INDEX_OPTIONS
 */
export function headerOf({
  dim,
  metric = 'cosine',
  storage = 'f16',
  patches = 'none',
  model,
}: IndexOptions): IndexHeader {
  const one = (name: string, value: unknown, allowed: readonly string[]): void => {
    if (!allowed.includes(value as string)) {
      throw new IndexError(
        'INDEX_OPTIONS',
        `EmbeddingIndex: expected ${name} to be ${allowed.map((each: string) => `'${each}'`).join(' or ')}, found ${JSON.stringify(value)}.`,
      );
    }
  };
  wholeNumber('EmbeddingIndex', 'dim', dim, 1, MAX_DIM);
  one('metric', metric, ['cosine', 'dot']);
  one('storage', storage, ['f32', 'f16', 'int8']);
  one('patches', patches, ['none', 'f16', 'int8']);
  if (model !== undefined) checkModel(model);
  return {
    format: 1,
    dim,
    metric,
    storage,
    patches,
    model: model && { id: model.id, fingerprint: model.fingerprint, preprocessing: model.preprocessing },
  };
}

function checkModel(model: ModelIdentity): void {
  for (const name of ['id', 'fingerprint', 'preprocessing'] as const) {
    if (typeof model[name] !== 'string') {
      throw new IndexError(
        'INDEX_OPTIONS',
        `EmbeddingIndex: expected a model with the strings id, fingerprint and preprocessing, found ${name} ${JSON.stringify(model[name])}. Use the result of modelIdentity().`,
      );
    }
  }
}

/** Checks that `value` is a whole number from `least` to `most`. @throws IndexError INDEX_OPTIONS */
export function wholeNumber(
  where: string,
  name: string,
  value: number,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least}` : `from ${least} to ${most}`;
  throw new IndexError(
    'INDEX_OPTIONS',
    `${where}: expected ${name} to be a whole number ${range}, found ${show(value)}.`,
  );
}

/** Checks that `value` is a finite number. @throws IndexError INDEX_OPTIONS */
export function finiteNumber(where: string, name: string, value: number): void {
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw new IndexError(
      'INDEX_OPTIONS',
      `${where}: expected ${name} to be a finite number, found ${show(value)}.`,
    );
}

/** Checks that an id is a string of 1 to 1,024 characters. @throws IndexError INDEX_ID */
export function checkId(id: unknown, where: string): asserts id is string {
  if (typeof id === 'string' && id.length > 0 && id.length <= MAX_ID_LENGTH) return;
  const found = typeof id === 'string' ? `${id.length} characters` : `a value of type ${typeof id}`;
  throw new IndexError(
    'INDEX_ID',
    `${where}: expected an id that is a string of 1 to ${MAX_ID_LENGTH} characters, found ${found}. Use a path, a name or a number as a string.`,
  );
}

/**
 * Returns a frozen copy of a JSON value. Missing metadata (undefined) is stored as null, so the result is
 * then null.
 * @param isNew true for metadata that a caller passes: at most 62 levels, because an export has it within two arrays
 * @throws IndexError INDEX_METADATA, if there is no JSON for the value, or it has too many levels
 */
export function jsonCopy(metadata: unknown, where: string, isNew = false): unknown {
  if (metadata === undefined) return null;
  let problem = `it is a ${typeof metadata}`;
  let cause: unknown;
  try {
    const text = JSON.stringify(metadata) as string | undefined;
    if (text !== undefined) {
      if (isNew) parseJsonText(`[[${text}]]`);
      return JSON.parse(text, (_, value: unknown) => Object.freeze(value));
    }
  } catch (error) {
    problem = error instanceof SyntaxError ? 'it has more than 62 levels' : String(error);
    cause = error;
  }
  throw new IndexError(
    'INDEX_METADATA',
    `${where}: the metadata cannot be stored as JSON (${problem}). Use plain objects, arrays, strings and numbers.`,
    { cause },
  );
}

/**
 * Scales the token of each patch to length 1 and encodes it as the index stores patches.
 * @throws IndexError INDEX_PATCHES
 */
export function encodedPatches(
  patchTokens: PatchTokens,
  { dim, patches: storage }: IndexHeader,
  where: string,
): EncodedPatches {
  if (storage === 'none')
    throw new IndexError(
      'INDEX_PATCHES',
      `${where}: this index does not store patches. Make the index with patches: 'f16' or 'int8', or leave the patches out.`,
    );
  const { rows, cols } = checkPatches(patchTokens, dim, where);
  const size = encodedBytes(dim, storage);
  const data = new Uint8Array(rows * cols * size);
  for (let patch = 0; patch < rows * cols; patch++)
    encodeInto(unitPatch(patchTokens, patch, dim, where), storage, data, patch * size, where);
  return { rows, cols, data };
}

/** Checks that `tokens` has rows · cols · dim numbers. @throws IndexError INDEX_PATCHES */
export function checkPatches(
  { rows, cols, tokens }: PatchTokens,
  dim: number,
  where: string,
): { rows: number; cols: number } {
  const grid = [rows, cols].every((side) => Number.isInteger(side) && side >= 1 && side <= MAX_GRID);
  if (grid && tokens instanceof Float32Array && tokens.length === rows * cols * dim) return { rows, cols };
  throw new IndexError(
    'INDEX_PATCHES',
    `${where}: expected a Float32Array of rows · cols · ${dim} numbers, found rows ${show(rows)}, cols ${show(cols)} and ${show((tokens as Float32Array | undefined)?.length)} numbers. Pass features.rows, features.cols and await features.patchTokens() of one image.`,
  );
}

/** Returns the token of one patch, scaled to length 1. */
export function unitPatch(
  { tokens }: PatchTokens,
  patch: number,
  dim: number,
  where: string,
): Float32Array<ArrayBuffer> {
  return checkedVector(
    tokens.subarray(patch * dim, (patch + 1) * dim),
    { dim, metric: 'cosine' },
    `${where}, patch ${patch}`,
  );
}

/**
 * Checks and encodes those fields of an item that an update replaces.
 * @throws IndexError INDEX_VECTOR, INDEX_METADATA, INDEX_PATCHES
 */
export function storedFields(
  update: ItemUpdate,
  header: IndexHeader,
  where: string,
): Partial<Omit<StoredItem, 'id'>> {
  const { vector, metadata, patches, thumbnail } = update;
  return {
    ...(vector !== undefined && {
      vector: encodeVector(checkedVector(vector, header, where), header.storage, where),
    }),
    ...('metadata' in update && { metadata: jsonCopy(metadata, where, true) }),
    ...(patches && { patches: encodedPatches(patches, header, where) }),
    ...(thumbnail && { thumbnail }),
  };
}

/**
 * Checks an item and encodes it in the form in which the index stores it.
 * @throws IndexError INDEX_ID, INDEX_VECTOR, INDEX_METADATA, INDEX_PATCHES, INDEX_OPTIONS
 */
export function storedItem(
  { id, vector, metadata, patches, thumbnail }: Item,
  header: IndexHeader,
  where: string,
): StoredItem {
  checkId(id, where);
  const name = `${where} ${JSON.stringify(id)}`;
  if (thumbnail !== undefined && !isBlob(thumbnail))
    throw new IndexError(
      'INDEX_OPTIONS',
      `${name}: expected the thumbnail to be a Blob, found a ${typeof thumbnail}. Use canvas.convertToBlob().`,
    );
  return {
    id,
    vector: encodeVector(checkedVector(vector, header, name), header.storage, name),
    metadata: jsonCopy(metadata, name, true),
    ...(patches && { patches: encodedPatches(patches, header, name) }),
    ...(thumbnail && { thumbnail }),
  };
}

/** Decodes the patch vectors of an image, and writes them to `out`, an array of shape (rows · cols, dim). */
export function decodedPatches(
  { rows, cols, data }: EncodedPatches,
  dim: number,
  storage: 'f16' | 'int8',
  out: Float32Array<ArrayBuffer>,
): void {
  const size = encodedBytes(dim, storage);
  for (let patch = 0; patch < rows * cols; patch++)
    decodeInto(
      data,
      patch * size,
      storage,
      out.subarray(patch * dim, (patch + 1) * dim) as Float32Array<ArrayBuffer>,
    );
}

const FIELDS = ['dim', 'metric', 'storage', 'patches'] as const;

/**
 * Returns the names of the header fields in which two indexes differ. If any field differs, vectors of one
 * index cannot be compared with vectors of the other index.
 */
export const differences = (a: IndexHeader, b: IndexHeader): (keyof IndexHeader)[] => [
  ...(sameModel(a.model, b.model) ? [] : (['model'] as const)),
  ...FIELDS.filter((name) => a[name] !== b[name]),
];

/**
 * Checks that the vectors of two indexes can be compared with each other.
 * @param where name of the calling function, for error messages
 * @param advice what the user can do if the indexes differ, for error messages
 * @throws IndexError INDEX_MODEL, INDEX_HEADER
 */
export function checkSameIndex(
  found: IndexHeader,
  expected: IndexHeader,
  where: string,
  advice: string,
): void {
  const fields = differences(found, expected);
  if (fields.length === 0) return;
  const isModel = fields[0] === 'model';
  const list = (header: IndexHeader): string =>
    isModel
      ? `vectors made by ${modelText(header.model)}`
      : fields.map((name) => `${name} ${show(header[name])}`).join(', ');
  throw new IndexError(
    isModel ? 'INDEX_MODEL' : 'INDEX_HEADER',
    `${where}: expected ${list(expected)}, found ${list(found)}.${isModel ? ' Vectors made by different models, or with different preprocessing, cannot be compared.' : ''} ${advice}`,
  );
}
