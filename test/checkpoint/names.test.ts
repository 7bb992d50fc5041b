import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { inspectCheckpoint, placeTensors } from '../../src/weights/names.js';
import {
  huggingFaceTensors,
  placeHuggingFace,
  type Parameter,
  type Placement,
} from '../../src/weights/huggingFace.js';
import { encodeSafetensorsHeader, parseSafetensors, type SafetensorsDtype } from '../../src/safetensors.js';
import { CheckpointError } from '../../src/errors.js';
import { configOf, type DINOv2Config } from '../../src/model/config.js';
import { parseConfig } from '../../src/model/configJson.js';
import { parameters } from '../../src/model/parameters.js';

const fixtures = new URL('../fixtures/reference/', import.meta.url);
const readJson = (path: string): unknown => JSON.parse(readFileSync(new URL(path, fixtures), 'utf8'));

interface FileTensor extends Parameter {
  readonly dtype?: SafetensorsDtype;
}

const headerOf = (tensors: readonly FileTensor[]) =>
  encodeSafetensorsHeader(tensors.map(({ name, shape, dtype = 'F32' }) => [name, { dtype, shape }] as const))
    .header;

const tiny: DINOv2Config = {
  ...configOf('small'),
  embedDim: 128,
  numHeads: 2,
  depth: 2,
  imageSize: 70,
  hiddenFeatures: 512,
};
const tinySwiglu: DINOv2Config = { ...tiny, ffn: 'swiglu', hiddenFeatures: 344 };
const tinyRegisters: DINOv2Config = { ...tiny, numRegisterTokens: 4, posEmbed: 'antialias' };

/** The same tensors with the names and shapes that transformers 5 uses in memory. */
function inMemory(tensors: readonly Parameter[]): Parameter[] {
  return tensors.flatMap(({ name, shape }) => {
    if (name.includes('mlp.weights_in')) {
      const half = [shape[0]! / 2, ...shape.slice(1)];
      return ['gate_proj', 'up_proj'].map((part) => ({
        name: name.replace('weights_in', part),
        shape: half,
      }));
    }
    const renamed = name
      .replace('attention.attention.query', 'attention.q_proj')
      .replace('attention.attention.key', 'attention.k_proj')
      .replace('attention.attention.value', 'attention.v_proj')
      .replace('attention.output.dense', 'attention.o_proj')
      .replace('mlp.weights_out', 'mlp.down_proj');
    return [{ name: renamed, shape }];
  });
}

/** Checks that placements cover every element of every parameter once. */
function expectWhole(placements: ReadonlyMap<string, Placement>, wanted: readonly Parameter[]): void {
  const rows = new Map<string, [begin: number, end: number][]>();
  for (const { parameter, begin, shape } of placements.values()) {
    const elements = shape.reduce((product, length) => product * length, 1);
    rows.set(parameter, [...(rows.get(parameter) ?? []), [begin, begin + elements]]);
  }
  expect([...rows.keys()].sort()).toEqual(wanted.map(({ name }) => name).sort());
  for (const { name, shape } of wanted) {
    let at = 0;
    for (const [begin, end] of rows.get(name)!.sort(([a], [b]) => a - b)) {
      expect(begin, name).toBe(at);
      at = end;
    }
    expect(at, name).toBe(shape.reduce((product, length) => product * length, 1));
  }
}

function checkpointError(code: string, run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as CheckpointError).code).toBe(code);
    return (error as CheckpointError).message;
  }
  throw new Error(`expected an error ${code}, but nothing was thrown`);
}

describe('placeTensors', () => {
  it.each(['plain', 'registers', 'swiglu'])(
    'places every tensor of a file written by transformers: tiny-%s',
    (kind) => {
      const header = parseSafetensors(readFileSync(new URL(`tiny-${kind}/model.safetensors`, fixtures)));
      const wanted = parameters(parseConfig(readJson(`tiny-${kind}/config.json`)));
      const { placements, setAside, dialect } = placeTensors(header, wanted);
      expect(dialect).toBe('huggingface');
      expect(setAside).toEqual([]);
      expect([...placements.keys()]).toEqual([...header.tensors.keys()]);
      expectWhole(placements, wanted);
      for (const [name, { shape }] of placements) expect(shape).toEqual(header.tensors.get(name)!.shape);
    },
  );

  it('puts query, key and value into the rows of qkv', () => {
    const { placements } = placeTensors(headerOf(huggingFaceTensors(parameters(tiny))), parameters(tiny));
    const at = (name: string) => placements.get(`encoder.layer.1.attention.attention.${name}`);
    const weight = { parameter: 'blocks.1.attn.qkv.weight', shape: [128, 128] };
    expect(at('query.weight')).toEqual({ ...weight, begin: 0 });
    expect(at('key.weight')).toEqual({ ...weight, begin: 128 * 128 });
    expect(at('value.weight')).toEqual({ ...weight, begin: 256 * 128 });
    expect(at('value.bias')).toEqual({ parameter: 'blocks.1.attn.qkv.bias', begin: 256, shape: [128] });
  });

  it.each(['', 'dinov2.', 'dinov2_with_registers.', 'backbone.'])(
    'reads every spelling with the prefix "%s"',
    (prefix) => {
      for (const config of [tiny, tinySwiglu, tinyRegisters]) {
        const wanted = parameters(config);
        const onDisk = huggingFaceTensors(wanted);
        const chunked = wanted.map(({ name, shape }) => ({
          name: name.replace(/^blocks\.(\d+)/, (_, i) => `blocks.${i >> 1}.${i}`),
          shape,
        }));
        for (const [dialect, tensors] of [
          ['huggingface', onDisk],
          ['huggingface', inMemory(onDisk)],
          ['facebookresearch', wanted],
          ['facebookresearch', chunked],
        ] as const) {
          const prefixed = tensors.map(({ name, shape }) => ({ name: prefix + name, shape }));
          const found = placeTensors(headerOf(prefixed), wanted);
          expect(found.dialect).toBe(dialect);
          expect(found.placements.size).toBe(tensors.length);
          expectWhole(found.placements, wanted);
        }
      }
    },
  );

  it('puts gate_proj before up_proj', () => {
    const tensors = inMemory(huggingFaceTensors(parameters(tinySwiglu)));
    const { placements } = placeTensors(headerOf(tensors), parameters(tinySwiglu));
    const part = { parameter: 'blocks.0.mlp.w12.weight', shape: [344, 128] };
    expect(placements.get('encoder.layer.0.mlp.gate_proj.weight')).toEqual({ ...part, begin: 0 });
    expect(placements.get('encoder.layer.0.mlp.up_proj.weight')).toEqual({ ...part, begin: 344 * 128 });
  });

  it('counts chunked blocks through all chunks', () => {
    const deep = { ...tiny, depth: 12 };
    const tensors = parameters(deep).map(({ name, shape }) => ({
      name: name.replace(/^blocks\.(\d+)/, (_, i) => `blocks.${Math.floor(Number(i) / 3)}.${i}`),
      shape,
    }));
    const { placements } = placeTensors(headerOf(tensors), parameters(deep));
    expect(placements.get('blocks.3.11.norm1.weight')!.parameter).toBe('blocks.11.norm1.weight');
  });

  it('leaves out heads and lists them', () => {
    const head = [
      { name: 'classifier.weight', shape: [1000, 256] },
      { name: 'classifier.bias', shape: [1000] },
    ];
    const prefixed = huggingFaceTensors(parameters(tiny)).map(({ name, shape }) => ({
      name: `dinov2.${name}`,
      shape,
    }));
    expect(placeTensors(headerOf([...prefixed, ...head]), parameters(tiny)).setAside).toEqual([
      'classifier.weight',
      'classifier.bias',
    ]);
    const linear = [
      ...parameters(tiny),
      { name: 'linear_head.weight', shape: [1000, 256], dtype: 'I64' as const },
    ];
    expect(placeTensors(headerOf(linear), parameters(tiny)).setAside).toEqual(['linear_head.weight']);
  });

  it('accepts a file without the mask token', () => {
    const tensors = huggingFaceTensors(parameters(tiny)).filter(
      ({ name }) => name !== 'embeddings.mask_token',
    );
    const { placements } = placeTensors(headerOf(tensors), parameters(tiny));
    expectWhole(
      placements,
      parameters(tiny).filter(({ name }) => name !== 'mask_token'),
    );
  });

  it('accepts F16, BF16 and F64, and lists all tensors of other types in the error', () => {
    const tensors: FileTensor[] = huggingFaceTensors(parameters(tiny));
    const typed = (dtype: SafetensorsDtype) => headerOf(tensors.map((tensor) => ({ ...tensor, dtype })));
    for (const dtype of ['F16', 'BF16', 'F64'] as const)
      expect(placeTensors(typed(dtype), parameters(tiny)).placements.size).toBe(tensors.length);

    const mixed = tensors.map((tensor, i) => ({
      ...tensor,
      dtype: i === 2 ? ('I64' as const) : i === 5 ? ('I8' as const) : ('F16' as const),
    }));
    const message = checkpointError('CHECKPOINT_DTYPE', () =>
      placeTensors(headerOf(mixed), parameters(tiny)),
    );
    expect(message).toContain('configuration: 2 of a dtype other than F32, F16, BF16, F64.');
    expect(message).toContain(`    ${tensors[2]!.name}: I64`);
    expect(message).toContain(`    ${tensors[5]!.name}: I8`);
  });

  it('lists all missing, surplus and misshapen tensors in one error', () => {
    const gone = ['encoder.layer.0.norm1.bias', 'encoder.layer.1.attention.attention.key.weight'];
    const tensors: FileTensor[] = huggingFaceTensors(parameters(tiny))
      .filter(({ name }) => !gone.includes(name))
      .map((tensor) => (tensor.name === 'layernorm.weight' ? { ...tensor, shape: [1, 128] } : tensor));
    tensors.push(
      { name: 'encoder.layer.0.attention.rotary', shape: [4] },
      { name: 'encoder.layer.2.norm1.bias', shape: [128] },
    );
    const message = checkpointError('CHECKPOINT_TENSORS', () =>
      placeTensors(headerOf(tensors), parameters(tiny)),
    );
    expect(message).toBe(
      `checkpoint: The tensors do not match the configuration: 2 missing, 2 surplus, 1 misshapen. The surplus tensors change what the model computes, and this library cannot compute it.
  missing:
    encoder.layer.0.norm1.bias [128]
    encoder.layer.1.attention.attention.key.weight [128, 128]
  surplus:
    encoder.layer.0.attention.rotary [4] (rotary position embeddings, as in DINOv3)
    encoder.layer.2.norm1.bias [128]
  misshapen:
    layernorm.weight: expected [128], found [1, 128]`,
    );
  });

  it('lists missing tensors with the names and the prefix that the file uses', () => {
    const missing = (tensors: readonly Parameter[], without: string, config = tiny) =>
      checkpointError('CHECKPOINT_TENSORS', () =>
        placeTensors(headerOf(tensors.filter(({ name }) => name !== without)), parameters(config)),
      );
    const ours = parameters(tiny).map(({ name, shape }) => ({ name: `backbone.${name}`, shape }));
    expect(missing(ours, 'backbone.blocks.1.attn.qkv.bias')).toContain(
      '    backbone.blocks.1.attn.qkv.bias [384]',
    );
    const memory = inMemory(huggingFaceTensors(parameters(tinySwiglu)));
    for (const name of [
      'encoder.layer.0.mlp.up_proj.weight',
      'encoder.layer.0.attention.k_proj.weight',
      'encoder.layer.1.attention.o_proj.bias',
    ]) {
      expect(missing(memory, name, tinySwiglu)).toContain(`    ${name} [`);
    }
  });

  it('rejects a parameter that is present twice', () => {
    const tensors = huggingFaceTensors(parameters(tiny));
    const twice = (name: string, shape: number[]) =>
      checkpointError('CHECKPOINT_TENSORS', () =>
        placeTensors(headerOf([...tensors, { name, shape }]), parameters(tiny)),
      );
    expect(twice('encoder.layer.0.attention.q_proj.bias', [128])).toMatch(
      /1 duplicate[^]*query\.bias and encoder\.layer\.0\.attention\.q_proj\.bias/,
    );

    const swiglu = huggingFaceTensors(parameters(tinySwiglu));
    const both = headerOf([...swiglu, { name: 'encoder.layer.0.mlp.gate_proj.bias', shape: [344] }]);
    expect(checkpointError('CHECKPOINT_TENSORS', () => placeTensors(both, parameters(tinySwiglu)))).toContain(
      'duplicate',
    );
  });

  it('names the model of the file if its size differs from the configuration', () => {
    const base = headerOf(huggingFaceTensors(parameters(configOf('base'))));
    const message = checkpointError('CHECKPOINT_TENSORS', () =>
      placeTensors(base, parameters(configOf('small'))),
    );
    expect(message).toContain(
      'checkpoint: this file looks like base (embed_dim 768, 12 blocks); the configuration says small (embed_dim 384, 12 blocks). ' +
        'The tensors do not match the configuration: 223 misshapen. Give the config.json that belongs to this file',
    );
    expect(message).toContain('… and 220 more');
    expect(message.length).toBeLessThan(1000);
  });

  it('names other differences: registers, native size, feed-forward, depth', () => {
    const message = (file: DINOv2Config, config: DINOv2Config) =>
      checkpointError('CHECKPOINT_TENSORS', () =>
        placeTensors(headerOf(parameters(file)), parameters(config)),
      );
    expect(message(configOf('small', { registers: true }), configOf('small'))).toContain(
      'looks like small (embed_dim 384, 12 blocks, 4 register tokens); the configuration says small (embed_dim 384, 12 blocks, 0 register tokens)',
    );
    const sizes = message({ ...configOf('small'), imageSize: 224 }, configOf('small'));
    expect(sizes).toContain('image_size 224 (16 × 16 positions)');
    expect(sizes).toContain('    pos_embed: expected [1, 1370, 384], found [1, 257, 384]');
    expect(message(configOf('giant'), configOf('large'))).toContain(
      'looks like giant (embed_dim 1536, 40 blocks, a SwiGLU); the configuration says large (embed_dim 1024, 24 blocks, an MLP)',
    );
    expect(message({ ...tiny, depth: 3 }, tiny)).toContain(
      'a model of an unusual size (embed_dim 128, 3 blocks)',
    );
    expect(message({ ...tiny, hiddenFeatures: 256 }, tiny)).toContain('a hidden layer of 256');
  });

  it('rejects a mixture of naming schemes, and unknown names', () => {
    const mixed = [...huggingFaceTensors(parameters(tiny)), { name: 'cls_token', shape: [1, 1, 128] }];
    const message = checkpointError('CHECKPOINT_NAMING', () =>
      placeTensors(headerOf(mixed), parameters(tiny)),
    );
    expect(message).toMatch(
      /found 43 tensor names of Hugging Face \(embeddings\.cls_token\) and 1 tensor names of facebookresearch \(cls_token\)/,
    );

    const bert = ['a', 'b', 'c', 'd'].map((name) => ({ name: `bert.${name}`, shape: [1] }));
    expect(
      checkpointError('CHECKPOINT_NAMING', () => placeTensors(headerOf(bert), parameters(tiny))),
    ).toContain('found bert.a, bert.b, bert.c, ….');
    expect(
      checkpointError('CHECKPOINT_NAMING', () => placeTensors(headerOf([]), parameters(tiny))),
    ).toContain('found no tensors');
  });

  it.each([
    ['huggingface', huggingFaceTensors(parameters(tiny))],
    ['facebookresearch', parameters(tiny)],
  ] as const)('refuses halves of two models, which have different prefixes: %s', (_, tensors) => {
    for (const [one, two] of [
      ['dinov2.', ''],
      ['', 'backbone.'],
      ['dinov2.', 'backbone.'],
      ['dinov2.', 'dinov2_with_registers.'],
    ] as const) {
      const halves = tensors.map(({ name, shape }, i) => ({ name: (i < 20 ? one : two) + name, shape }));
      const message = checkpointError('CHECKPOINT_NAMING', () =>
        placeTensors(headerOf(halves), parameters(tiny)),
      );
      expect(message).toContain(`${one}${tensors[0]!.name})`);
      expect(message).toContain(`${two}${tensors[20]!.name})`);
      expect(message).toMatch(
        /expected tensor names in one naming convention and with one prefix, found 20 tensor names of .* and \d+ tensor names of /,
      );
      checkpointError('CHECKPOINT_NAMING', () => inspectCheckpoint(headerOf(halves)));
    }
  });

  it('rejects names that almost match', () => {
    for (const name of [
      'blocks.00.norm1.weight',
      'blocks.0.norm1',
      'encoder.layer.00.norm1.weight',
      'encoder.layer.0.layer_scale1.lambda1.weight',
      'encoder.layer.0.norm1',
      'embeddings.cls_token.weight',
      'layernorm.gamma',
      'embeddings.patch_embeddings.norm.weight',
    ]) {
      const base = name.startsWith('blocks') ? parameters(tiny) : huggingFaceTensors(parameters(tiny));
      const header = headerOf([...base, { name, shape: [128] }]);
      expect(checkpointError('CHECKPOINT_TENSORS', () => placeTensors(header, parameters(tiny)))).toContain(
        `1 surplus`,
      );
    }
    for (const name of ['dinov2.dinov2.layernorm.weight', 'pos_embed.weight', '__proto__', 'constructor']) {
      const header = headerOf([...huggingFaceTensors(parameters(tiny)), { name, shape: [128] }]);
      expect(placeTensors(header, parameters(tiny)).setAside).toEqual([name]);
    }
  });

  it.each([
    'module.',
    '_orig_mod.',
    '_orig_mod.module.',
    'model.',
    'teacher.backbone.',
    'base_model.model.dinov2.',
    'encoder.backbone.',
    'aggregator.patch_embed.',
    'vision_encoder.',
    'encoder.',
    'blocks.',
    'layers.0.norm.',
  ])('finds the model with the prefix %s, and leaves out the tensors around it', (prefix) => {
    for (const [dialect, tensors] of [
      ['huggingface', huggingFaceTensors(parameters(tiny))],
      ['facebookresearch', parameters(tiny)],
    ] as const) {
      const beside = [
        { name: 'norm.weight', shape: [7] },
        { name: 'decoder.blocks.0.norm1.weight', shape: [7] },
        { name: 'decoder.cls_token', shape: [1, 1, 7] },
        { name: 'head.layers.0.weight', shape: [7, 7] },
      ];
      const found = placeTensors(
        headerOf([...tensors.map(({ name, shape }) => ({ name: prefix + name, shape })), ...beside]),
        parameters(tiny),
      );
      expect(found).toMatchObject({ dialect, prefix });
      expect(found.setAside).toEqual(beside.map(({ name }) => name));
      expectWhole(found.placements, parameters(tiny));
    }
  });

  it('ignores wrapper names inside a model, and the names that PEFT leaves in a merged layer', () => {
    const wrapped = huggingFaceTensors(parameters(tiny)).map(({ name, shape }) => ({
      name: `_orig_mod.${name
        .replace(/^(encoder\.layer\.\d+)/, '$1._orig_mod')
        .replace('query.weight', 'query.base_layer.weight')}`,
      shape,
    }));
    const found = placeTensors(headerOf(wrapped), parameters(tiny));
    expect(found.prefix).toBe('_orig_mod.');
    expectWhole(found.placements, parameters(tiny));
    const checkpointed = parameters(tiny).map(({ name, shape }) => ({
      name: name.replace(/^(blocks\.\d+)/, '$1._checkpoint_wrapped_module'),
      shape,
    }));
    expectWhole(placeTensors(headerOf(checkpointed), parameters(tiny)).placements, parameters(tiny));
  });

  it('rejects a file with two models unless the option prefix selects one', () => {
    const both = ['student.', 'teacher.'].flatMap((prefix) =>
      parameters(tiny).map(({ name, shape }) => ({ name: `${prefix}backbone.${name}`, shape })),
    );
    for (const run of [
      () => placeTensors(headerOf(both), parameters(tiny)),
      () => inspectCheckpoint(headerOf(both)),
    ])
      expect(checkpointError('CHECKPOINT_NAMING', run)).toMatch(
        /found 2: "student\.backbone\." \(embed_dim 128, 2 blocks\) and "teacher\.backbone\." .*option prefix, such as prefix: "teacher\.backbone\."/,
      );
    for (const prefix of ['teacher.backbone', 'teacher.backbone.']) {
      const found = placeTensors(headerOf(both), parameters(tiny), prefix);
      expect(found.prefix).toBe('teacher.backbone.');
      expect(found.setAside).toHaveLength(parameters(tiny).length);
      expect([...found.placements.keys()].every((name) => name.startsWith('teacher.'))).toBe(true);
    }
    expect(
      checkpointError('CHECKPOINT_NAMING', () => placeTensors(headerOf(both), parameters(tiny), 'ema')),
    ).toBe(
      'prefix: expected the prefix of a DINOv2 model\'s tensor names, found "ema". The file has models with the prefix "student.backbone.", "teacher.backbone.".',
    );
  });

  it('selects the one of two models that matches the configuration', () => {
    const deeper = { ...tiny, depth: 3, embedDim: 192, numHeads: 3, hiddenFeatures: 768 };
    const two = [
      ...parameters(tiny).map(({ name, shape }) => ({ name: `small.${name}`, shape })),
      ...parameters(deeper).map(({ name, shape }) => ({ name: `large.${name}`, shape })),
    ];
    expect(placeTensors(headerOf(two), parameters(tiny)).prefix).toBe('small.');
    expect(placeTensors(headerOf(two), parameters(deeper)).prefix).toBe('large.');
    checkpointError('CHECKPOINT_NAMING', () => inspectCheckpoint(headerOf(two)));
  });

  it('selects a complete model over an incomplete one, and lists the tensors of the latter', () => {
    const half = parameters(tiny).slice(0, 12);
    const tensors = [
      ...half.map(({ name, shape }) => ({ name: `student.${name}`, shape })),
      ...parameters(tiny).map(({ name, shape }) => ({ name: `teacher.${name}`, shape })),
    ];
    const found = placeTensors(headerOf(tensors), parameters(tiny));
    expect(found.prefix).toBe('teacher.');
    expect(found.setAside).toEqual(half.map(({ name }) => `student.${name}`));
  });

  it('rejects an unmerged adapter, with or without its base model, and advises to merge it with PEFT', () => {
    const layers = huggingFaceTensors(parameters(tiny)).map(({ name, shape }) => ({
      name: `base_model.model.${name.replace(/(query)\.(weight|bias)$/, '$1.base_layer.$2')}`,
      shape,
    }));
    const adapter = ['lora_A', 'lora_B'].map((part) => ({
      name: `base_model.model.encoder.layer.0.attention.attention.query.${part}.default.weight`,
      shape: [4, 128],
    }));
    const place = (tensors: readonly Parameter[]) =>
      checkpointError('CHECKPOINT_TENSORS', () => placeTensors(headerOf(tensors), parameters(tiny)));
    expect(place([...layers, ...adapter])).toMatch(/not merged .*merge_and_unload\(\)/);
    expect(place(adapter)).toMatch(/an adapter alone .*needs its base model.*merge_and_unload\(\)/);
    expect(placeTensors(headerOf(layers), parameters(tiny)).prefix).toBe('base_model.model.');
    // An adapter of another part of a larger model is irrelevant.
    const other = { name: 'language_model.layers.0.q_proj.lora_A.weight', shape: [4, 7] };
    expect(placeTensors(headerOf([...layers, other]), parameters(tiny)).setAside).toEqual([other.name]);
    // An adapter of this model, whose names have another prefix than its base model.
    const base = layers.map(({ name, shape }) => ({
      name: name.replace('base_model.model.', 'backbone.'),
      shape,
    }));
    expect(place([...base, ...adapter])).toMatch(/not merged .*base_model\.model\./);
    // An adapter of another model of the file, which is irrelevant.
    const text = 'text.encoder.layer.0.attention.output.dense';
    const bert = [`${text}.weight`, `${text}.lora_A.weight`].map((name) => ({ name, shape: [8, 8] }));
    expect(placeTensors(headerOf([...base, ...bert]), parameters(tiny)).prefix).toBe('backbone.');
  });

  it('leaves out tensors that do not affect the result, and rejects those that do', () => {
    const place = (extra: readonly FileTensor[], base = huggingFaceTensors(parameters(tiny))) =>
      placeTensors(headerOf([...base, ...extra]), parameters(tiny));
    const harmless: FileTensor[] = [
      { name: 'embeddings.position_ids', shape: [1, 26], dtype: 'I64' },
      { name: 'encoder.layer.0.num_batches_tracked', shape: [], dtype: 'I64' },
      { name: 'embeddings.register_tokens', shape: [1, 0, 128] },
      { name: 'image_mean', shape: [3], dtype: 'F64' },
      { name: 'temperature', shape: [] },
      { name: 'héad.wörter', shape: [3] },
    ];
    expect(place(harmless).setAside.toSorted()).toEqual(harmless.map(({ name }) => name).sort());
    for (const [name, why] of [
      ['encoder.layer.0.attention.q_norm.weight', 'inside a block'],
      ['encoder.layer.2.norm1.weight', ''],
      ['embeddings.register_tokens', ''],
      ['rope_embeddings.inv_freq', 'rotary position embeddings'],
    ] as const)
      expect(checkpointError('CHECKPOINT_TENSORS', () => place([{ name, shape: [128] }]))).toMatch(
        new RegExp(`1 surplus[^]*${name} \\[128\\]${why && ` \\(${why}`}`),
      );
    for (const [name, why] of [
      ['blocks.1.attn.q_norm.weight', 'inside a block'],
      ['norm_pre.weight', 'a norm before the blocks'],
      ['fc_norm.weight', 'a norm after the pooling'],
      ['patch_embed.norm.weight', 'in the patch embedding'],
      ['cls_norm.bias', 'a norm for the class token'],
      ['dist_token', 'a distillation token'],
    ] as const)
      expect(
        checkpointError('CHECKPOINT_TENSORS', () => place([{ name, shape: [128] }], parameters(tiny))),
      ).toContain(`${name} [128] (${why}`);
  });

  it.each<[string, SafetensorsDtype, readonly number[]]>([
    ['encoder.layer.0.attention.attention.query.weight_mask', 'I8', [128, 128]],
    ['encoder.layer.0.attention.attention.query.weight_zero_point', 'I32', [128]],
    ['encoder.layer.1.attention.attention.head_mask', 'BOOL', [2]],
    ['encoder.layer.1.attention.attention.active', 'BOOL', [2]],
    ['encoder.layer.1.mlp.fc1.g_idx', 'I32', [128]],
    ['encoder.layer.1.mlp.fc1.weight.quant_map', 'U8', [16]],
    ['embeddings.patch_embeddings.projection.bias_order', 'I64', [128]],
  ])('rejects %s, a tensor of integers that changes a weight', (name, dtype, shape) => {
    const tensors = [...huggingFaceTensors(parameters(tiny)), { name, shape, dtype }];
    expect(
      checkpointError('CHECKPOINT_TENSORS', () => placeTensors(headerOf(tensors), parameters(tiny))),
    ).toMatch(/1 surplus[^]* \(a mask or a parameter of a weight, in/);
  });

  it('explains that models without LayerScale or without qkv biases are not supported', () => {
    const without = (pattern: RegExp, tensors: readonly Parameter[]) =>
      checkpointError('CHECKPOINT_TENSORS', () =>
        placeTensors(headerOf(tensors.filter(({ name }) => !pattern.test(name))), parameters(tiny)),
      );
    for (const tensors of [parameters(tiny), huggingFaceTensors(parameters(tiny))]) {
      expect(without(/ls[12]|layer_scale/, tensors)).toContain('has no LayerScale');
      expect(without(/(qkv|query|key|value)\.bias/, tensors)).toContain(
        'has no biases of query, key and value',
      );
    }
  });

  /** The tensors of a model with the names and shapes that timm writes. */
  const timm = (config: DINOv2Config): Parameter[] =>
    parameters(config)
      .filter(({ name }) => name !== 'mask_token')
      .map(({ name, shape }) => ({
        name: name.replace('register_tokens', 'reg_token').replace('w12', 'fc1').replace('w3', 'fc2'),
        shape: name === 'pos_embed' && config.numRegisterTokens > 0 ? [1, shape[1]! - 1, shape[2]!] : shape,
      }));

  it("reads timm's names: registers, position tables without the class token, the packed SwiGLU", () => {
    for (const config of [
      tiny,
      tinySwiglu,
      { ...tinyRegisters, ffn: 'swiglu', hiddenFeatures: 344 } as const,
    ]) {
      const { placements, dialect, setAside } = placeTensors(headerOf(timm(config)), parameters(config));
      expect(dialect).toBe('timm');
      expect(setAside).toEqual([]);
      const registers = config.numRegisterTokens > 0;
      expect(placements.get('pos_embed')).toEqual({
        parameter: 'pos_embed',
        begin: registers ? 128 : 0,
        shape: [1, registers ? 25 : 26, 128],
      });
      if (registers) expect(placements.get('reg_token')!.parameter).toBe('register_tokens');
      if (config.ffn === 'swiglu') {
        expect(placements.get('blocks.1.mlp.fc1.weight')).toEqual({
          parameter: 'blocks.1.mlp.w12.weight',
          begin: 0,
          shape: [688, 128],
        });
        expect(placements.get('blocks.1.mlp.fc2.bias')!.parameter).toBe('blocks.1.mlp.w3.bias');
      }
      expect(new Set([...placements.values()].map(({ parameter }) => parameter)).size).toBe(
        parameters(config).length - 1,
      );
      const missing = checkpointError('CHECKPOINT_TENSORS', () =>
        placeTensors(
          headerOf(timm(config).filter(({ name }) => !/fc2\.bias|reg_token/.test(name))),
          parameters(config),
        ),
      );
      expect(missing).toContain('    blocks.1.mlp.fc2.bias [128]');
    }
  });

  it('accepts a position table without the class token only from timm models with registers', () => {
    const tensors = timm(tiny).map((tensor) =>
      tensor.name === 'pos_embed' ? { ...tensor, shape: [1, 36, 128] } : tensor,
    );
    expect(inspectCheckpoint(headerOf(tensors))!.grid).not.toBe(6);
    expect(
      checkpointError('CHECKPOINT_TENSORS', () => placeTensors(headerOf(tensors), parameters(tiny))),
    ).toContain('pos_embed: expected [1, 26, 128], found [1, 36, 128]');
  });

  it("reads OpenVLA's name of LayerScale", () => {
    const tensors = timm(tinyRegisters).map(({ name, shape }) => ({
      name: `vision_backbone.featurizer.${name.replace('.gamma', '.scale_factor')}`,
      shape,
    }));
    const { placements } = placeTensors(headerOf(tensors), parameters(tinyRegisters));
    expect(placements.get('vision_backbone.featurizer.blocks.0.ls1.scale_factor')!.parameter).toBe(
      'blocks.0.ls1.gamma',
    );
  });
});

describe('huggingFaceTensors', () => {
  it.each(['plain', 'registers', 'swiglu'])(
    'lists what transformers writes, in its order: tiny-%s',
    (kind) => {
      const { tensors } = parseSafetensors(readFileSync(new URL(`tiny-${kind}/model.safetensors`, fixtures)));
      const listed = huggingFaceTensors(parameters(parseConfig(readJson(`tiny-${kind}/config.json`))));
      expect(listed).toEqual(Array.from(tensors, ([name, { shape }]) => ({ name, shape })));
    },
  );
});

describe('a DINOv3 checkpoint', () => {
  const block = (name: string): FileTensor => ({ name, shape: [64] });
  it.each([
    [
      'Hugging Face',
      ['embeddings.cls_token', 'embeddings.patch_embeddings.weight', 'model.layer.0.layer_scale1.lambda1'],
    ],
    ['facebookresearch', ['cls_token', 'storage_tokens', 'rope_embed.periods', 'blocks.0.ls1.gamma']],
    [
      'timm',
      ['module.cls_token', 'module.reg_token', 'module.blocks.0.gamma_1', 'module.blocks.0.norm1.weight'],
    ],
  ])('with the names of %s is identified in the error', (_, names) => {
    for (const look of [
      () => inspectCheckpoint(headerOf(names.map(block))),
      () => placeTensors(headerOf(names.map(block)), parameters(tiny)),
    ])
      expect(look).toThrow(/found tensor names of a DINOv3 model\. DINOv3 has rotary position/);
  });

  it('is not reported for another vision transformer with similar gammas', () => {
    const beit = ['cls_token', 'pos_embed', 'blocks.0.gamma_1', 'blocks.0.norm1.weight'];
    expect(() => placeTensors(headerOf(beit.map(block)), parameters(tiny))).toThrow(/^(?![^]*DINOv3)/);
  });
});

describe('placeHuggingFace', () => {
  it.each([tiny, tinySwiglu, tinyRegisters, configOf('small'), configOf('giant', { registers: true })])(
    'places what placeTensors places, in the order of the file',
    (config) => {
      const wanted = parameters(config);
      const tensors = huggingFaceTensors(wanted);
      for (const list of [tensors, tensors.toReversed(), tensors.filter(({ name }) => !/mask/.test(name))]) {
        const placed = placeHuggingFace(headerOf(list), wanted);
        expect(placed).toEqual(placeTensors(headerOf(list), wanted));
        expect([...placed!.placements.keys()]).toEqual(list.map(({ name }) => name));
      }
    },
  );

  it('leaves every other file to placeTensors', () => {
    const wanted = parameters(tiny);
    const tensors = huggingFaceTensors(wanted);
    const others = [
      wanted,
      tensors.slice(1),
      [...tensors, { name: 'classifier.weight', shape: [2, 256] }],
      tensors.map(({ name, shape }) => ({ name: `dinov2.${name}`, shape })),
      tensors.map(({ name, shape }, i) => ({ name, shape: i === 3 ? [...shape, 1] : shape })),
      tensors.map((tensor, i) => (i === 3 ? { ...tensor, dtype: 'I8' as const } : tensor)),
    ];
    for (const other of others) expect(placeHuggingFace(headerOf(other), wanted)).toBeUndefined();
  });
});

describe('inspectCheckpoint', () => {
  it('derives the architecture from names and shapes, in every naming scheme', () => {
    const expected = {
      embedDim: 128,
      depth: 2,
      numRegisterTokens: 0,
      hasMaskToken: true,
      ffn: 'swiglu',
      hiddenFeatures: 344,
      patchSize: 14,
      numChannels: 3,
      grid: 5,
      patchPositions: false,
    };
    const onDisk = huggingFaceTensors(parameters(tinySwiglu));
    expect(inspectCheckpoint(headerOf(onDisk))).toEqual({ ...expected, dialect: 'huggingface' });
    expect(inspectCheckpoint(headerOf(inMemory(onDisk)))).toEqual({ ...expected, dialect: 'huggingface' });
    expect(inspectCheckpoint(headerOf(parameters(tinySwiglu)))).toEqual({
      ...expected,
      dialect: 'facebookresearch',
    });
    expect(inspectCheckpoint(headerOf(parameters(tinyRegisters)))?.numRegisterTokens).toBe(4);
  });
});
