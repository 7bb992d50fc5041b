// Parts of the command line that need no GPU.
import { expect, test } from 'vitest';
import { encodeSafetensors, parseSafetensors, type SafetensorsDtype } from '../../src/safetensors.ts';
import { openTensors } from '../../src/safetensors/tensorStream.ts';
import { configOf } from '../../src/model/config.ts';
import { configJson, parseConfig } from '../../src/model/configJson.ts';
import { convertCheckpoint } from '../../src/tools/convert.ts';
import { convertedConfig, convertedPreprocessor } from '../../src/tools/convertedConfig.ts';
import { timmPreprocessing } from '../../src/image/preprocessorConfig.ts';
import { describeCheckpoint } from '../../src/tools/inspect.ts';
import { decodeNpy, encodeNpy } from '../../src/tools/npy.ts';

const tensor = (
  name: string,
  dtype: SafetensorsDtype,
  shape: number[],
  data: ArrayBufferView,
): [string, { dtype: SafetensorsDtype; shape: number[]; data: ArrayBufferView }] => [
  name,
  { dtype, shape, data },
];
const matrix = tensor('x.weight', 'F32', [2, 2], Float32Array.of(1, 2, 3, 4));
const integers = tensor('x.weight', 'I8', [2, 2], Int8Array.of(1, 2, 3, 4));
const scales = tensor('x.weight_scale', 'F32', [2], Float32Array.of(5, 6));

test.each([
  ['a file that is no DINOv2', [matrix], 'CHECKPOINT_NAMING'],
  ['integers without scales', [integers], 'CHECKPOINT_NAMING'],
  ['an int8 checkpoint', [integers, scales], 'CHECKPOINT_DTYPE'],
] as const)('%s is not converted', async (_, tensors, code) => {
  let written = 0;
  await expect(
    convertCheckpoint(await openTensors(encodeSafetensors(tensors)), 'int8', async () => void written++),
  ).rejects.toMatchObject({ code });
  expect(written).toBe(0);
});

test('an int8 matrix with unsuitable scales is still described', () => {
  const file = encodeSafetensors([integers, tensor('x.weight_scale', 'F16', [2], new Uint16Array(2))]);
  expect(describeCheckpoint(parseSafetensors(file))).toMatch(
    /2 tensors[^]*model +does not load: x\.weight_scale: expected F32 \[2\]/,
  );
});

test('the config.json of a converted checkpoint: the original, or one converted to the Hugging Face form', () => {
  const config = configOf('small');
  const own = JSON.stringify(configJson(config));
  expect(convertedConfig(config, own, undefined)).toBe(own);
  const read = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>;
  const timm = { ...config, posEmbed: 'antialias' } as const;
  const pretrained_cfg = { mean: [0.5, 0.5, 0.5] };
  const made = read(
    convertedConfig(timm, JSON.stringify({ architecture: 'vit', pretrained_cfg, num_classes: 0 }), undefined),
  );
  expect(made).toMatchObject({ model_type: 'dinov2_with_registers', num_register_tokens: 0, pretrained_cfg });
  expect(parseConfig(made)).toEqual(timm);
  const nested = { model_type: 'depth_anything', backbone_config: read(own), id2label: { 0: 'a' } };
  expect(read(convertedConfig(config, JSON.stringify(nested), ['a']))).toEqual({
    ...read(own),
    id2label: { 0: 'a' },
    label2id: { a: 0 },
  });
  const flat = { architecture: 'vit', input_size: [3, 160, 160], mean: [0.5, 0.4, 0.3], crop_pct: 0.9 };
  expect(timmPreprocessing(read(convertedConfig(timm, JSON.stringify(flat), undefined)))).toEqual(
    timmPreprocessing(flat),
  );
  const labelled = JSON.stringify({ ...read(own), id2label: { 0: 'a', 1: 'b' } });
  expect(convertedConfig(config, labelled, ['a', 'b'])).toBe(labelled);
  expect(read(convertedConfig(config, own, ['a', 'b']))).toMatchObject({ id2label: { 0: 'a', 1: 'b' } });
});

test('preprocessor_config.json of a converted checkpoint: the original, with the processor class added if it follows from config.json', () => {
  const size = JSON.stringify({ size: { height: 98, width: 98 }, ensure_multiple_of: 14 });
  const nested = JSON.stringify({ model_type: 'depth_anything' });
  expect(convertedPreprocessor(size, undefined)).toBeDefined();
  expect(JSON.parse(convertedPreprocessor(size, nested)!)).toEqual({
    image_processor_type: 'DPTImageProcessor',
    ...(JSON.parse(size) as object),
  });
  const named = JSON.stringify({ image_processor_type: 'BitImageProcessor', crop_size: 98 });
  expect(convertedPreprocessor(named, nested)).toBe(named);
  expect(convertedPreprocessor(undefined, nested)).toBeUndefined();
  expect(() => convertedPreprocessor('{"image_processor_type": "SiglipImageProcessor"}', undefined)).toThrow(
    /found "SiglipImageProcessor"/,
  );
});

test('the header size of a checkpoint in several files is reported', () => {
  const header = parseSafetensors(encodeSafetensors([matrix]));
  expect(describeCheckpoint({ ...header, dataBegin: 0 })).toContain(`of which header ${header.dataBegin};`);
});

test.each([
  [1, 1],
  [1, 384],
  [7, 3],
  [100_000, 2],
])('.npy of %i × %i: aligned to 64, and read back', (rows, columns) => {
  const values = Float32Array.from({ length: rows * columns }, (__, i) => (i % 1001) - 500.5);
  const file = encodeNpy(values, rows, columns);
  expect(file.length - values.byteLength).toBe(Math.ceil((file.length - values.byteLength) / 64) * 64);
  expect(file[file.length - values.byteLength - 1]).toBe(10);
  expect(decodeNpy(file)).toEqual({ values, rows, columns });
});
