import { describe, expect, test } from 'vitest';
import { f32ToF16 } from '../../src/numerics/float16.ts';
import { huggingFaceTensors, type Parameter } from '../../src/weights/huggingFace.ts';
import { placeTensors } from '../../src/weights/names.ts';
import { fillSynthetic, syntheticStream } from '../../src/weights/synthetic.ts';
import type { TensorPiece, TensorStream } from '../../src/safetensors/tensorStream.ts';
import { loadWeights } from '../../src/weights/weights.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import type { WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { parameters } from '../../src/model/parameters.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { tiny } from '../gpu/tiny.ts';
import { packPanels } from '../reference/packing.ts';

const device = await sharedDevice();
const gpu = await acquireGpu(device);

// A model with separate query, key and value tensors, a SwiGLU whose last panel is not full, and registers.
const config = {
  ...tiny,
  embedDim: 128,
  numHeads: 2,
  numRegisterTokens: 4,
  ffn: 'swiglu' as const,
  hiddenFeatures: 344,
};
const wanted = parameters(config);
const tensors = huggingFaceTensors(wanted);

/** The synthetic values of a tensor of the file. */
function fileTensor({ name, shape }: Parameter): Float32Array<ArrayBuffer> {
  const out = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
  fillSynthetic(name, shape, 0, out);
  return out;
}

const byName = new Map(tensors.map((tensor) => [tensor.name, fileTensor(tensor)]));
const layer = (index: number, part: string): Float32Array => byName.get(`encoder.layer.${index}.${part}`)!;
const concat = (...parts: Float32Array[]): Float32Array =>
  new Float32Array(parts.flatMap((part) => [...part]));

function packed(rows: number, columns: number, weight: Float32Array, storage: WeightStorage): Uint8Array {
  const values = packPanels(rows, columns, weight);
  if (storage === 'f32') return new Uint8Array(values.buffer);
  const halves = new Uint16Array(values.length);
  f32ToF16(values, halves);
  return new Uint8Array(halves.buffer);
}

const layout = {
  parameters: wanted,
  placements: placeTensors(syntheticStream(tensors).header, wanted).placements,
};

async function bytesOf(buffer: GPUBuffer): Promise<Uint8Array> {
  return new Uint8Array(await gpu.read(buffer, 0, buffer.size));
}

describe.each(['f32', 'f16-packed'] as const)('%s', (storage) => {
  // Pieces of 4 kB end within rows and panels. Pieces of 4 MiB hold every tensor completely.
  test.each([4096, 4 * 1024 * 1024])(
    'in pieces of %i bytes, the GPU buffers hold the values of the file',
    async (pieceBytes) => {
      const { buffers, posEmbed } = await loadWeights(gpu, syntheticStream(tensors, { pieceBytes }), layout, {
        storage,
      });
      const read = (name: string): Promise<Uint8Array> => bytesOf(buffers.get(name)!);
      const same = async (name: string, expected: Uint8Array): Promise<void> =>
        expect(Buffer.compare(await read(name), expected), name).toBe(0);
      const plain = (values: Float32Array): Uint8Array =>
        new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

      const qkv = ['query', 'key', 'value'].map((part) => layer(1, `attention.attention.${part}.weight`));
      await same('blocks.1.attn.qkv.weight', packed(384, 128, concat(...qkv), storage));
      await same(
        'blocks.1.attn.qkv.bias',
        plain(
          concat(...['query', 'key', 'value'].map((part) => layer(1, `attention.attention.${part}.bias`))),
        ),
      );
      await same('blocks.0.mlp.w12.weight', packed(688, 128, layer(0, 'mlp.weights_in.weight'), storage));
      await same('blocks.0.mlp.w3.weight', packed(128, 344, layer(0, 'mlp.weights_out.weight'), storage));
      await same(
        'patch_embed.proj.weight',
        packed(128, 588, byName.get('embeddings.patch_embeddings.projection.weight')!, storage),
      );
      await same('blocks.0.ls1.gamma', plain(layer(0, 'layer_scale1.lambda1')));
      await same('register_tokens', plain(byName.get('embeddings.register_tokens')!));
      expect(posEmbed).toEqual(byName.get('embeddings.position_embeddings'));

      expect([...buffers.keys()].sort()).toEqual(
        wanted
          .map(({ name }) => name)
          .filter((name) => name !== 'pos_embed')
          .sort(),
      );
      for (const buffer of buffers.values()) gpu.memory.destroy(buffer);
      expect(gpu.memory.bytes).toBe(0);
    },
  );
});

/** A stream with one value changed. */
function damaged(name: string, element: number, value: number): TensorStream {
  const stream = syntheticStream(tensors, { pieceBytes: 4096 });
  async function* pieces(): AsyncGenerator<TensorPiece> {
    for await (const piece of stream.pieces) {
      const at = element * 4 - piece.offset;
      if (piece.name === name && at >= 0 && at < piece.bytes.length)
        new DataView(piece.bytes.buffer, piece.bytes.byteOffset).setFloat32(at, value, true);
      yield piece;
    }
  }
  return { ...stream, pieces: pieces() };
}

describe('a file with NaN or infinity', () => {
  test.each([
    ['encoder.layer.0.attention.attention.value.weight', 12_345, NaN],
    ['encoder.layer.1.mlp.weights_in.bias', 687, Infinity],
    ['embeddings.position_embeddings', 0, -Infinity],
  ])(
    '%s at %i: %f is rejected, the error names tensor and element, and no buffer remains',
    async (name, element, value) => {
      const loading = loadWeights(gpu, damaged(name, element, value), layout, { storage: 'f32' });
      await expect(loading).rejects.toMatchObject({ name: 'CheckpointError', code: 'CHECKPOINT_NOT_FINITE' });
      await expect(loading).rejects.toThrow(
        `${name}: expected finite weights, found ${value} at element ${element}.`,
      );
      expect(gpu.memory.buffers).toBe(0);
    },
  );
});

test('fp16 rejects weights that would become infinite, and the error names tensor and element', async () => {
  const name = 'encoder.layer.0.attention.attention.value.weight';
  const loading = loadWeights(gpu, damaged(name, 9_999, -65_520), layout, { storage: 'f16-packed' });
  await expect(loading).rejects.toMatchObject({ name: 'CheckpointError', code: 'CHECKPOINT_RANGE' });
  await expect(loading).rejects.toThrow(
    `${name}: expected weights with a magnitude below 65520, the limit of fp16, found -65520 at element 9999.`,
  );
  const { buffers } = await loadWeights(gpu, damaged(name, 9_999, 65_504), layout, { storage: 'f16-packed' });
  for (const buffer of buffers.values()) gpu.memory.destroy(buffer);
  expect(gpu.memory.buffers).toBe(0);
});

test('progress counts every tensor of the file', async () => {
  const counts: number[] = [];
  const { buffers } = await loadWeights(gpu, syntheticStream(tensors), layout, {
    storage: 'f32',
    onTensor: ({ loadedTensors, totalTensors }) => {
      expect(totalTensors).toBe(tensors.length);
      counts.push(loadedTensors);
    },
  });
  expect(counts).toEqual(tensors.map((_, index) => index + 1));
  for (const buffer of buffers.values()) gpu.memory.destroy(buffer);
});
