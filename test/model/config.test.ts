import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/errors.js';
import { huggingFaceTensors, type Parameter } from '../../src/weights/huggingFace.js';
import { encodeSafetensorsHeader, parseSafetensors } from '../../src/safetensors.js';
import {
  checkConfig,
  configOf,
  nativeGrid,
  type DINOv2Config,
  type ModelSize,
} from '../../src/model/config.js';
import { configJson, parseConfig, readConfigFile, type ConfigFile } from '../../src/model/configJson.js';
import { parameters } from '../../src/model/parameters.js';
import { publishedConfig } from '../../src/model/publishedConfig.js';
import { POS_EMBED } from '../../src/model/checkpointConfig.js';
import { configOfCheckpoint } from '../../src/model/tensorConfig.js';
import { placeTensors } from '../../src/weights/names.ts';

const fixtures = new URL('../fixtures/reference/', import.meta.url);
const readJson = (path: string): unknown => JSON.parse(readFileSync(new URL(path, fixtures), 'utf8'));
const headerOf = (tensors: readonly Parameter[]) =>
  encodeSafetensorsHeader(tensors.map(({ name, shape }) => [name, { dtype: 'F32', shape }] as const)).header;
const sizes: ModelSize[] = ['small', 'base', 'large', 'giant'];

/** The error that `run` throws, checked to be a ConfigError with this code. */
function configError(code: string, run: () => unknown): ConfigError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).code).toBe(code);
    return error as ConfigError;
  }
  throw new Error(`expected an error ${code}, but nothing was thrown`);
}

/** The config.json of facebook/dinov2-giant on the hub, without the fields that describe how it was saved. */
const giantJson = {
  apply_layernorm: true,
  architectures: ['Dinov2Model'],
  attention_probs_dropout_prob: 0.0,
  drop_path_rate: 0.0,
  hidden_act: 'gelu',
  hidden_dropout_prob: 0.0,
  hidden_size: 1536,
  image_size: 518,
  initializer_range: 0.02,
  layer_norm_eps: 1e-6,
  layerscale_value: 1.0,
  mlp_ratio: 4,
  model_type: 'dinov2',
  num_attention_heads: 24,
  num_channels: 3,
  num_hidden_layers: 40,
  patch_size: 14,
  qkv_bias: true,
  reshape_hidden_states: true,
  use_swiglu_ffn: true,
};

describe('parseConfig', () => {
  it('reads config.json files written by transformers: plain, with registers and with SwiGLU', () => {
    const plain = {
      embedDim: 128,
      depth: 2,
      numHeads: 2,
      headDim: 64,
      patchSize: 14,
      imageSize: 70,
      numChannels: 3,
      numRegisterTokens: 0,
      ffn: 'mlp',
      hiddenFeatures: 512,
      layerNormEps: 1e-6,
      posEmbed: 'plain',
    };
    expect(parseConfig(readJson('tiny-plain/config.json'))).toEqual(plain);
    expect(parseConfig(readJson('tiny-registers/config.json'))).toEqual({
      ...plain,
      numRegisterTokens: 4,
      posEmbed: 'antialias',
    });
    expect(parseConfig(readJson('tiny-swiglu/config.json'))).toEqual({
      ...plain,
      ffn: 'swiglu',
      hiddenFeatures: 344,
    });
  });

  it('reads the config.json of the giant model on the hub', () => {
    expect(parseConfig(giantJson)).toEqual(configOf('giant'));
    expect(parseConfig(giantJson).hiddenFeatures).toBe(4096);
  });

  it("uses transformers' defaults for missing fields", () => {
    expect(parseConfig({ model_type: 'dinov2' })).toEqual({ ...configOf('base'), imageSize: 224 });
    expect(parseConfig({ model_type: 'dinov2_with_registers' })).toEqual({
      ...configOf('base', { registers: true }),
      imageSize: 224,
      patchSize: 16,
    });
  });

  it('reads a model with a head, and sizes written as pairs', () => {
    const json = {
      ...giantJson,
      architectures: ['Dinov2ForImageClassification'],
      image_size: [518, 518],
      patch_size: [14, 14],
    };
    expect(
      parseConfig({ ...json, id2label: { 0: 'tench' }, problem_type: 'single_label_classification' }),
    ).toEqual(configOf('giant'));
  });

  it('rejects values that are no object', () => {
    for (const json of [undefined, null, 'dinov2', 3, [giantJson]]) {
      expect(configError('CONFIG_JSON', () => parseConfig(json)).message).toMatch(
        /expected an object, found/,
      );
    }
  });

  it('rejects other model families, and names them in the error', () => {
    for (const model_type of ['dinov3_vit', 'vit', 'Dinov2', undefined, 2]) {
      const { message } = configError('CONFIG_UNSUPPORTED', () => parseConfig({ ...giantJson, model_type }));
      expect(message).toContain(`found ${model_type === undefined ? 'nothing' : JSON.stringify(model_type)}`);
    }
    expect(configError('CONFIG_UNSUPPORTED', () => parseConfig({})).message).toContain('model_type');
  });

  it.each([
    ['hidden_size', '384'],
    ['hidden_size', 384.5],
    ['hidden_size', 0],
    ['hidden_size', 1e9],
    ['hidden_size', null],
    ['num_hidden_layers', -1],
    ['num_hidden_layers', 1e6],
    ['num_attention_heads', 0],
    ['mlp_ratio', 1e9],
    ['mlp_ratio', '4'],
    ['layer_norm_eps', 0],
    ['layer_norm_eps', Number.NaN],
    ['image_size', 13],
    ['image_size', 1e6],
    ['image_size', [518]],
    ['image_size', 'large'],
    ['patch_size', 0],
    ['patch_size', 1000],
    ['use_swiglu_ffn', 'yes'],
  ])('rejects %s = %j as out of range or of the wrong type', (field, value) => {
    const { message } = configError('CONFIG_FIELD', () => parseConfig({ ...giantJson, [field]: value }));
    expect(message).toContain(`${field}: expected`);
    expect(message).toContain(`found ${Number.isNaN(value) ? 'NaN' : JSON.stringify(value)}`);
  });

  it.each([
    ['num_channels', 4],
    ['qkv_bias', false],
    ['hidden_act', 'gelu_new'],
    ['image_size', [518, 504]],
    ['num_attention_heads', 12],
    ['hidden_size', 1000],
    ['patch_size', 15],
    ['mlp_ratio', 255 / 1536],
  ])('rejects %s = %j as not a DINOv2', (field, value) => {
    const json = { ...giantJson, use_swiglu_ffn: false, [field]: value };
    expect(configError('CONFIG_UNSUPPORTED', () => parseConfig(json)).message).toMatch(/expected .*, found/);
  });

  it('rejects an unsupported number of registers, and ignores the field in models without registers', () => {
    const registers = { ...giantJson, model_type: 'dinov2_with_registers' };
    expect(parseConfig({ ...registers, num_register_tokens: 8 }).numRegisterTokens).toBe(8);
    expect(parseConfig({ ...registers, num_register_tokens: 0 })).toMatchObject({
      numRegisterTokens: 0,
      posEmbed: 'antialias',
    });
    for (const num_register_tokens of [-1, 65, 1.5]) {
      configError('CONFIG_FIELD', () => parseConfig({ ...registers, num_register_tokens }));
    }
    expect(parseConfig({ ...giantJson, num_register_tokens: 4 }).numRegisterTokens).toBe(0);
  });

  it('lists all invalid fields in one error', () => {
    const json = { ...giantJson, hidden_size: -1, num_channels: 1, layer_norm_eps: 'small' };
    expect(configError('CONFIG_FIELD', () => parseConfig(json)).message).toBe(
      'config.json: hidden_size: expected an integer from 64 to 4608, found -1; ' +
        'layer_norm_eps: expected a number from 1e-12 to 0.01, found "small"; ' +
        'num_channels: expected 3, found 1. Correct the file, or download it again from the repository of the weights.',
    );
  });

  it('rejects a patch size larger than the default image', () => {
    configError('CONFIG_FIELD', () => parseConfig({ model_type: 'dinov2', patch_size: 64, image_size: 60 }));
  });
});

describe('configOf', () => {
  it.each(sizes)(
    '%s is unchanged after writing and reading config.json, with and without registers',
    (size) => {
      for (const registers of [false, true]) {
        const config = configOf(size, { registers });
        expect(parseConfig(JSON.parse(JSON.stringify(configJson(config))))).toEqual(config);
      }
    },
  );

  it('lists the sizes if the requested one is unknown', () => {
    expect(configError('CONFIG_UNSUPPORTED', () => configOf('huge' as ModelSize)).message).toContain(
      'small, base, large, giant',
    );
    configError('CONFIG_UNSUPPORTED', () => configOf('toString' as ModelSize));
  });

  it('the config.json files of the fixtures are unchanged after reading and writing', () => {
    for (const kind of ['plain', 'registers', 'swiglu']) {
      const config = parseConfig(readJson(`tiny-${kind}/config.json`));
      expect(parseConfig(configJson(config))).toEqual(config);
    }
  });
});

describe('configJson', () => {
  it("writes every MLP width that Hugging Face's format can express", () => {
    for (const embedDim of [64, 192, 384, 1536])
      for (const ffn of ['mlp', 'swiglu'] as const)
        for (let hiddenFeatures = 8; hiddenFeatures <= 6 * embedDim; hiddenFeatures += 8) {
          const config = { ...configOf('small'), embedDim, numHeads: embedDim / 64, ffn, hiddenFeatures };
          expect(parseConfig(configJson(config))).toEqual(config);
        }
    configError('CONFIG_UNSUPPORTED', () => configJson({ ...configOf('giant'), hiddenFeatures: 4092 }));
  });

  it('writes antialias without registers as dinov2_with_registers with 0 registers', () => {
    const config = { ...configOf('small'), posEmbed: 'antialias' } as const;
    expect(configJson(config)).toMatchObject({ model_type: 'dinov2_with_registers', num_register_tokens: 0 });
    expect(parseConfig(configJson(config))).toEqual(config);
  });
});

describe('nativeGrid', () => {
  it('counts whole patches', () => {
    expect(nativeGrid(configOf('small'))).toBe(37);
    expect(nativeGrid({ imageSize: 224, patchSize: 16 })).toBe(14);
    expect(nativeGrid({ imageSize: 83, patchSize: 14 })).toBe(5);
  });
});

const inferConfig = (...args: Parameters<typeof configOfCheckpoint>): DINOv2Config =>
  configOfCheckpoint(...args).config;

describe('publishedConfig', () => {
  it.each(sizes.flatMap((size) => [false, true].map((registers) => ({ size, registers }))))(
    'reads the file of $size, registers: $registers, as parseConfig does',
    ({ size, registers }) => {
      const json = configJson(configOf(size, { registers }));
      expect(publishedConfig({ ...json, layerscale_value: 1 })).toEqual(parseConfig(json));
      for (const field of Object.keys(json).filter((name) => name !== 'architectures')) {
        const { [field]: value, ...without } = json;
        expect(publishedConfig(without), field).toBeUndefined();
        expect(publishedConfig({ ...json, [field]: [value] }), field).toBeUndefined();
      }
    },
  );

  it('knows no other file', () => {
    for (const json of [null, [], 'dinov2', {}, { ...configJson(configOf('small')), backbone: 'dinov2' }])
      expect(publishedConfig(json)).toBeUndefined();
  });
});

describe('configOfCheckpoint', () => {
  it.each(['plain', 'registers', 'swiglu'])("agrees with transformers' config.json: tiny-%s", (kind) => {
    const header = parseSafetensors(readFileSync(new URL(`tiny-${kind}/model.safetensors`, fixtures)));
    expect(inferConfig(header)).toEqual(parseConfig(readJson(`tiny-${kind}/config.json`)));
  });

  it.each(sizes)('recognises %s from shapes alone, in both naming schemes', (size) => {
    for (const registers of [false, true]) {
      const config = configOf(size, { registers });
      const ours = parameters(config);
      expect(inferConfig(headerOf(huggingFaceTensors(ours)))).toEqual(config);
      expect(inferConfig(headerOf(ours))).toEqual({
        ...config,
        posEmbed: registers ? 'antialias' : 'offset',
      });
    }
  });

  it("assumes antialias for facebookresearch's names without a mask token, as timm writes them", () => {
    const ours = parameters(configOf('small')).filter(({ name }) => name !== 'mask_token');
    expect(inferConfig(headerOf(ours)).posEmbed).toBe('antialias');
  });

  it('explains why a file is not a DINOv2, or not a supported one', () => {
    const ours = parameters(configOf('small'));
    const refused = (tensors: readonly Parameter[]): string => {
      try {
        configOfCheckpoint(headerOf(tensors));
      } catch (error) {
        return `${(error as ConfigError).code} ${(error as ConfigError).message}`;
      }
      throw new Error('expected an error, but nothing was thrown');
    };
    const reshaped = (name: string, shape: number[]) =>
      ours.map((parameter) => (parameter.name === name ? { name, shape } : parameter));
    expect(refused([])).toMatch(/^CHECKPOINT_NAMING .*found no tensors/);
    expect(refused([{ name: 'bert.embeddings.word_embeddings.weight', shape: [30522, 768] }])).toMatch(
      /^CHECKPOINT_NAMING .*holds no DINOv2/,
    );
    expect(refused(reshaped('pos_embed', [1, 1 + 28 * 49, 384]))).toMatch(
      /^CONFIG_UNSUPPORTED .*positions of the class token and of a square image, found 1373 positions/,
    );
    expect(refused(reshaped('cls_token', [1, 1, 192 + 1]))).toMatch(
      /^CONFIG_UNSUPPORTED .*embedDim: .* found 193/,
    );
    expect(refused(reshaped('patch_embed.proj.weight', [384, 1, 14, 14]))).toMatch(
      /^CONFIG_UNSUPPORTED .*numChannels: expected 3, found 1/,
    );
    expect(refused([...ours, { name: 'embeddings.cls_token', shape: [1, 1, 384] }])).toMatch(
      /^CHECKPOINT_NAMING .*one naming convention/,
    );
  });

  it('accepts missing tensors, so that placeTensors can list them', () => {
    const ours = parameters(configOf('small'));
    const whole = inferConfig(headerOf(ours));
    for (const without of [
      'cls_token',
      'pos_embed',
      'patch_embed.proj.weight',
      'blocks.0.mlp.fc2.weight',
      'blocks.0.norm1.weight',
    ]) {
      const header = headerOf(ours.filter(({ name }) => name !== without));
      expect(inferConfig(header), without).toEqual(whole);
      expect(() => placeTensors(header, ours)).toThrow(`1 missing`);
    }
    expect(inferConfig(headerOf(ours.filter(({ name }) => !name.startsWith('blocks.5.'))))).toEqual(whole);
  });

  it('describes its assumptions about properties that the file does not contain', () => {
    const { assumed } = configOfCheckpoint(headerOf(parameters(configOf('small'))));
    expect(assumed).toEqual([
      'The model has 6 heads of width 64.',
      'Position embeddings belong to a square image: 37 × 37 patches.',
      'The eps of LayerNorm is 1e-6.',
      'The activation of the MLP is the exact GELU.',
      "Position embeddings are interpolated for other sizes as in facebookresearch: 'offset'.",
    ]);
    const header = headerOf(parameters(configOf('small')));
    expect(configOfCheckpoint(header, {}, { posEmbed: 'plain' })).toEqual({
      config: configOf('small'),
      assumed: assumed.slice(0, 4),
    });
    expect(configOfCheckpoint(header, { config: configOf('small') })).toEqual({
      config: configOf('small'),
      assumed: [],
    });
    const kept = { ...header, metadata: new Map([[POS_EMBED, 'antialias']]) };
    expect(configOfCheckpoint(kept, { config: configOf('small') }).config.posEmbed).toBe('antialias');
  });

  it.each([1152, 1280, 1408, 1664, 2688, 3072])(
    'requires the number of heads for a width of %i, because public models of that width have heads other than 64 wide',
    (embedDim) => {
      const config = { ...configOf('base'), embedDim, numHeads: embedDim / 64, hiddenFeatures: 4 * embedDim };
      const header = headerOf(parameters(config));
      expect(configError('CONFIG_UNSUPPORTED', () => configOfCheckpoint(header)).message).toMatch(
        /num_heads: unknown; public models of width \d+ have heads of \d+.*num_attention_heads/,
      );
      expect(configOfCheckpoint(header, { config }).config).toBe(config);
      const hints = { writer: "timm's config.json", numHeads: embedDim / 64 };
      expect(configOfCheckpoint(header, { hints }).config.numHeads).toBe(embedDim / 64);
    },
  );
});

describe('readConfigFile', () => {
  const backbone = JSON.parse(JSON.stringify(configJson(configOf('small')))) as Record<string, unknown>;

  it('finds a DINOv2 configuration nested in that of a larger model', () => {
    for (const json of [
      { model_type: 'depth_anything', backbone: null, backbone_config: backbone },
      { model_type: 'dpt', backbone_config: backbone, neck_hidden_sizes: [48] },
      { model_type: 'vision-encoder-decoder', encoder: backbone, decoder: { model_type: 'gpt2' } },
      { model_type: 'llava', vision_config: { model_type: 'x', backbone_config: backbone } },
      { ...backbone, architectures: ['Dinov2Backbone'], out_features: ['stage2'] },
    ])
      expect(readConfigFile(json)).toEqual({ config: configOf('small') });
    const two = { model_type: 'x', a: backbone, b: { ...backbone, hidden_size: 768 } };
    expect(configError('CONFIG_UNSUPPORTED', () => readConfigFile(two)).message).toContain(
      'found "x" with a and b',
    );
    expect(
      configError('CONFIG_UNSUPPORTED', () => readConfigFile({ model_type: 'dpt', hidden_size: 384 }))
        .message,
    ).toContain('found "dpt"');
  });

  it("derives from the tensors what timm's config.json does not contain", () => {
    const timm = { architecture: 'vit_small_patch14_dinov2', num_features: 384, pretrained_cfg: {} };
    expect(readConfigFile(timm).hints).toMatchObject({ writer: "timm's config.json" });
    expect(readConfigFile({ ...timm, model_args: { num_heads: 16, embed_dim: 1280 } }).hints).toMatchObject({
      numHeads: 16,
      embedDim: 1280,
    });
    for (const more of [
      { architecture: 'vit_base_patch16_clip_quickgelu_224' },
      { model_args: { act_layer: 'gelu_tanh' } },
      { model_args: { img_size: [224, 112] } },
      { pretrained_cfg: { input_size: [3, 224, 112] } },
    ])
      configError('CONFIG_UNSUPPORTED', () => readConfigFile({ ...timm, ...more }));
    const header = headerOf(parameters(configOf('small')));
    expect(
      configError('CONFIG_UNSUPPORTED', () =>
        configOfCheckpoint(header, readConfigFile({ ...timm, model_args: { num_heads: 12 } })),
      ).message,
    ).toMatch(/headDim: expected 64.*found 32/);
    configError('CONFIG_UNSUPPORTED', () =>
      configOfCheckpoint(header, readConfigFile({ ...timm, model_args: { embed_dim: 768 } })),
    );
    const withActivation = (act_layer: string): ConfigFile =>
      readConfigFile({ ...timm, model_args: { act_layer } });
    expect(
      configError('CONFIG_UNSUPPORTED', () => configOfCheckpoint(header, withActivation('silu'))).message,
    ).toMatch(/act_layer: expected gelu, .* found silu/);
    expect(configOfCheckpoint(header, withActivation('gelu')).assumed.join()).not.toContain('GELU');
    const giant = headerOf(parameters(configOf('giant')));
    configError('CONFIG_UNSUPPORTED', () => configOfCheckpoint(giant, withActivation('gelu')));
    expect(configOfCheckpoint(giant, withActivation('swish')).config.ffn).toBe('swiglu');
  });

  it.each<[object, RegExp]>([
    [{ dynamic_img_pad: true }, /model_args\.dynamic_img_pad: expected false .*, found true/],
    [{ norm_layer: 'rmsnorm' }, /model_args\.norm_layer: expected "layernorm".*, found "rmsnorm"/],
    [{ mlp_layer: 'GluMlp' }, /model_args\.mlp_layer: expected "Mlp" or "SwiGLUPacked", found "GluMlp"/],
    [{ pos_embed: 'none' }, /model_args\.pos_embed: expected "learn", found "none"/],
    [{ attn_layer: 'diff' }, /model_args\.attn_layer: expected no argument of this name, found "diff"/],
    [{ block_fn: 'ResPostBlock' }, /model_args\.block_fn: expected no argument of this name/],
    [{ constructor: 1 }, /model_args\.constructor: expected no argument of this name/],
  ])("refuses timm's arguments %j", (model_args, message) => {
    const timm = { architecture: 'vit_small_patch14_dinov2', pretrained_cfg: {}, model_args };
    expect(configError('CONFIG_UNSUPPORTED', () => readConfigFile(timm)).message).toMatch(message);
  });

  it("ignores timm's arguments that change nothing", () => {
    const model_args = {
      dynamic_img_pad: false,
      pos_embed: null,
      dynamic_img_size: true,
      drop_path_rate: 0.4,
      norm_layer: 'layernorm',
    };
    const timm = { architecture: 'vit_small_patch14_dinov2', pretrained_cfg: {} };
    const header = headerOf(parameters(configOf('small')));
    expect(configOfCheckpoint(header, readConfigFile({ ...timm, model_args }))).toEqual(
      configOfCheckpoint(header, readConfigFile(timm)),
    );
  });

  it('takes GELU for a SwiGLU whose arguments name no activation, as timm does, and so refuses it', () => {
    const giant = headerOf(parameters(configOf('giant')));
    const read = (architecture: string, model_args: object) => () =>
      configOfCheckpoint(giant, readConfigFile({ architecture, model_args }));
    const mlp_layer = 'timm.layers.SwiGLUPacked';
    expect(configError('CONFIG_UNSUPPORTED', read('vit_giant_patch14_224', { mlp_layer })).message).toMatch(
      /act_layer: expected silu.*found gelu in timm's config\.json/,
    );
    expect(read('vit_giant_patch14_224', { mlp_layer, act_layer: 'silu' })().config.ffn).toBe('swiglu');
    expect(read('vit_giant_patch14_reg4_dinov2', { mlp_layer })().config.ffn).toBe('swiglu');
    expect(read('vit_giant_patch14_224', {})().config.ffn).toBe('swiglu');
  });

  it('refuses positions of another size than that for which timm makes the model, because timm resamples them', () => {
    const header = headerOf(parameters(configOf('small')));
    const read =
      (size: number | undefined, input: number, dynamic_img_size = false) =>
      () =>
        configOfCheckpoint(
          header,
          readConfigFile({
            architecture: 'vit_small_patch14_dinov2',
            model_args: { img_size: size, dynamic_img_size },
            pretrained_cfg: { input_size: [3, input, input] },
          }),
        );
    for (const other of [read(224, 518), read(224, 224), read(undefined, 224, true)])
      expect(configError('CONFIG_UNSUPPORTED', other).message).toMatch(
        /pos_embed: expected positions of 16 × 16 patches \(an image of 224 pixels, as in timm's config\.json\), found 37 × 37\. timm resamples/,
      );
    for (const same of [read(518, 224), read(530, 518), read(518, 518, true), read(undefined, 224)])
      expect(same().config.imageSize).toBe(518);
  });

  it('derives the configuration from the tensors if config.json contains only the name of the backbone', () => {
    const json = { model_type: 'depth_anything', backbone: 'facebook/dinov2-small', backbone_config: null };
    expect(readConfigFile(json).hints?.writer).toContain('facebook/dinov2-small');
  });

  it('accepts null where older versions of transformers do', () => {
    expect(
      parseConfig({ ...backbone, use_swiglu_ffn: null, num_register_tokens: null, torch_dtype: null }),
    ).toEqual(configOf('small'));
    configError('CONFIG_FIELD', () => parseConfig({ ...backbone, image_size: null }));
  });

  it('refuses pruned heads', () => {
    expect(parseConfig({ ...backbone, pruned_heads: {} })).toEqual(configOf('small'));
    expect(
      configError('CONFIG_UNSUPPORTED', () => parseConfig({ ...backbone, pruned_heads: { 0: [1] } })).message,
    ).toContain('pruned_heads: expected {}, found {"0":[1]}');
  });
});

describe('checkConfig', () => {
  it('accepts the published configurations', () => {
    for (const size of sizes)
      for (const registers of [false, true]) checkConfig(configOf(size, { registers }));
  });

  it.each([
    ['embedDim', 96],
    ['embedDim', 0],
    ['embedDim', 64.5],
    ['embedDim', 6400],
    ['headDim', 32],
    ['numHeads', 12],
    ['depth', 0],
    ['depth', 1.5],
    ['depth', 1000],
    ['patchSize', 15],
    ['patchSize', 0],
    ['patchSize', 66],
    ['imageSize', 13],
    ['imageSize', Infinity],
    ['numChannels', 4],
    ['numRegisterTokens', -1],
    ['numRegisterTokens', 65],
    ['ffn', 'moe'],
    ['hiddenFeatures', 255],
    ['hiddenFeatures', 2],
    ['hiddenFeatures', 384 * 17],
    ['layerNormEps', 0],
    ['layerNormEps', NaN],
    ['layerNormEps', undefined],
    ['posEmbed', 'bilinear'],
  ] as const)('refuses %s = %s', (field, value) => {
    const { message } = configError('CONFIG_UNSUPPORTED', () =>
      checkConfig({ ...configOf('small'), [field]: value } as DINOv2Config, 'synthetic'),
    );
    expect(message).toMatch(new RegExp(`^synthetic: .*${field}: expected .*, found `));
  });
});
