// Converted checkpoints load directly, and compute what the original does in that element type.
import { readFileSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { openTensors } from '../../src/checkpoint/tensorStream.ts';
import { parseSafetensors } from '../../src/checkpoint/safetensors.ts';
import { DINOv2 } from '../../src/dinov2.ts';
import { convertCheckpoint, type ConvertedDtype } from '../../src/tools/convert.ts';
import { pixelsOf, requestDevice } from '../gpu/tiny.ts';

const device = await requestDevice();
afterAll(() => device.destroy());

/** Chunks of odd lengths, so that pieces end within rows. */
function streamOf(bytes: Uint8Array, chunk: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, (at += chunk)));
    },
  });
}

async function convert(source: Uint8Array, dtype: ConvertedDtype, chunk = 2 ** 20): Promise<Uint8Array> {
  const parts: [number, Uint8Array][] = [];
  const { header } = await convertCheckpoint(
    await openTensors(streamOf(source, chunk)),
    dtype,
    async (position, bytes) => void parts.push([position, bytes.slice()]),
  );
  const file = new Uint8Array(header.fileBytes);
  for (const [position, bytes] of parts) file.set(bytes, position);
  return file;
}

async function tokens(weights: Uint8Array, dtype: 'fp32' | 'fp16' | 'int8'): Promise<Float32Array> {
  const model = await DINOv2.fromFiles({ weights }, { device, dtype, selfTest: false });
  const features = await model.forward(pixelsOf(56, 98), { height: 56, width: 98 });
  const values = await features.lastHiddenState();
  features.dispose();
  model.dispose();
  return values;
}

const cases = ['tiny-plain', 'tiny-registers', 'tiny-swiglu'].map(
  (name) => [name, readFileSync(`test/fixtures/reference/${name}/model.safetensors`)] as const,
);

test.each(cases)('%s: fp16, to the last bit', async (_, original) => {
  const file = await convert(original, 'fp16');
  expect(file.length).toBeLessThan(0.55 * original.length);
  expect(await tokens(file, 'fp16')).toEqual(await tokens(original, 'fp16'));
});

test.each(cases)('%s: int8, to the last bit', async (_, original) => {
  const file = await convert(original, 'int8');
  expect(file.length).toBeLessThan(0.32 * original.length);
  const expected = await tokens(original, 'int8');
  expect(await tokens(file, 'int8')).toEqual(expected);
  // And in f32 it is what the integers and scales say: as near as int8 was.
  const wide = await tokens(file, 'fp32');
  expect(wide.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0)).toBeLessThan(
    2e-5,
  );
});

test('however the file comes in pieces', async () => {
  const [, original] = cases[0]!;
  for (const dtype of ['fp16', 'int8'] as const)
    expect(await convert(original, dtype, 100_003)).toEqual(await convert(original, dtype));
});

test('scales that do not belong are refused', async () => {
  const file = await convert(cases[0]![1], 'int8');
  const text = Buffer.from(file).toString('latin1');
  const at = text.indexOf('weight_scale","dtype"') < 0 ? text.indexOf('weight_scale":{') : -1;
  expect(at).toBeGreaterThan(0);
  const broken = file.slice();
  broken.set(Buffer.from('weight_scole":{'), at);
  expect(parseSafetensors(broken).tensors.size).toBe(parseSafetensors(file).tensors.size);
  await expect(tokens(broken, 'int8')).rejects.toMatchObject({ code: 'CHECKPOINT_TENSORS' });
});
