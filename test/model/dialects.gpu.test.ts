// Checkpoints with other naming schemes and element types must give the same features as the F32 checkpoint with
// Hugging Face's names.
import { readFile } from 'node:fs/promises';
import { beforeAll, expect, test } from 'vitest';
import { f16BitsOfF32Bits } from '../../src/numerics/float16.ts';
import type { SafetensorsDtype } from '../../src/safetensors.ts';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { DINOv2, type DINOv2Config, type LoadOptions, type LoadReport } from '../../src/index.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { maxError, minCosine, referenceFolder } from '../parity.ts';
import { facebookresearch, readAll, timm, write, type Named } from './renamed.ts';

const pixels = syntheticTensor('pixel_values.70x70', [1, 3, 70, 70]);

async function featuresOf(
  weights: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>,
  options: LoadOptions = {},
  json?: object,
): Promise<{ config: DINOv2Config; loaded: LoadReport; tokens: Float32Array }> {
  using model = await DINOv2.fromFiles({ weights, config: json }, { device, selfTest: false, ...options });
  using features = await model.forward(pixels, { height: 70, width: 70 });
  return { config: model.config, loaded: model.loaded, tokens: await features.lastHiddenState() };
}

const device = await sharedDevice();
const tensors = new Map<string, Map<string, Named>>();
const expected = new Map<string, Float32Array>();
beforeAll(async () => {
  for (const kind of ['plain', 'registers', 'swiglu']) {
    tensors.set(kind, await readAll(kind));
    expected.set(kind, (await featuresOf(write(tensors.get(kind)!))).tokens);
  }
});

// 70 × 70 is the native size of these models, so the schemes' position conventions make no difference.
test.each(['plain', 'registers', 'swiglu'])(
  "tiny-%s with facebookresearch's names and packed qkv: the same bits",
  async (kind) => {
    const { config, tokens } = await featuresOf(write(facebookresearch(tensors.get(kind)!)));
    expect(maxError(tokens, expected.get(kind)!)).toBe(0);
    expect(config.posEmbed).toBe(kind === 'registers' ? 'antialias' : 'offset');
  },
);

test("facebookresearch's names with Hugging Face's config.json: Hugging Face's positions, and the report says so", async () => {
  const config = JSON.parse(
    await readFile(new URL('tiny-plain/config.json', referenceFolder), 'utf8'),
  ) as object;
  const facebook = facebookresearch(tensors.get('plain')!);
  const assumed = async (
    file: ReadonlyMap<string, Named>,
    options?: LoadOptions,
  ): Promise<readonly string[]> => (await featuresOf(write(file), options, config)).loaded.assumed;
  const { config: found } = await featuresOf(write(facebook), {}, config);
  expect(found.posEmbed).toBe('plain');
  expect(await assumed(facebook)).toEqual([
    "Position embeddings are interpolated for other sizes as in Hugging Face, whose config.json this is: 'plain'. The tensor names are facebookresearch's, whose code interpolates as posEmbed: 'offset'.",
  ]);
  expect((await assumed(timm(facebook))).join()).toContain(
    "timm's, whose code interpolates as posEmbed: 'antialias'",
  );
  expect(await assumed(facebook, { posEmbed: 'plain' })).toEqual([]);
  expect(await assumed(tensors.get('plain')!)).toEqual([]);
});

test.each([
  ['plain', 'dinov2.'],
  ['registers', 'dinov2_with_registers.'],
  ['plain', '_orig_mod.module.'],
  ['swiglu', 'base_model.model.encoder.backbone.'],
])('tiny-%s with the prefix %s, among other tensors: the same bits', async (kind, prefix) => {
  const prefixed = new Map([...tensors.get(kind)!].map(([name, tensor]) => [`${prefix}${name}`, tensor]));
  prefixed.set('head.layers.0.weight', { shape: [2, 3], values: new Float32Array(6).fill(Infinity) });
  const { tokens, loaded } = await featuresOf(write(prefixed));
  expect(maxError(tokens, expected.get(kind)!)).toBe(0);
  expect(loaded).toMatchObject({ dialect: 'huggingface', prefix, setAside: ['head.layers.0.weight'] });
});

test('the selected one of a student and a teacher: the same bits', async () => {
  const both = new Map<string, Named>();
  for (const [name, { shape, values }] of facebookresearch(tensors.get('plain')!)) {
    both.set(`student.backbone.${name}`, { shape, values: values.map((value) => 2 * value) });
    both.set(`teacher.backbone.${name}`, { shape, values });
  }
  const weights = write(both);
  await expect(featuresOf(weights)).rejects.toMatchObject({ code: 'CHECKPOINT_NAMING' });
  const { tokens, loaded } = await featuresOf(weights, { prefix: 'teacher.backbone' });
  expect(maxError(tokens, expected.get('plain')!)).toBe(0);
  expect(loaded.prefix).toBe('teacher.backbone.');
  expect(loaded.setAside).toHaveLength(both.size / 2);
  const student = await featuresOf(weights, { prefix: 'student.backbone.' });
  expect(maxError(student.tokens, expected.get('plain')!)).toBeGreaterThan(0.1);
});

test.each(['plain', 'registers', 'swiglu'])("tiny-%s with timm's names: the same bits", async (kind) => {
  const file = write(timm(facebookresearch(tensors.get(kind)!)));
  const { tokens, config, loaded } = await featuresOf(file);
  expect(maxError(tokens, expected.get(kind)!)).toBe(0);
  expect(config.posEmbed).toBe('antialias');
  expect(loaded).toMatchObject({ dialect: 'timm', prefix: '', setAside: [] });
  expect(loaded.assumed).toContain('The model has 2 heads of width 64.');
  const json = { architecture: 'vit_small_patch14_dinov2', num_features: 128, pretrained_cfg: {} };
  expect((await featuresOf(file, {}, json)).tokens).toEqual(tokens);
});

// The F64 values lie between F32 values, some exactly in the middle, so that the conversion must round.
test.each(['fp32', 'fp16', 'int8'] as const)(
  'F64 loaded as %s is rounded to the nearest F32',
  async (dtype) => {
    let n = 0;
    const doubles = (values: Float32Array<ArrayBuffer>): Float64Array =>
      Float64Array.from(values, (value) => value * (1 + ((n++ % 7) - 3) * 2 ** -25));
    n = 0;
    const rounded = write(tensors.get('plain')!, 'F32', (values) => Float32Array.from(doubles(values)));
    n = 0;
    const file = write(tensors.get('plain')!, 'F64', doubles);
    const right = (await featuresOf(rounded, { dtype })).tokens;
    expect(maxError((await featuresOf(file, { dtype })).tokens, right)).toBe(0);
    // The chunks end within values, and begin at addresses that are not a multiple of 8.
    let at = 0;
    const dripping = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at >= file.length) return controller.close();
        controller.enqueue(file.slice(at, (at += 100_003)));
      },
    });
    expect(maxError((await featuresOf(dripping, { dtype })).tokens, right)).toBe(0);
  },
);

const bitsOf = (values: Float32Array<ArrayBuffer>): Uint32Array =>
  new Uint32Array(values.buffer, values.byteOffset, values.length);

test.each<[SafetensorsDtype, (bits: number) => number, number]>([
  ['F16', f16BitsOfF32Bits, 0.99999],
  ['BF16', (bits) => ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff, 0.9999], // BF16 has 8 significant bits
])('tiny-plain in %s gives the features of the rounded weights', async (dtype, round, cosine) => {
  const halves = (values: Float32Array<ArrayBuffer>): Uint16Array => Uint16Array.from(bitsOf(values), round);
  const { tokens } = await featuresOf(write(tensors.get('plain')!, dtype, halves));
  expect(minCosine(tokens, expected.get('plain')!, 128)).toBeGreaterThanOrEqual(cosine);
});

test('BF16 equals the F32 whose lower half is zero, bit for bit', async () => {
  const cut = (values: Float32Array<ArrayBuffer>): Uint32Array =>
    bitsOf(values).map((bits) => bits & 0xffff0000);
  const halves = (values: Float32Array<ArrayBuffer>): Uint16Array =>
    Uint16Array.from(bitsOf(values), (bits) => bits >>> 16);
  const bf16 = await featuresOf(write(tensors.get('plain')!, 'BF16', halves));
  const f32 = await featuresOf(
    write(tensors.get('plain')!, 'F32', (values) => new Float32Array(cut(values).buffer)),
  );
  expect(maxError(bf16.tokens, f32.tokens)).toBe(0);
});
