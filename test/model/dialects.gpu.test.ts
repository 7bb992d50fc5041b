// Other names and other element types, all the way to features: they must come to what Hugging Face's names
// in F32 come to.
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { f16BitsOfF32Bits } from '../../src/checkpoint/float.ts';
import {
  encodeSafetensors,
  parseSafetensors,
  type SafetensorsDtype,
} from '../../src/checkpoint/safetensors.ts';
import { syntheticTensor } from '../../src/checkpoint/synthetic.ts';
import { DINOv2, type DINOv2Config } from '../../src/index.ts';
import { maxError, minCosine, referenceFolder } from '../parity.ts';

const pixels = syntheticTensor('pixel_values.70x70', [1, 3, 70, 70]);

interface Named {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

const readAll = async (kind: string): Promise<Map<string, Named>> => {
  const bytes = new Uint8Array(await readFile(new URL(`tiny-${kind}/model.safetensors`, referenceFolder)));
  const { tensors } = parseSafetensors(bytes);
  return new Map(
    [...tensors].map(([name, { shape, begin, end }]) => [
      name,
      { shape, values: new Float32Array(bytes.slice(begin, end).buffer) },
    ]),
  );
};

const write = (
  tensors: ReadonlyMap<string, Named>,
  dtype: SafetensorsDtype = 'F32',
  convert: (values: Float32Array<ArrayBuffer>) => ArrayBufferView = (values) => values,
): Uint8Array<ArrayBuffer> =>
  encodeSafetensors(
    [...tensors].map(([name, { shape, values }]) => [name, { dtype, shape, data: convert(values) }] as const),
  );

/**
 * Hugging Face's names → facebookresearch's, with query, key and value as one matrix. Written out here once
 * more: the tests do not ask names.ts.
 */
function facebookresearch(tensors: ReadonlyMap<string, Named>): Map<string, Named> {
  const out = new Map<string, Named>();
  for (const [name, tensor] of tensors) {
    if (/attention\.attention\.(key|value)/.test(name)) continue;
    if (name.includes('attention.attention.query')) {
      const parts = ['query', 'key', 'value'].map((part) => tensors.get(name.replace('query', part))!);
      const values = Float32Array.from(parts.flatMap((part) => [...part.values]));
      const renamed = name.replace(
        /^encoder\.layer\.(\d+)\.attention\.attention\.query/,
        'blocks.$1.attn.qkv',
      );
      out.set(renamed, { shape: [3 * tensor.shape[0]!, ...tensor.shape.slice(1)], values });
      continue;
    }
    const renamed = name
      .replace(/^embeddings\.position_embeddings$/, 'pos_embed')
      .replace(/^embeddings\.patch_embeddings\.projection/, 'patch_embed.proj')
      .replace(/^embeddings\./, '')
      .replace(/^encoder\.layer\./, 'blocks.')
      .replace('.attention.output.dense', '.attn.proj')
      .replace(/\.layer_scale(\d)\.lambda1/, '.ls$1.gamma')
      .replace('.mlp.weights_in', '.mlp.w12')
      .replace('.mlp.weights_out', '.mlp.w3')
      .replace(/^layernorm/, 'norm');
    out.set(renamed, tensor);
  }
  return out;
}

async function featuresOf(
  weights: Uint8Array<ArrayBuffer>,
): Promise<{ config: DINOv2Config; tokens: Float32Array }> {
  using model = await DINOv2.fromFiles({ weights }, { selfTest });
  using features = await model.forward(pixels, { height: 70, width: 70 });
  return { config: model.config, tokens: await features.lastHiddenState() };
}

/** It has tests of its own. */
const selfTest = false;

// One model stays loaded, so that the device and its compiled kernels do.
let keeper: DINOv2;
const tensors = new Map<string, Map<string, Named>>();
const expected = new Map<string, Float32Array>();
beforeAll(async () => {
  keeper = await DINOv2.fromFiles({ weights: write(await readAll('plain')) }, { selfTest });
  for (const kind of ['plain', 'registers', 'swiglu']) {
    tensors.set(kind, await readAll(kind));
    expected.set(kind, (await featuresOf(write(tensors.get(kind)!))).tokens);
  }
});
afterAll(() => keeper.dispose());

// 70 × 70 is the native size of these models: the dialects' conventions for positions do not matter there.
test.each(['plain', 'registers', 'swiglu'])(
  "tiny-%s in facebookresearch's names, qkv packed: the same bits",
  async (kind) => {
    const { config, tokens } = await featuresOf(write(facebookresearch(tensors.get(kind)!)));
    expect(maxError(tokens, expected.get(kind)!)).toBe(0);
    expect(config.posEmbed).toBe(kind === 'registers' ? 'antialias' : 'offset');
  },
);

test.each([
  ['plain', 'dinov2.'],
  ['registers', 'dinov2_with_registers.'],
])('tiny-%s with the prefix %s: the same bits', async (kind, prefix) => {
  const prefixed = new Map([...tensors.get(kind)!].map(([name, tensor]) => [`${prefix}${name}`, tensor]));
  expect(maxError((await featuresOf(write(prefixed))).tokens, expected.get(kind)!)).toBe(0);
});

const bitsOf = (values: Float32Array<ArrayBuffer>): Uint32Array =>
  new Uint32Array(values.buffer, values.byteOffset, values.length);

test.each<[SafetensorsDtype, (bits: number) => number, number]>([
  ['F16', f16BitsOfF32Bits, 0.99999],
  ['BF16', (bits) => ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff, 0.9999], // 8 bits of a number are left
])('tiny-plain in %s: features of the rounded weights', async (dtype, round, cosine) => {
  const halves = (values: Float32Array<ArrayBuffer>): Uint16Array => Uint16Array.from(bitsOf(values), round);
  const { tokens } = await featuresOf(write(tensors.get('plain')!, dtype, halves));
  expect(minCosine(tokens, expected.get('plain')!, 128)).toBeGreaterThanOrEqual(cosine);
});

test('BF16 is exactly the F32 whose lower half is zero', async () => {
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
