import { expect, test } from 'vitest';
import { f32ToF16 } from '../../src/checkpoint/float.ts';
import { readHead, watchForHead } from '../../src/checkpoint/head.ts';
import { encodeSafetensorsHeader } from '../../src/checkpoint/safetensors.ts';
import { openTensors } from '../../src/checkpoint/tensorStream.ts';
import { syntheticStream, syntheticTensor } from '../../src/checkpoint/synthetic.ts';

const tensors = [
  { name: 'cls_token', shape: [1, 1, 8] },
  { name: 'linear_head.bias', shape: [6] },
  { name: 'linear_head.weight', shape: [6, 16] },
  { name: 'norm.weight', shape: [8] },
];

test('a head beside a model is caught as it goes by, in pieces of any size, and everything is handed on', async () => {
  for (const pieceBytes of [4, 20, 4096]) {
    const { stream, head } = watchForHead(syntheticStream(tensors, { pieceBytes }), [16, 40]);
    const seen = new Set<string>();
    for await (const { name } of stream.pieces) seen.add(name);
    expect([...seen].sort()).toEqual(tensors.map(({ name }) => name).sort());
    expect(head()).toEqual({
      weight: syntheticTensor('linear_head.weight', [6, 16]),
      bias: syntheticTensor('linear_head.bias', [6]),
      numClasses: 6,
      inFeatures: 16,
    });
  }
});

test('a head of another width, two of them, or half of one, is not kept', async () => {
  const headOf = (list: typeof tensors, widths = [16]): unknown =>
    watchForHead(syntheticStream(list), widths).head();
  expect(headOf(tensors, [32])).toBeUndefined();
  expect(headOf(tensors.filter(({ name }) => name !== 'linear_head.bias'))).toBeUndefined();
  expect(headOf([...tensors, { name: 'classifier.weight', shape: [6, 16] }])).toBeUndefined();
  expect(headOf(tensors.filter(({ name }) => !name.startsWith('linear')))).toBeUndefined();
});

test('F16 is read; integers, NaN and a file that ends are refused', async () => {
  const file = (dtype: string, weight: Uint8Array): Uint8Array => {
    const { bytes, header } = encodeSafetensorsHeader([
      ['weight', { dtype, shape: [2, 3] }],
      ['bias', { dtype: 'F32', shape: [2] }],
    ] as never);
    const out = new Uint8Array(header.fileBytes);
    out.set(bytes);
    out.set(weight, header.tensors.get('weight')!.begin);
    out.set(new Uint8Array(Float32Array.of(0.5, -0.5).buffer), header.tensors.get('bias')!.begin);
    return out;
  };
  const halves = new Uint16Array(6);
  f32ToF16(Float32Array.of(1, 2, 3, -4, -5, -6), halves);
  const read = async (bytes: Uint8Array): Promise<unknown> => readHead(await openTensors(bytes));
  const f16 = file('F16', new Uint8Array(halves.buffer));
  expect(await read(f16)).toEqual({
    weight: Float32Array.of(1, 2, 3, -4, -5, -6),
    bias: Float32Array.of(0.5, -0.5),
    numClasses: 2,
    inFeatures: 3,
  });
  await expect(read(file('I32', new Uint8Array(24)))).rejects.toMatchObject({ code: 'CHECKPOINT_DTYPE' });
  await expect(read(file('F32', new Uint8Array(Float32Array.of(0, 0, NaN, 0, 0, 0).buffer)))).rejects.toThrow(
    /weight: expected finite weights, found NaN at element 2/,
  );
  await expect(read(f16.subarray(0, f16.length - 2))).rejects.toMatchObject({
    name: expect.stringMatching(/Error$/) as string,
  });
});
