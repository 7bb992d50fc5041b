// Reads the preprocessing configurations of checkpoints, applies them with the CPU reference and compares with
// Python.
import { preprocessingOfText } from '../../src/load/preprocessorFile.js';
import { describe, expect, it } from 'vitest';
import { IMAGENET, levelsOf } from '../../src/image/normalization.js';
import {
  DEFAULT_PREPROCESSING,
  preprocessingText,
  type Preprocessing,
} from '../../src/image/preprocessing.js';
import { parsePreprocessorConfig, timmPreprocessing } from '../../src/image/preprocessorConfig.js';
import { planResize } from '../../src/image/geometry.js';
import { normalize, resize, sums } from '../reference/resize.js';
import { differingFloats, floatsOf, noiseImage } from './fixtures.js';
import { read } from './files.js';
import {
  outcomeOf,
  timmCases,
  transformersCases,
  transformersFile,
  type PreprocessingCase,
} from './preprocessingCases.js';

function twinOf({ width, height, preprocessing }: PreprocessingCase) {
  const { resample, normalization } = preprocessing;
  const geometry = planResize(width, height, preprocessing, 14);
  const bytes = resize(noiseImage(width, height), geometry, resample);
  return { ...geometry, data: normalize(bytes, levelsOf(normalization)) };
}

describe.each([
  ['transformers', transformersCases],
  ['timm', timmCases],
] as const)("the CPU twin, with the configurations of %s's fixtures", (_, casesOf) => {
  it("gives Python's pixels, and every sum fits in 32 bits", async () => {
    sums.largest = 0;
    const wrong: unknown[] = [];
    for (const one of casesOf()) {
      const found = await outcomeOf(() => twinOf(one));
      if (found !== one.expected) wrong.push({ ...one, found });
    }
    expect(wrong).toEqual([]);
    expect(sums.largest).toBeLessThan(2 ** 31);
  }, 60_000);
});

it('0 values differ from the complete arrays in the fixtures', () => {
  const cases = transformersCases();
  for (const index of [6, 426])
    expect(
      differingFloats(
        twinOf(cases[index]!).data,
        floatsOf(read('test/fixtures/preprocessing/arrays.safetensors'), String(index)),
      ),
    ).toBe(0);
});

const bit = (config: object): Preprocessing =>
  parsePreprocessorConfig({ image_processor_type: 'BitImageProcessor', ...config });
const facebook = {
  crop_size: { height: 224, width: 224 },
  do_center_crop: true,
  do_convert_rgb: true,
  do_normalize: true,
  do_rescale: true,
  do_resize: true,
  image_mean: [0.485, 0.456, 0.406],
  image_processor_type: 'BitImageProcessor',
  image_std: [0.229, 0.224, 0.225],
  resample: 3,
  rescale_factor: 0.00392156862745098,
  size: { shortest_edge: 256 },
};

describe('parsePreprocessorConfig', () => {
  it("reads facebook's file as the default preprocessing", () => {
    expect(parsePreprocessorConfig(facebook)).toEqual({
      ...DEFAULT_PREPROCESSING,
      source: 'preprocessor_config.json',
    });
  });

  it(`rejects the ${transformersFile.refused!.length} files that Python rejects`, () => {
    for (const [config] of transformersFile.refused!)
      expect(() => parsePreprocessorConfig(config)).toThrow(/^preprocessor_config\.json: .*found .*\. \w/);
  });

  it.each<[object, string, RegExp]>([
    [{ do_resize: 'false' }, 'CONFIG_FIELD', /do_resize: expected true or false, found "false"\./],
    [{ size: { shortest_edge: 256.5 } }, 'CONFIG_FIELD', /size: expected a whole number/],
    [{ size: 40000 }, 'CONFIG_FIELD', /size: .*from 1 to 32768, found 40000/],
    [{ crop_size: -224 }, 'CONFIG_FIELD', /crop_size: /],
    [{ image_mean: [0.5, 0.5, null] }, 'CONFIG_FIELD', /image_mean: expected three finite numbers/],
    [{ image_std: [0.5, 0, 0.5] }, 'CONFIG_FIELD', /expected a mean, a standard deviation/],
    [{ image_std: 1e-60 }, 'CONFIG_FIELD', /give finite float32 values/],
    [{ rescale_factor: 0 }, 'CONFIG_FIELD', /rescale_factor: expected a number above 0, found 0\./],
    [{ resample: 'bicubic' }, 'CONFIG_FIELD', /Python resizes bilinearly for every name.*found "bicubic"/],
    [{ resample: 2.5 }, 'CONFIG_FIELD', /resample: expected a number from 0 to 5/],
    [{ crop_size: { height: 224, width: null } }, 'CONFIG_FIELD', /crop_size: expected a number, or/],
    [{ crop_size: { height: null, width: 224 } }, 'CONFIG_FIELD', /crop_size: expected a number, or/],
    [{ size: { height: 224, width: null } }, 'CONFIG_FIELD', /size: expected height and width/],
    [{ do_pad: true, pad_size: 400 }, 'CONFIG_UNSUPPORTED', /do_pad: expected false/],
    [
      { image_processor_type: 'DPTImageProcessor', do_pad: true, size_divisor: 14 },
      'CONFIG_UNSUPPORTED',
      /do_pad: expected false/,
    ],
    [
      { image_processor_type: 'SiglipImageProcessorFast' },
      'CONFIG_UNSUPPORTED',
      /expected one of BitImageProcessor, .*, found "SiglipImageProcessorFast"\. Pass the checkpoint's values in the option preprocessor: \{/,
    ],
    [
      { image_processor_type: undefined, auto_map: { AutoImageProcessor: 'own.OwnProcessor' } },
      'CONFIG_UNSUPPORTED',
      /found "own\.OwnProcessor"/,
    ],
    [{ image_processor_type: 5 }, 'CONFIG_UNSUPPORTED', /found 5/],
    [
      { image_processor_type: null, feature_extractor_type: 'ConvNextFeatureExtractor' },
      'CONFIG_UNSUPPORTED',
      /found "ConvNextImageProcessor"/,
    ],
  ])('refuses %j', (config, code, message) => {
    expect(() => bit(config)).toThrow(message);
    expect(() => bit(config)).toThrow(expect.objectContaining({ code }) as Error);
  });

  it.each([[null], ['text'], [5], [[]]])('rejects %j, which is no object', (json) => {
    expect(() => parsePreprocessorConfig(json)).toThrow(
      expect.objectContaining({ code: 'CONFIG_JSON' }) as Error,
    );
  });

  it("uses DPT's preprocessor for a depth model whose file names none", () => {
    expect(parsePreprocessorConfig({}, 'depth_anything').resize).toEqual({ height: 384, width: 384 });
    expect(parsePreprocessorConfig({}).resize).toEqual({ shortestEdge: 224 });
    for (const type of ['llava', 'zoedepth', '__proto__', ''])
      expect(() => parsePreprocessorConfig({}, type)).toThrow(
        `image_processor_type: expected one of BitImageProcessor, CLIPImageProcessor, ViTImageProcessor, DPTImageProcessor, found none, for a model of the type "${type}".`,
      );
  });

  it("refuses another library's fields in a file that names no class; ignores them otherwise, as Python does", () => {
    const { image_processor_type: _, ...unnamed } = facebook;
    expect(parsePreprocessorConfig(unnamed)).toEqual(parsePreprocessorConfig(facebook));
    for (const [field, value] of Object.entries({
      mean: [0.5, 0.5, 0.5],
      crop_pct: 0.9,
      interpolation: 'bicubic',
      do_flip_channel_order: true,
    })) {
      expect(parsePreprocessorConfig({ ...facebook, [field]: value })).toEqual(
        parsePreprocessorConfig(facebook),
      );
      expect(() => parsePreprocessorConfig({ ...unnamed, [field]: value })).toThrow(
        expect.objectContaining({
          code: 'CONFIG_UNSUPPORTED',
          message: expect.stringContaining(
            `${field}: expected no such field in a file without image_processor_type, found ${JSON.stringify(value)}.`,
          ) as string,
        }) as Error,
      );
      for (const none of [null, false])
        expect(() => parsePreprocessorConfig({ ...unnamed, [field]: none })).not.toThrow();
    }
  });
});

describe('preprocessingOfText', () => {
  it("reads facebook's file as the parser does, in whatever order and spacing its fields are", async () => {
    const expected = parsePreprocessorConfig(facebook);
    const reversed = Object.fromEntries(Object.entries(facebook).toReversed());
    for (const text of [
      JSON.stringify(facebook),
      JSON.stringify(facebook, undefined, 2),
      JSON.stringify(reversed),
    ])
      expect(await preprocessingOfText(text, {})).toEqual(expected);
    const larger = { ...facebook, size: { shortest_edge: 518 } };
    expect(await preprocessingOfText(JSON.stringify(larger), {})).toEqual(parsePreprocessorConfig(larger));
  });

  it('without a file, takes the default or what timm says', async () => {
    expect(await preprocessingOfText(null, { model_type: 'dinov2' })).toBe(DEFAULT_PREPROCESSING);
    const timm = { architecture: 'vit', pretrained_cfg: { crop_pct: 1 } };
    expect(await preprocessingOfText(null, timm)).toEqual(timmPreprocessing(timm));
  });
});

describe('timmPreprocessing', () => {
  const timm = (pretrained_cfg: object): Preprocessing =>
    timmPreprocessing({ architecture: 'vit', pretrained_cfg })!;

  it('is undefined for a file that timm did not write', () => {
    for (const json of [null, 5, {}, { model_type: 'dinov2', architectures: ['Dinov2Model'] }])
      expect(timmPreprocessing(json)).toBeUndefined();
  });

  it('reads the older form without pretrained_cfg', () => {
    const fields = { input_size: [3, 70, 70], crop_pct: 1, mean: [0.5, 0.5, 0.5], num_classes: 0 };
    expect(timmPreprocessing({ architecture: 'vit', ...fields })).toEqual(timm(fields));
  });

  it.each<[object, RegExp]>([
    [{ interpolation: 'random' }, /interpolation: expected "nearest", .*, found "random"/],
    [{ crop_mode: 'rrc' }, /crop_mode: expected "center", "squash", "border", found "rrc"/],
    [{ input_size: [1, 224, 224] }, /input_size: expected \[3, height, width\]/],
    [{ input_size: 224 }, /input_size: /],
    [{ crop_pct: -1 }, /crop_pct: expected a number above 0/],
    [{ crop_pct: 1000 }, /crop_pct: expected a fraction/],
    [{ mean: 0.5 }, /mean: expected three finite numbers, found 0\.5/],
    [{ std: [0, 0, 0] }, /finite float32/],
  ])('refuses %j', (fields, message) => {
    expect(() => timm(fields)).toThrow(message);
    expect(() => timm(fields)).toThrow(expect.objectContaining({ code: 'CONFIG_FIELD' }) as Error);
  });
});

describe('preprocessingText', () => {
  it('is empty for the default preprocessing, and differs wherever the pixels differ', () => {
    expect(preprocessingText(DEFAULT_PREPROCESSING)).toBe('');
    expect(preprocessingText(parsePreprocessorConfig(facebook))).toBe('');
    const others = [
      bit({}),
      bit({ resample: 2 }),
      bit({ size: 256 }),
      bit({ size: { shortest_edge: 224, longest_edge: 300 } }),
      bit({ size: [224, 224] }),
      bit({ size: { max_height: 224, max_width: 224 } }),
      bit({ crop_size: 28 }),
      bit({ do_center_crop: false }),
      bit({ do_resize: false }),
      bit({ image_mean: 0.5 }),
      bit({ image_std: 0.5 }),
      bit({ rescale_factor: 1 }),
      parsePreprocessorConfig({ image_processor_type: 'DPTImageProcessor', ensure_multiple_of: 14 }),
      parsePreprocessorConfig({ image_processor_type: 'DPTImageProcessor', keep_aspect_ratio: true }),
      timmPreprocessing({ architecture: 'vit' })!,
      ...['squash', 'border'].map((crop_mode) => timmPreprocessing({ architecture: 'vit', crop_mode })!),
    ];
    expect(new Set(others.map(preprocessingText)).size).toBe(others.length);
    expect(others.map(preprocessingText)).not.toContain('');
    expect(preprocessingText(others[0]!)).toBe(
      'resize shortest 224; crop 224×224; bicubic; rescale 0.00392156862745098; ' +
        'mean 0.48145466,0.4578275,0.40821073; std 0.26862954,0.26130258,0.27577711',
    );
  });

  it('1 / 255 equals the rescale factor in the files', () => {
    expect(1 / 255).toBe(IMAGENET.rescaleFactor);
  });
});
