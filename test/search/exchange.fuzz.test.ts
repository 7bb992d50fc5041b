/**
 * Fuzz test of the import of an index, with a fixed seed: values of its JSON, and types, shapes, bytes and order of
 * its tensors are changed. An import may only throw IndexError; an imported index can be searched and exported.
 */
import { expect, test } from 'vitest';
import { SafetensorsError, encodeSafetensors, parseSafetensors } from '../../src/safetensors.ts';
import { EmbeddingIndex, IndexError } from '../../src/search.ts';
import { codeOf, Corpus } from '../corpus.ts';
import { full, long } from '../full.ts';
import { mutatedJson, VALUES } from '../mutatedJson.ts';
import { Random } from '../random.ts';

const RUNS = long ? 200_000 : full ? 10_000 : 500;
const dim = 4;

interface Tensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array<ArrayBuffer>;
}

async function seed(storage: 'f32' | 'f16' | 'int8', patches: 'f16' | 'int8'): Promise<Uint8Array> {
  const index = new EmbeddingIndex({ dim, device: 'cpu', storage, patches });
  const random = new Random(3);
  for (const id of ['a', 'b', 'c'])
    await index.add(
      id,
      random.uniform(dim),
      { name: id, list: [1, { deep: null }] },
      {
        patches: { rows: 1, cols: 2, tokens: random.uniform(2 * dim) },
        ...(id === 'b' ? {} : { thumbnail: new Blob([Uint8Array.of(1, 2, 3)], { type: 'image/webp' }) }),
      },
    );
  return new Uint8Array(await (await index.export()).arrayBuffer());
}

const isText = (name: string): boolean => name === 'items' || name === 'thumbnail_types';

function mutate(tensors: Map<string, Tensor>, metadata: Map<string, string>, random: Random): void {
  const name = random.pick([...tensors.keys()]);
  const tensor = tensors.get(name)!;
  const kind = random.integer(0, 5);
  if (kind === 0) {
    const key = random.pick([...metadata.keys()]);
    const text = metadata.get(key)!;
    metadata.set(key, key === 'index' ? mutatedJson(text, random) : JSON.stringify(random.pick(VALUES)));
  } else if (kind === 1 || (kind === 2 && isText(name))) {
    const place = isText(name) ? name : 'items';
    const data = new TextEncoder().encode(
      mutatedJson(new TextDecoder().decode(tensors.get(place)?.data), random),
    );
    tensors.set(place, { dtype: 'U8', shape: [data.length], data });
  } else if (kind === 2) {
    const data = tensor.data.slice();
    if (data.length > 0) data.fill(random.pick([0, 1, 0x7f, 0x80, 0xff]), random.integer(0, data.length - 1));
    tensors.set(name, { ...tensor, data });
  } else if (kind === 3) tensors.set(name, { ...tensor, shape: [...tensor.shape, 1] });
  else if (kind === 4) tensors.delete(name);
  else tensors.set(random.pick(['more', 'scales', 'patches', '__proto__']), tensor);
}

/** Imports a file. Returns 'imported', or the code and the message of the error. */
async function judge(file: Uint8Array<ArrayBuffer>): Promise<string> {
  try {
    const index = await EmbeddingIndex.import(new Blob([file]), { device: 'cpu' });
    const hits = await index.search(Float32Array.of(1, 2, 3, 4), { topK: 10 });
    expect(hits).toHaveLength(index.size);
    for (const { score } of hits) expect(score).toBeTypeOf('number');
    expect(index.ids().every((id) => typeof id === 'string')).toBe(true);
    await index.export();
    return 'imported';
  } catch (error) {
    if (error instanceof IndexError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

test(`${RUNS} files`, { timeout: 60_000 + 20 * RUNS }, async () => {
  const random = new Random(4);
  const corpus = new Corpus('index-export');
  await corpus.replay(judge);
  const files = [await seed('f32', 'f16'), await seed('f16', 'int8'), await seed('int8', 'int8')].map(
    (bytes) => ({ bytes, header: parseSafetensors(bytes) }),
  );
  const codes = new Map<string, number>();
  for (let run = 0; run < RUNS; run++) {
    const { bytes, header } = random.pick(files);
    const tensors = new Map<string, Tensor>(
      [...header.tensors].map(([name, { dtype, shape, begin, end }]) => [
        name,
        { dtype, shape, data: bytes.slice(begin, end) },
      ]),
    );
    const metadata = new Map(header.metadata);
    for (let count = random.integer(1, 2); count > 0; count--) mutate(tensors, metadata, random);
    let file: Uint8Array<ArrayBuffer>;
    try {
      file = encodeSafetensors(tensors as never, metadata);
    } catch (error) {
      expect(error).toBeInstanceOf(SafetensorsError);
      continue; // the writer refuses a shape that does not fit its bytes
    }
    let outcome: string;
    try {
      outcome = await judge(file);
    } catch (error) {
      throw new Error(`${String(error)}, from ${corpus.keepFailed(file)}`, { cause: error });
    }
    corpus.note(file, outcome);
    const code = codeOf(outcome);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  corpus.write();
  expect(({} as Record<string, unknown>)['shape']).toBeUndefined();
  expect(codes.get('imported') ?? 0).toBeGreaterThan(RUNS / 100);
  expect(codes.get('INDEX_FILE') ?? 0).toBeGreaterThan(RUNS / 5);
  for (const code of codes.keys())
    expect(code).toMatch(/^(imported|INDEX_(FILE|NEWER|ID|DUPLICATE_ID|VECTOR|PATCHES|METADATA))$/);
});
