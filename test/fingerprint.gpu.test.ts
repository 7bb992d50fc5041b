// The model fingerprint: equal for equal checkpoints in any form, different for different checkpoints.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { encodeSafetensors, parseSafetensors, type TensorSpec } from '../src/safetensors.ts';
import { openTensors } from '../src/safetensors/tensorStream.ts';
import { DINOv2 } from '../src/dinov2.ts';
import { convertCheckpoint, type ConvertedDtype } from '../src/tools/convert.ts';
import { sharedDevice } from './gpu/sharedDevice.ts';

const device = await sharedDevice();

type Dtype = 'fp32' | 'fp16' | 'int8';
type Weights = Parameters<typeof DINOv2.fromFiles>[0]['weights'];
type Tensors = Map<string, TensorSpec & { data: Uint8Array<ArrayBuffer> }>;

const original = new Uint8Array(readFileSync('test/fixtures/reference/tiny-plain/model.safetensors'));

async function fingerprint(weights: Weights, dtype: Dtype = 'fp32'): Promise<string> {
  const model = await DINOv2.fromFiles({ weights }, { device, dtype, selfTest: false });
  try {
    return await model.fingerprint();
  } finally {
    model.dispose();
  }
}

function tensorsOf(file: Uint8Array<ArrayBuffer>): Tensors {
  return new Map(
    [...parseSafetensors(file).tensors].map(([name, { dtype, shape, begin, end }]) => [
      name,
      { dtype, shape, data: file.slice(begin, end) },
    ]),
  );
}

async function convert(
  source: Uint8Array<ArrayBuffer>,
  dtype: ConvertedDtype,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: [number, Uint8Array][] = [];
  const { header } = await convertCheckpoint(
    await openTensors(source),
    dtype,
    async (position, bytes) => void parts.push([position, bytes.slice()]),
  );
  const file = new Uint8Array(header.fileBytes);
  for (const [position, bytes] of parts) file.set(bytes, position);
  return file;
}

const right = await fingerprint(original);

test.each(['fp32', 'fp16', 'int8'] as const)(
  '%s: the same for any chunking, sharding and tensor order of one checkpoint',
  async (dtype) => {
    expect(await fingerprint(original, dtype)).toBe(right);
    let at = 0;
    const dripping = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at >= original.length) return controller.close();
        controller.enqueue(original.slice(at, (at += 10_007)));
      },
    });
    expect(await fingerprint(dripping, dtype)).toBe(right);
    const tensors = [...tensorsOf(original)];
    expect(await fingerprint(encodeSafetensors(tensors.toReversed()), dtype)).toBe(right);
    expect(
      await fingerprint(
        [encodeSafetensors(tensors.slice(20)), encodeSafetensors(tensors.slice(0, 20))],
        dtype,
      ),
    ).toBe(right);
  },
);

test('the same for facebookresearch tensor names, with query, key and value in one tensor', async () => {
  const tensors = tensorsOf(original);
  const ours: Tensors = new Map();
  const spelled: [RegExp, string][] = [
    [/^embeddings\.position_embeddings$/, 'pos_embed'],
    [/^embeddings\.patch_embeddings\.projection/, 'patch_embed.proj'],
    [/^embeddings\./, ''],
    [/^layernorm/, 'norm'],
    [/^encoder\.layer\./, 'blocks.'],
    [/attention\.output\.dense/, 'attn.proj'],
    [/layer_scale(\d)\.lambda1/, 'ls$1.gamma'],
  ];
  for (const [name, tensor] of tensors) {
    const part = /^encoder\.layer\.(\d)\.attention\.attention\.(query|key|value)\.(weight|bias)$/.exec(name);
    if (!part)
      ours.set(
        spelled.reduce((text, [from, to]) => text.replace(from, to), name),
        tensor,
      );
    else if (part[2] === 'query') {
      const data = ['query', 'key', 'value'].flatMap((each) => [
        ...tensors.get(name.replace('query', each))!.data,
      ]);
      ours.set(`blocks.${part[1]}.attn.qkv.${part[3]}`, {
        dtype: 'F32',
        shape: [3 * tensor.shape[0]!, ...tensor.shape.slice(1)],
        data: new Uint8Array(data),
      });
    }
  }
  const model = await DINOv2.fromFiles(
    {
      config: new Blob([readFileSync('test/fixtures/reference/tiny-plain/config.json')]),
      weights: encodeSafetensors(ours),
    },
    { device, selfTest: false },
  );
  const plain = await DINOv2.fromFiles(
    { config: new Blob([readFileSync('test/fixtures/reference/tiny-plain/config.json')]), weights: original },
    { device, selfTest: false },
  );
  expect(await model.fingerprint()).toBe(await plain.fingerprint());
  for (const each of [model, plain]) each.dispose();
});

test('different after an adapter is merged into one matrix, in every dtype', async () => {
  const tensors = tensorsOf(original);
  const values = new Float32Array(
    tensors.get('encoder.layer.1.attention.attention.query.weight')!.data.buffer,
  );
  const columns = tensors.get('encoder.layer.1.attention.attention.query.weight')!.shape[1]!;
  for (let i = 0; i < values.length; i++)
    values[i]! += 1e-3 * Math.sin(Math.floor(i / columns)) * Math.cos(i % columns);
  const merged = encodeSafetensors(tensors);
  const others = [
    await fingerprint(merged),
    await fingerprint(merged, 'fp16'),
    await fingerprint(merged, 'int8'),
    await fingerprint(await convert(merged, 'int8')),
  ];
  expect(others[0]).not.toBe(right);
  expect(new Set(others).size).toBe(1);
});

describe('the fingerprint of a converted checkpoint', () => {
  test.each(['fp16', 'int8'] as const)(
    '%s: equals the fingerprint of the original, for every dtype it is loaded in',
    async (dtype) => {
      const file = await convert(original, dtype);
      for (const loaded of ['fp32', 'fp16', 'int8'] as const)
        expect(await fingerprint(file, loaded)).toBe(right);
    },
  );

  test('fp16, then int8: equals the fingerprint of the original', async () => {
    expect(await fingerprint(await convert(await convert(original, 'fp16'), 'int8'))).toBe(right);
  });

  test.each(['fp16', 'int8'] as const)(
    '%s with weights changed afterwards: differs, with or without the stored metadata',
    async (dtype) => {
      const file = await convert(original, dtype);
      const tensors = tensorsOf(file);
      const { data } = tensors.get('encoder.layer.0.mlp.fc1.weight')!;
      for (let i = 0; i < data.length; i++) data[i]! ^= 1;
      expect(await fingerprint(encodeSafetensors(tensors, parseSafetensors(file).metadata))).not.toBe(right);
      expect(await fingerprint(encodeSafetensors(tensorsOf(file)))).not.toBe(right);
    },
  );
});
