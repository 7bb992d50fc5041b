// Converted checkpoints load directly and compute the same as the original in the same dtype.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openTensors } from '../../src/safetensors/tensorStream.ts';
import { encodeSafetensors, parseSafetensors, type SafetensorsDtype } from '../../src/safetensors.ts';
import { DINOv2 } from '../../src/dinov2.ts';
import { parseConfig } from '../../src/model/configJson.ts';
import { convertCheckpoint, type ConvertedDtype, type ConvertOptions } from '../../src/tools/convert.ts';
import { convertedConfig } from '../../src/tools/convertedConfig.ts';
import { describedBy } from '../../src/load/anyConfig.ts';
import { families, picture, weightsOf } from '../families/fixture.ts';
import { full } from '../full.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { bitsOfForward, pixelsOf } from '../gpu/tiny.ts';

const device = await sharedDevice();

/** Streams bytes in chunks of odd lengths, so that chunks end within rows. */
function streamOf(bytes: Uint8Array, chunk: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, (at += chunk)));
    },
  });
}

async function convert(
  source: Uint8Array,
  dtype: ConvertedDtype,
  chunk = 2 ** 20,
  options: ConvertOptions = {},
): Promise<Uint8Array> {
  const parts: [number, Uint8Array][] = [];
  const { header } = await convertCheckpoint(
    await openTensors(streamOf(source, chunk)),
    dtype,
    async (position, bytes) => void parts.push([position, bytes.slice()]),
    options,
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

test.each(cases)('%s: fp16, bit for bit', async (_, original) => {
  const file = await convert(original, 'fp16');
  expect(file.length).toBeLessThan(0.55 * original.length);
  expect(await tokens(file, 'fp16')).toEqual(await tokens(original, 'fp16'));
});

test.each(cases)('%s: int8, bit for bit', async (_, original) => {
  const file = await convert(original, 'int8');
  expect(file.length).toBeLessThan(0.32 * original.length);
  const expected = await tokens(original, 'int8');
  expect(await tokens(file, 'int8')).toEqual(expected);
  // Loaded as fp32, the file gives the values of its integers and scales: close to the int8 result.
  const wide = await tokens(file, 'fp32');
  expect(wide.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0)).toBeLessThan(
    2e-5,
  );
});

test('the chunking of the input does not matter', async () => {
  const [, original] = cases[0]!;
  for (const dtype of full ? (['fp16', 'int8'] as const) : (['int8'] as const))
    expect(await convert(original, dtype, 100_003)).toEqual(await convert(original, dtype));
});

/** Rewrites a checkpoint with other tensor names and another dtype. */
function rewritten(
  original: Uint8Array,
  rename: (name: string) => string,
  convertValues: (values: Float32Array) => ArrayBufferView = (values) => values,
  dtype: SafetensorsDtype = 'F32',
): Uint8Array {
  const bytes = new Uint8Array(original);
  return encodeSafetensors(
    [...parseSafetensors(bytes).tensors].map(([name, { shape, begin, end }]) => [
      rename(name),
      { dtype, shape, data: convertValues(new Float32Array(bytes.slice(begin, end).buffer)) },
    ]),
  );
}

test.each(['fp16', 'int8'] as const)(
  'prefixed names and float64 convert to the same weight bytes: %s',
  async (dtype) => {
    const original = cases[2]![1];
    const plain = await convert(original, dtype);
    const { tensors } = parseSafetensors(plain);
    const wrapped = rewritten(original, (name) => `module.${name}`);
    const doubles = rewritten(
      original,
      (name) => name,
      (values) => Float64Array.from(values),
      'F64',
    );
    for (const [variant, chunk] of [
      [wrapped, 100_003],
      [doubles, 99_991],
    ] as const) {
      const file = await convert(variant, dtype, chunk);
      const again = parseSafetensors(file).tensors;
      expect([...again.keys()]).toEqual([...tensors.keys()]);
      for (const [name, { begin, end }] of tensors) {
        const other = again.get(name)!;
        expect(Buffer.compare(file.slice(other.begin, other.end), plain.slice(begin, end)), name).toBe(0);
      }
    }
  },
);

test('the position embedding convention survives the conversion, with and without config.json', async () => {
  const facebook = readFileSync('test/fixtures/reference/tiny-plain/model.safetensors');
  for (const posEmbed of ['offset', 'antialias', 'plain'] as const) {
    const described = {
      config: {
        ...parseConfig(JSON.parse(readFileSync('test/fixtures/reference/tiny-plain/config.json', 'utf8'))),
        posEmbed,
      },
    };
    const weights = await convert(facebook, 'fp16', 2 ** 20, { described });
    for (const config of [
      undefined,
      readFileSync('test/fixtures/reference/tiny-plain/config.json', 'utf8'),
    ]) {
      using model = await DINOv2.fromFiles({ weights, config }, { device, selfTest: false });
      expect(model.config.posEmbed).toBe(posEmbed);
    }
  }
});

test('a classifier is converted too, and the model keeps its Hugging Face prefix', async () => {
  const original = new Uint8Array(cases[1]![1]);
  const values = Float32Array.from({ length: 3 * 256 }, (_, i) => (i % 17) / 16);
  const weights = encodeSafetensors([
    ...[...parseSafetensors(original).tensors].map(
      ([name, { shape, dtype, begin, end }]) =>
        [`dinov2_with_registers.${name}`, { dtype, shape, data: original.slice(begin, end) }] as const,
    ),
    ['classifier.weight', { dtype: 'F32', shape: [3, 256], data: values }],
    ['classifier.bias', { dtype: 'F32', shape: [3], data: Float32Array.of(1, 2, 3) }],
    ['decoder.weight', { dtype: 'F32', shape: [2], data: new Float32Array(2) }],
  ]);
  const file = await convert(weights, 'int8');
  const { tensors } = parseSafetensors(file);
  expect(tensors.get('classifier.weight')).toMatchObject({ dtype: 'F16', shape: [3, 256] });
  expect(tensors.has('dinov2_with_registers.embeddings.cls_token')).toBe(true);
  expect(tensors.has('decoder.weight')).toBe(false);
  using model = await DINOv2.fromFiles({ weights: file }, { device, selfTest: false });
  expect(model.classifier?.numClasses).toBe(3);
});

test("timm's head on the class token is converted and gives the same logits; a head on average pooling is left out", async () => {
  const family = families.find(({ name }) => name === 'timm-classifier')!;
  const [original] = weightsOf(family);
  const { config } = family;
  const file = await convert(original!, 'fp16', 2 ** 20, { described: describedBy(config) });
  using before = await DINOv2.fromFiles({ weights: original!, config: config! }, { device, selfTest: false });
  const text = convertedConfig(before.config, JSON.stringify(config), before.classifier!.labels);
  using after = await DINOv2.fromFiles({ weights: file, config: text }, { device, selfTest: false });
  expect(after.preprocessing).toEqual(before.preprocessing);
  expect(after.classifier).toMatchObject({ labels: before.classifier!.labels, blocks: 1 });
  const logits = async (model: DINOv2): Promise<number[]> =>
    (await model.classifier!.classify(picture(110, 150), { topK: after.classifier!.numClasses }))
      .sort((a, b) => a.index - b.index)
      .map(({ logit }) => logit);
  const [expected, found] = [await logits(before), await logits(after)];
  const scale = Math.max(...expected.map(Math.abs));
  found.forEach((logit, i) => expect(Math.abs(logit - expected[i]!)).toBeLessThan(scale * 5e-3));
  const averaged = { described: describedBy({ ...config, global_pool: 'avg' }) };
  expect(
    [...parseSafetensors(await convert(original!, 'fp16', 2 ** 20, averaged)).tensors.keys()].join(),
  ).not.toContain('classifier');
});

test.each(['timm-narrow-swiglu', 'timm-patch-positions'])(
  '%s: the converted file loads with and without config.json and computes the same bits',
  async (name) => {
    const family = families.find((each) => each.name === name)!;
    const { config } = family;
    const [original] = weightsOf(family);
    const described = describedBy(config);
    for (const dtype of ['fp16', 'int8'] as const) {
      using before = await DINOv2.fromFiles(
        { weights: original!, config: config! },
        { device, dtype, selfTest: false },
      );
      const expected = await bitsOfForward(before, 56, 98);
      const weights = await convert(original!, dtype, 10_007, { described });
      const text = convertedConfig(before.config, JSON.stringify(config), undefined);
      for (const beside of [text, undefined]) {
        using after = await DINOv2.fromFiles({ weights, config: beside }, { device, dtype, selfTest: false });
        expect(after.config).toEqual(before.config);
        expect(await bitsOfForward(after, 56, 98)).toEqual(expected);
        expect(await after.fingerprint()).toBe(await before.fingerprint());
      }
    }
  },
);

test('a scale tensor with an unknown name is refused', async () => {
  const file = await convert(cases[0]![1], 'int8');
  const text = Buffer.from(file).toString('latin1');
  const at = text.indexOf('weight_scale","dtype"') < 0 ? text.indexOf('weight_scale":{') : -1;
  expect(at).toBeGreaterThan(0);
  const broken = file.slice();
  broken.set(Buffer.from('weight_scole":{'), at);
  expect(parseSafetensors(broken).tensors.size).toBe(parseSafetensors(file).tensors.size);
  await expect(tokens(broken, 'int8')).rejects.toMatchObject({ code: 'CHECKPOINT_TENSORS' });
});
