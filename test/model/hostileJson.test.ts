/**
 * JSON files of a checkpoint with one value replaced by a hostile one: every file is read, or rejected with a
 * typed error. A config.json, a preprocessor_config.json and an index of shards come from the same untrusted
 * place as the weights.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { DINOv2Error } from '../../src/errors.ts';
import { describe as describeConfig, parseJson } from '../../src/load/configFile.ts';
import { preprocessingOfText } from '../../src/load/preprocessorFile.ts';
import { parseJsonText, show } from '../../src/platform/json.ts';
import { parseShardIndex } from '../../src/safetensors/shards.ts';
import { EmbeddingIndex } from '../../src/search.ts';
import { labelsOfConfig } from '../../src/tasks/classLabels.ts';
import { basisFromJSON, type PcaJSON } from '../../src/tasks/pcaBasis.ts';
import { segmenterFromJSON, type SegmenterJSON } from '../../src/tasks/segmenterModel.ts';

const modelConfig = readFileSync('test/fixtures/reference/tiny-registers/config.json', 'utf8');

const hostile = [
  '['.repeat(100_000) + ']'.repeat(100_000),
  '{"a":'.repeat(50_000) + '1' + '}'.repeat(50_000),
  '{"toString":1}',
  '[{"toString":1}]',
  '{"valueOf":1,"toString":null}',
  '{"__proto__":{"height":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  '{"length":4294967295}',
  '[[[]]]',
  '[3]',
  '[null]',
  'null',
  'true',
  '""',
  '"<img src=x onerror=alert(1)>"',
  '1e400',
  '-1e400',
  '-0',
  '9007199254740993',
];

/** Every copy of `json` with one value replaced, as text. Also replaces the whole file. */
function* variants(json: unknown): Generator<string> {
  const paths: string[][] = [];
  const walk = (value: unknown, path: string[]): void => {
    paths.push(path);
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key]);
  };
  walk(json, []);
  for (const path of paths) {
    const copy = { file: structuredClone(json) };
    let parent: Record<string, unknown> = copy;
    for (const key of ['file', ...path].slice(0, -1)) parent = parent[key] as Record<string, unknown>;
    parent[['file', ...path].at(-1)!] = '@';
    for (const value of hostile) yield JSON.stringify(copy.file).replace('"@"', () => value);
  }
}

/** Reads each variant. Returns the number of rejected ones. */
async function rejected(json: unknown, read: (text: string) => unknown): Promise<number> {
  let count = 0;
  for (const text of variants(json)) {
    const error: unknown = await Promise.resolve(text)
      .then(read)
      .then(
        () => undefined,
        (reason: unknown) => reason,
      );
    if (error === undefined) continue;
    expect(error, text.slice(0, 200)).toBeInstanceOf(DINOv2Error);
    expect((error as Error).message.length).toBeLessThan(2000);
    count += 1;
  }
  expect(({} as Record<string, unknown>)['polluted'] ?? ({} as Record<string, unknown>)['height']).toBe(
    undefined,
  );
  return count;
}

describe('a hostile value in', () => {
  const readConfig = async (text: string): Promise<void> => {
    const json = parseJson(text);
    const { labels } = await describeConfig(json);
    await preprocessingOfText(null, json);
    labelsOfConfig(labels, 1);
  };

  test.each([
    ["transformers' config.json", JSON.parse(modelConfig) as unknown],
    [
      "timm's config.json",
      {
        architecture: 'vit_small_patch14_dinov2',
        global_pool: 'token',
        label_names: ['a'],
        model_args: { act_layer: 'gelu', img_size: 518, embed_dim: 64, num_heads: 1, no_embed_class: true },
        pretrained_cfg: {
          input_size: [3, 518, 518],
          mean: [0.5, 0.5, 0.5],
          std: [0.5, 0.5, 0.5],
          interpolation: 'bicubic',
          crop_pct: 1,
          crop_mode: 'center',
        },
      },
    ],
    [
      'the config.json of a larger model',
      {
        model_type: 'depth_anything',
        backbone: 'dinov2',
        backbone_config: { model_type: 'dinov2', hidden_size: 64, num_attention_heads: 1 },
        other: { model_type: 'dinov2', hidden_size: 64 },
        id2label: { 0: 'a' },
      },
    ],
  ])('%s', async (_, json) => expect(await rejected(json, readConfig)).toBeGreaterThan(20));

  test('preprocessor_config.json', async () => {
    const json = {
      image_processor_type: 'BitImageProcessor',
      feature_extractor_type: 'BitFeatureExtractor',
      auto_map: { AutoImageProcessor: 'BitImageProcessor' },
      size: { shortest_edge: 256 },
      crop_size: { height: 224, width: 224 },
      do_resize: true,
      do_center_crop: true,
      do_rescale: true,
      do_normalize: true,
      do_pad: false,
      default_to_square: false,
      input_data_format: null,
      resample: 3,
      rescale_factor: 1 / 255,
      image_mean: [0.5, 0.5, 0.5],
      image_std: [0.5, 0.5, 0.5],
    };
    expect(await rejected(json, (text) => preprocessingOfText(text, {}))).toBeGreaterThan(100);
  });

  test('model.safetensors.index.json', async () => {
    const json = { metadata: { total_size: 4 }, weight_map: { a: 'model.safetensors' } };
    const read = (text: string): unknown => parseShardIndex(new TextEncoder().encode(text));
    expect(await rejected(json, read)).toBeGreaterThan(20);
  });

  test("the JSON of a PCA: fits the basis' dimensions, or is refused", async () => {
    const numbers = (length: number): number[] => Array.from({ length }, (_, i) => Math.sin(i));
    const json = {
      format: 'dinov2-webgpu/pca',
      version: 2,
      embedDim: 4,
      mean: numbers(4),
      components: numbers(12),
      explainedVariance: numbers(3),
      explainedVarianceRatio: numbers(3),
      low: numbers(3),
      high: numbers(3),
      colorRule: 'sigmoid',
      foreground: { direction: numbers(4), threshold: 0.5 },
    };
    const read = (text: string): void => {
      const basis = basisFromJSON(JSON.parse(text) as PcaJSON);
      for (const values of [basis.mean, basis.components, basis.low, basis.high, basis.foreground?.direction])
        expect(values?.every(Number.isFinite) ?? true).toBe(true);
    };
    expect(await rejected(json, read)).toBeGreaterThan(500);
    const tooLarge = { ...json, mean: [1e300, 0, 0, 0] } as unknown as PcaJSON; // infinite as f32
    expect(() => basisFromJSON(tooLarge)).toThrow(expect.objectContaining({ code: 'OPTION_VALUE' }));
  });

  test('the JSON of a segmenter', async () => {
    const json = {
      format: 'dinov2-webgpu/segmenter',
      version: 1,
      embedDim: 4,
      weights: [0.25, -1, 0, 3],
      bias: 0.5,
    };
    const read = (text: string): unknown => segmenterFromJSON(JSON.parse(text) as SegmenterJSON);
    expect(await rejected(json, read)).toBeGreaterThan(100);
  });

  test('the labels of a classifier', async () => {
    const id2label = { 0: 'cat', 1: 'dog' };
    const read = async (text: string): Promise<void> => {
      const { labels } = await describeConfig({
        ...(parseJson(modelConfig) as object),
        id2label: parseJson(text),
      });
      for (const label of labelsOfConfig(labels, 2) ?? []) expect(label).toBeTypeOf('string');
    };
    await rejected(id2label, read);
    await rejected({ 0: 'cat', 1: 'dog', __proto__: null, constructor: 'x', length: 3 }, read);
  });

  test('an exported index: keys such as __proto__ in metadata and in the header stay ordinary keys', async () => {
    const metadata = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}},"toString":1}';
    const index = new EmbeddingIndex({ dim: 4, device: 'cpu' });
    for (const id of ['__proto__', 'constructor', 'toString', 'a'])
      await index.add(id, Float32Array.of(1, 2, 3, id.length), JSON.parse(metadata));
    const again = await EmbeddingIndex.import(await index.export(), { device: 'cpu' });
    expect(again.ids()).toEqual(['__proto__', 'constructor', 'toString', 'a']);
    for (const id of again.ids()) {
      expect(JSON.stringify(again.metadata(id))).toBe(metadata);
      expect(Object.getPrototypeOf(again.metadata(id))).toBe(Object.prototype);
      expect(again.vector(id)).toEqual(index.vector(id));
    }
    const [best] = await again.search(again.vector('toString')!, { topK: 1 });
    expect(best!.id).toBe('toString');
    expect([({} as Record<string, unknown>)['polluted'], 'polluted' in Object]).toEqual([undefined, false]);
  });
});

test('JSON may have 64 levels; brackets in texts do not count', () => {
  const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
  expect(parseJsonText(nested(64))).toEqual(JSON.parse(nested(64)));
  expect(() => parseJsonText(nested(65))).toThrow(SyntaxError);
  expect(parseJsonText(`["${'['.repeat(100)}", "\\"${'{'.repeat(100)}", "\\\\", []]`)).toHaveLength(4);
  expect(parseJsonText(`[${'[],'.repeat(1000)}0]`)).toHaveLength(1001);
});

test('any value can be shown in an error message', () => {
  const itself: unknown[] = [];
  itself.push(itself);
  expect(show(itself)).toBe('a value of type object');
  expect(show(1n)).toBe('a value of type bigint');
  expect(show(undefined)).toBe('nothing');
  expect(show('x'.repeat(100))).toHaveLength(58);
});

test('a list with one value does not count as that value', async () => {
  await expect(preprocessingOfText('{"resample": [3]}', {})).rejects.toMatchObject({ code: 'CONFIG_FIELD' });
  const timm = { architecture: 'vit_small_patch14_dinov2', model_args: { act_layer: ['gelu'] } };
  await expect(describeConfig(timm)).rejects.toMatchObject({ code: 'CONFIG_UNSUPPORTED' });
});
