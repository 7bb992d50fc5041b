import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  huggingFaceTensors,
  inspectCheckpoint,
  placeTensors,
  type Parameter,
  type Placement,
} from '../../src/checkpoint/names.js';
import {
  encodeSafetensorsHeader,
  parseSafetensors,
  type SafetensorsDtype,
} from '../../src/checkpoint/safetensors.js';
import { CheckpointError } from '../../src/errors.js';
import { configOf, parseConfig, type DINOv2Config } from '../../src/model/config.js';
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

/** The same tensors as transformers 5 has them in memory. */
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

/** Checks that placements cover every row of every parameter once. */
function expectWhole(placements: ReadonlyMap<string, Placement>, wanted: readonly Parameter[]): void {
  const rows = new Map<string, [begin: number, end: number][]>();
  for (const { parameter, rowBegin, rows: count } of placements.values()) {
    rows.set(parameter, [...(rows.get(parameter) ?? []), [rowBegin, rowBegin + count]]);
  }
  expect([...rows.keys()].sort()).toEqual(wanted.map(({ name }) => name).sort());
  for (const { name, shape } of wanted) {
    let at = 0;
    for (const [begin, end] of rows.get(name)!.sort(([a], [b]) => a - b)) {
      expect(begin, name).toBe(at);
      at = end;
    }
    expect(at, name).toBe(shape[0]);
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
  throw new Error(`expected ${code}, and nothing was thrown`);
}

describe('placeTensors', () => {
  it.each(['plain', 'registers', 'swiglu'])(
    'places every tensor of a file that transformers wrote: tiny-%s',
    (kind) => {
      const header = parseSafetensors(readFileSync(new URL(`tiny-${kind}/model.safetensors`, fixtures)));
      const wanted = parameters(parseConfig(readJson(`tiny-${kind}/config.json`)));
      const { placements, ignored, dialect } = placeTensors(header, wanted);
      expect(dialect).toBe('huggingface');
      expect(ignored).toEqual([]);
      expect([...placements.keys()]).toEqual([...header.tensors.keys()]);
      expectWhole(placements, wanted);
      for (const [name, { shape }] of placements) expect(shape).toEqual(header.tensors.get(name)!.shape);
    },
  );

  it('puts query, key and value into the rows of qkv', () => {
    const { placements } = placeTensors(headerOf(huggingFaceTensors(parameters(tiny))), parameters(tiny));
    const at = (name: string) => placements.get(`encoder.layer.1.attention.attention.${name}`);
    const weight = { parameter: 'blocks.1.attn.qkv.weight', rows: 128, shape: [128, 128] };
    expect(at('query.weight')).toEqual({ ...weight, rowBegin: 0 });
    expect(at('key.weight')).toEqual({ ...weight, rowBegin: 128 });
    expect(at('value.weight')).toEqual({ ...weight, rowBegin: 256 });
    expect(at('value.bias')).toEqual({
      parameter: 'blocks.1.attn.qkv.bias',
      rowBegin: 256,
      rows: 128,
      shape: [128],
    });
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
    const part = { parameter: 'blocks.0.mlp.w12.weight', rows: 344, shape: [344, 128] };
    expect(placements.get('encoder.layer.0.mlp.gate_proj.weight')).toEqual({ ...part, rowBegin: 0 });
    expect(placements.get('encoder.layer.0.mlp.up_proj.weight')).toEqual({ ...part, rowBegin: 344 });
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

  it('passes over heads and says so', () => {
    const head = [
      { name: 'classifier.weight', shape: [1000, 256] },
      { name: 'classifier.bias', shape: [1000] },
    ];
    const prefixed = huggingFaceTensors(parameters(tiny)).map(({ name, shape }) => ({
      name: `dinov2.${name}`,
      shape,
    }));
    expect(placeTensors(headerOf([...prefixed, ...head]), parameters(tiny)).ignored).toEqual([
      'classifier.weight',
      'classifier.bias',
    ]);
    const linear = [
      ...parameters(tiny),
      { name: 'linear_head.weight', shape: [1000, 256], dtype: 'I64' as const },
    ];
    expect(placeTensors(headerOf(linear), parameters(tiny)).ignored).toEqual(['linear_head.weight']);
  });

  it('does without the mask token', () => {
    const tensors = huggingFaceTensors(parameters(tiny)).filter(
      ({ name }) => name !== 'embeddings.mask_token',
    );
    const { placements } = placeTensors(headerOf(tensors), parameters(tiny));
    expectWhole(
      placements,
      parameters(tiny).filter(({ name }) => name !== 'mask_token'),
    );
  });

  it('takes F16 and BF16, and lists all other element types', () => {
    const tensors: FileTensor[] = huggingFaceTensors(parameters(tiny));
    const typed = (dtype: SafetensorsDtype) => headerOf(tensors.map((tensor) => ({ ...tensor, dtype })));
    for (const dtype of ['F16', 'BF16'] as const)
      expect(placeTensors(typed(dtype), parameters(tiny)).placements.size).toBe(tensors.length);

    const mixed = tensors.map((tensor, i) => ({
      ...tensor,
      dtype: i === 2 ? ('F64' as const) : i === 5 ? ('I8' as const) : ('F16' as const),
    }));
    const message = checkpointError('CHECKPOINT_DTYPE', () =>
      placeTensors(headerOf(mixed), parameters(tiny)),
    );
    expect(message).toContain('found 2 of a dtype other than F32, F16, BF16.');
    expect(message).toContain(`    ${tensors[2]!.name}: F64`);
    expect(message).toContain(`    ${tensors[5]!.name}: I8`);
  });

  it('lists everything that is missing, surplus and misshapen, at once', () => {
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
      `checkpoint: Expected the tensors of the configuration, found 2 missing, 2 surplus, 1 misshapen. Take the file again from where it was published, or save it from the model that the configuration describes.
  missing:
    encoder.layer.0.norm1.bias [128]
    encoder.layer.1.attention.attention.key.weight [128, 128]
  surplus:
    encoder.layer.0.attention.rotary [4]
    encoder.layer.2.norm1.bias [128]
  misshapen:
    layernorm.weight: expected [128], found [1, 128]`,
    );
  });

  it('names missing tensors in the spelling and with the prefix of the file', () => {
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

  it('refuses a parameter that is there twice', () => {
    const tensors = huggingFaceTensors(parameters(tiny));
    const twice = (name: string, shape: number[]) =>
      checkpointError('CHECKPOINT_TENSORS', () =>
        placeTensors(headerOf([...tensors, { name, shape }]), parameters(tiny)),
      );
    expect(twice('encoder.layer.0.attention.q_proj.bias', [128])).toMatch(
      /1 there twice[^]*query\.bias and encoder\.layer\.0\.attention\.q_proj\.bias/,
    );

    const swiglu = huggingFaceTensors(parameters(tinySwiglu));
    const both = headerOf([...swiglu, { name: 'encoder.layer.0.mlp.gate_proj.bias', shape: [344] }]);
    expect(checkpointError('CHECKPOINT_TENSORS', () => placeTensors(both, parameters(tinySwiglu)))).toContain(
      'there twice',
    );
  });

  it('says which model the file is when it is of another size', () => {
    const base = headerOf(huggingFaceTensors(parameters(configOf('base'))));
    const message = checkpointError('CHECKPOINT_TENSORS', () =>
      placeTensors(base, parameters(configOf('small'))),
    );
    expect(message).toContain(
      'checkpoint: this file looks like base (embed_dim 768, 12 blocks); the configuration says small (embed_dim 384, 12 blocks). ' +
        'Expected the tensors of the configuration, found 223 misshapen. Give the config.json that belongs to this file',
    );
    expect(message).toContain('… and 220 more');
    expect(message.length).toBeLessThan(1000);
  });

  it('says what else differs: registers, native size, feed-forward, depth', () => {
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
      'a model of another size (embed_dim 128, 3 blocks)',
    );
    expect(message({ ...tiny, hiddenFeatures: 256 }, tiny)).toContain('a hidden layer of 256');
  });

  it('refuses a mixture of dialects, and names of neither', () => {
    const mixed = [...huggingFaceTensors(parameters(tiny)), { name: 'cls_token', shape: [1, 1, 128] }];
    const message = checkpointError('CHECKPOINT_NAMING', () =>
      placeTensors(headerOf(mixed), parameters(tiny)),
    );
    expect(message).toMatch(
      /found 43 of Hugging Face \(embeddings\.cls_token\) and 1 of facebookresearch \(cls_token\)/,
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
      expect(message).toMatch(/expected names of one dialect and one prefix, found 20 of .* and \d+ of /);
      expect(inspectCheckpoint(headerOf(halves))).toBeUndefined();
    }
  });

  it('is not fooled by names that almost fit', () => {
    for (const name of [
      'blocks.00.norm1.weight',
      'blocks.0.norm1',
      'encoder.layer.00.norm1.weight',
      'encoder.layer.0.layer_scale1.lambda1.weight',
      'encoder.layer.0.norm1',
      'dinov2.dinov2.layernorm.weight',
      'pos_embed.weight',
      '__proto__',
      'constructor',
    ]) {
      const base = name.startsWith('blocks') ? parameters(tiny) : huggingFaceTensors(parameters(tiny));
      const header = headerOf([...base, { name, shape: [128] }]);
      expect(checkpointError('CHECKPOINT_TENSORS', () => placeTensors(header, parameters(tiny)))).toContain(
        `1 surplus`,
      );
    }
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

describe('inspectCheckpoint', () => {
  it('reads the architecture off names and shapes, in every spelling', () => {
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
