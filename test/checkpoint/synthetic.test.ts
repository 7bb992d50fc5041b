import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { huggingFaceTensors } from '../../src/weights/huggingFace.js';
import { parseSafetensors } from '../../src/safetensors.js';
import { fillSynthetic, syntheticStream, syntheticTensor } from '../../src/weights/synthetic.js';
import type { ReadProgress, TensorPiece } from '../../src/safetensors/tensorStream.js';
import { configOf } from '../../src/model/config.js';
import { parseConfig } from '../../src/model/configJson.js';
import { parameters } from '../../src/model/parameters.js';

const fixtures = new URL('../fixtures/reference/', import.meta.url);
const read = (path: string) => new Uint8Array(readFileSync(new URL(path, fixtures)));
const kinds = ['plain', 'registers', 'swiglu'];

async function collect(pieces: AsyncIterable<TensorPiece>): Promise<TensorPiece[]> {
  const list: TensorPiece[] = [];
  for await (const piece of pieces) list.push({ ...piece, bytes: piece.bytes.slice() }); // the next piece reuses the memory
  return list;
}

describe('syntheticTensor', () => {
  it.each(kinds)('has the same bits as every tensor written by Python: tiny-%s', (kind) => {
    const bytes = read(`tiny-${kind}/model.safetensors`);
    const { tensors } = parseSafetensors(bytes);
    expect(tensors.size).toBeGreaterThan(40);
    for (const [name, { shape, begin, end }] of tensors) {
      const made = new Uint8Array(syntheticTensor(name, shape).buffer);
      expect(Buffer.compare(made, bytes.subarray(begin, end)), name).toBe(0);
    }
  });

  it('has other values for another seed and another name', () => {
    const first = syntheticTensor('a.weight', [4, 4]);
    expect(syntheticTensor('a.weight', [4, 4], 0)).toEqual(first);
    expect(syntheticTensor('a.weight', [4, 4], 1)).not.toEqual(first);
    expect(syntheticTensor('b.weight', [4, 4])).not.toEqual(first);
  });

  it('has the range of values defined for each kind of tensor', () => {
    const range = (name: string, shape: number[]) => {
      const values = syntheticTensor(name, shape);
      return [Math.min(...values), Math.max(...values)].map((value) => Math.round(value * 100) / 100);
    };
    expect(range('encoder.layer.0.layer_scale1.lambda1', [20000])).toEqual([0.05, 0.55]);
    expect(range('encoder.layer.0.norm1.bias', [20000])).toEqual([-0.2, 0.2]);
    expect(range('encoder.layer.0.norm1.weight', [20000])).toEqual([0.7, 1.3]);
    expect(range('embeddings.register_tokens', [1, 4, 5000])).toEqual([-0.5, 0.5]);
    expect(range('pixel_values.14x14', [34, 3, 14, 14])).toEqual([-2, 2]);
    expect(range('encoder.layer.0.mlp.fc1.weight', [6667, 3])).toEqual([-1, 1]);
  });

  it('writes into a given buffer, and rejects one of another length', () => {
    const out = new Float32Array(6);
    expect(syntheticTensor('a.weight', [2, 3], 0, out)).toBe(out);
    expect(out).toEqual(syntheticTensor('a.weight', [2, 3]));
    expect(() => syntheticTensor('a.weight', [2, 3], 0, new Float32Array(5))).toThrow(RangeError);
  });
});

describe('fillSynthetic', () => {
  it('fills any slice of a tensor', () => {
    const whole = syntheticTensor('a.weight', [100, 7], 3);
    for (const [begin, length] of [
      [0, 1],
      [1, 699],
      [350, 17],
      [699, 1],
      [700, 0],
    ] as const) {
      const part = new Float32Array(length);
      fillSynthetic('a.weight', [100, 7], begin, part, 3);
      expect(part).toEqual(whole.slice(begin, begin + length));
    }
  });
});

describe('syntheticStream', () => {
  it.each(kinds)('equals the file written by transformers, tensor by tensor: tiny-%s', async (kind) => {
    const config = parseConfig(
      JSON.parse(readFileSync(new URL(`tiny-${kind}/config.json`, fixtures), 'utf8')),
    );
    const bytes = read(`tiny-${kind}/model.safetensors`);
    const file = parseSafetensors(bytes);
    const { header, pieces } = syntheticStream(huggingFaceTensors(parameters(config)), { pieceBytes: 4096 });
    expect([...header.tensors.keys()]).toEqual([...file.tensors.keys()]);
    expect(header.fileBytes - header.dataBegin).toBe(file.fileBytes - file.dataBegin);

    const made = new Uint8Array(header.fileBytes);
    let at = header.dataBegin;
    for (const { info, offset, bytes: piece } of await collect(pieces)) {
      expect(info.begin + offset).toBe(at); // pieces are in file order, without holes
      expect(piece.byteLength).toBeLessThanOrEqual(4096);
      made.set(piece, at);
      at += piece.byteLength;
    }
    expect(at).toBe(header.fileBytes);
    expect(Buffer.compare(made.subarray(header.dataBegin), bytes.subarray(file.dataBegin))).toBe(0);
  });

  it('generates ViT-S in pieces of at most 4 MiB, and yields to other tasks', async () => {
    const { header, pieces } = syntheticStream(huggingFaceTensors(parameters(configOf('small'))));
    let turns = 0;
    let done = false;
    const others = (async () => {
      while (!done) {
        await new Promise((resolve) => setTimeout(resolve, 0));
        turns++;
      }
    })();
    let bytes = 0;
    for await (const piece of pieces) {
      expect(piece.bytes.byteLength).toBeLessThanOrEqual(4 * 1024 * 1024);
      bytes += piece.bytes.byteLength;
    }
    done = true;
    await others;
    expect(bytes).toBe(4 * 22_056_576);
    expect(bytes).toBe(header.fileBytes - header.dataBegin);
    expect(turns).toBeGreaterThan(2);
  });

  it('reports progress up to the size of the file', async () => {
    const seen: (number | undefined)[][] = [];
    const onProgress = (progress: ReadProgress) => seen.push([progress.loadedBytes, progress.totalBytes]);
    const { header, pieces } = syntheticStream([{ name: 'a.weight', shape: [25, 10] }], {
      pieceBytes: 400,
      onProgress,
    });
    await collect(pieces);
    const { dataBegin, fileBytes } = header;
    expect(seen).toEqual([400, 800, 1000].map((bytes) => [dataBegin + bytes, fileBytes]));
  });

  it('ends with the reason of the signal', async () => {
    const controller = new AbortController();
    const { pieces } = syntheticStream([{ name: 'a.weight', shape: [1000, 10] }], {
      pieceBytes: 400,
      signal: controller.signal,
    });
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { offset } of pieces) {
        seen.push(offset);
        if (seen.length === 3) controller.abort(new Error('enough'));
      }
    })();
    await expect(reading).rejects.toThrow('enough');
    expect(seen).toEqual([0, 400, 800]);
  });

  it('ends after a cancel, or an abort before the start', async () => {
    const stream = syntheticStream([{ name: 'a.weight', shape: [10, 10] }]);
    await stream.cancel(new Error('no longer needed'));
    await expect(collect(stream.pieces)).rejects.toThrow('no longer needed');
    const aborted = syntheticStream([{ name: 'a.weight', shape: [10, 10] }], { signal: AbortSignal.abort() });
    await expect(collect(aborted.pieces)).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
  });

  it('rejects piece sizes that would cut values', () => {
    for (const pieceBytes of [0, -4, 6, 0.5])
      expect(() => syntheticStream([], { pieceBytes })).toThrow(RangeError);
  });
});
