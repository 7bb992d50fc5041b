// Helpers of the output tests: models, masks and the fixtures of scripts/make-fixtures/make_outputs.py.
import { readFile } from 'node:fs/promises';
import { huggingFaceTensors, type Parameter } from '../../src/weights/huggingFace.ts';
import { encodeSafetensorsHeader, parseSafetensors } from '../../src/safetensors.ts';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import {
  DINOv2,
  ImageClassifier,
  type DINOv2Config,
  type Features,
  type LoadOptions,
  type ModelSize,
} from '../../src/index.ts';
import { configOf } from '../../src/model/config.ts';
import { configJson } from '../../src/model/configJson.ts';
import { parameters } from '../../src/model/parameters.ts';
import { pool } from '../../src/tasks/pooling.ts';
import { maxError } from '../tolerance.ts';

export type Kind = 'plain' | 'registers';
export const CLASSES = 10;

export function tinyConfig(kind: Kind): DINOv2Config {
  return {
    ...configOf('small', { registers: kind === 'registers' }),
    embedDim: 128,
    depth: 5,
    numHeads: 2,
    hiddenFeatures: 512,
    imageSize: 70,
  };
}

/** A safetensors file of synthetic tensors. `formula` is the name that seeds the values; default: the tensor's name. */
export function fileOf(tensors: readonly (Parameter & { readonly formula?: string })[]): Uint8Array {
  const {
    bytes,
    tensors: placed,
    header,
  } = {
    ...encodeSafetensorsHeader(tensors.map(({ name, shape }) => [name, { dtype: 'F32', shape }] as const)),
    tensors,
  };
  const file = new Uint8Array(header.fileBytes);
  file.set(bytes);
  for (const { name, shape, formula } of placed) {
    const { begin } = header.tensors.get(name)!;
    const values = syntheticTensor(formula ?? name, shape);
    file.set(new Uint8Array(values.buffer, 0, values.byteLength), begin);
  }
  return file;
}

/** The files that `save_pretrained` of Hugging Face's Dinov2ForImageClassification writes. */
export function classifierFiles(config: DINOv2Config): { config: object; weights: Uint8Array } {
  const prefix = config.numRegisterTokens > 0 ? 'dinov2_with_registers.' : 'dinov2.';
  const backbone = huggingFaceTensors(parameters(config)).map(({ name, shape }) => ({
    name: prefix + name,
    shape,
    formula: name,
  }));
  const head = [
    { name: 'classifier.weight', shape: [CLASSES, 2 * config.embedDim] },
    { name: 'classifier.bias', shape: [CLASSES] },
  ];
  const id2label = Object.fromEntries(Array.from({ length: CLASSES }, (_, i) => [i, `class ${i}`]));
  return { config: { ...configJson(config), id2label }, weights: fileOf([...head, ...backbone]) };
}

export function loadClassifier(
  size: ModelSize | DINOv2Config,
  kind: Kind,
  options?: LoadOptions,
): Promise<DINOv2> {
  return DINOv2.fromFiles(
    classifierFiles(typeof size === 'string' ? configOf(size, { registers: kind === 'registers' }) : size),
    options,
  );
}

export interface Fixture {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export async function readOutputs(name: string): Promise<Map<string, Fixture>> {
  const bytes = new Uint8Array(
    await readFile(new URL(`../fixtures/outputs/${name}.safetensors`, import.meta.url)),
  );
  return new Map(
    [...parseSafetensors(bytes).tensors].map(([key, { shape, begin, end }]) => [
      key,
      { shape, values: new Float32Array(bytes.slice(begin, end).buffer) },
    ]),
  );
}

export const pixelsOf = (height: number, width: number, batch: number): Float32Array =>
  syntheticTensor(`pixel_values.${height}x${width}`, [batch, 3, height, width]);

/**
 * Masks two of five patches, as `mask` in make_outputs.py: those with u < 0.4 for a uniform u in [0, 1). The synthetic
 * tensor holds (2u - 1)√3.
 */
export function maskOf(height: number, width: number, batch: number): boolean[] {
  const count = batch * Math.floor(height / 14) * Math.floor(width / 14);
  return Array.from(
    syntheticTensor(`mask.${height}x${width}`, [count]),
    (value) => value < -0.2 * Math.sqrt(3),
  );
}

/** The rows of these tokens from every image: (batch, tokens.length, columns). */
export function rowsOf(
  values: Float32Array,
  batch: number,
  tokens: readonly number[],
  columns: number,
): Float32Array {
  const perImage = values.length / batch;
  const out = new Float32Array(batch * tokens.length * columns);
  for (let image = 0; image < batch; image++) {
    tokens.forEach((token, i) =>
      out.set(
        values.subarray(image * perImage + token * columns, image * perImage + (token + 1) * columns),
        (image * tokens.length + i) * columns,
      ),
    );
  }
  return out;
}

/** Indices of the tokens whose rows the fixtures hold: `chosen` in make_outputs.py. */
export function chosen(count: number): number[] {
  if (count >= 97)
    return [...new Set(Array.from({ length: 8 }, (_, i) => Math.floor((i * (count - 1)) / 7)))];
  return [...new Set([0, Math.min(1, count - 1), Math.floor(count / 2), count - 1])].sort((a, b) => a - b);
}

/** The largest error of each compared output, by name. `worst` is the maximum. */
export class Errors {
  readonly byName: Record<string, number> = {};

  note(name: string, found: ArrayLike<number>, expected: Fixture | undefined): void {
    if (!expected) throw new Error(`${name} is not in the fixture`);
    this.byName[name] = maxError(found, expected.values);
  }

  get worst(): number {
    return Math.max(0, ...Object.values(this.byName)); // NaN if any is NaN
  }

  /** The largest error of each kind of output, such as `hidden 1.2e-6, norm 9.0e-7`. */
  toString(): string {
    const kinds = new Map<string, number>();
    for (const [name, error] of Object.entries(this.byName)) {
      const [kind] = name.split('.');
      kinds.set(kind!, Math.max(kinds.get(kind!) ?? 0, error));
    }
    return [...kinds].map(([kind, error]) => `${kind} ${error.toExponential(1)}`).join(', ');
  }
}

/** Size of a synthetic input. */
export interface Case {
  readonly height: number;
  readonly width: number;
  readonly batch: number;
}

const inputOf = ({ height, width, batch }: Case): Float32Array => pixelsOf(height, width, batch);
const fixtureOf = (name: string, { height, width, batch }: Case): Promise<Map<string, Fixture>> =>
  readOutputs(`${name}.${height}x${width}.b${batch}`);

/** The numbers i for which the fixture has tensors `kind.i`. */
const indices = (expected: ReadonlyMap<string, Fixture>, kind: string): number[] => [
  ...new Set(
    [...expected.keys()].flatMap((key) => (key.startsWith(`${kind}.`) ? [Number(key.split('.')[1])] : [])),
  ),
];

/**
 * Fixtures whose rows are shorter than the model's hold every seventh channel: `thin` in make_outputs.py.
 */
const COLUMN_STEP = 7;

/**
 * The part of tokens (batch, count, embedDim) that the fixture holds: chosen rows, with all or every seventh channel.
 */
function stored(
  values: Float32Array,
  { batch }: Case,
  embedDim: number,
  expected: Fixture | undefined,
): Float32Array {
  const count = values.length / batch / embedDim;
  return thin(rowsOf(values, batch, chosen(count), embedDim), embedDim, expected);
}

function thin(values: Float32Array, embedDim: number, expected: Fixture | undefined): Float32Array {
  return expected?.shape.at(-1) === embedDim
    ? values
    : values.filter((_, i) => (i % embedDim) % COLUMN_STEP === 0);
}

/** A forward that keeps all layers and attentions, so that several comparisons can share it. */
export function forwardOf(model: DINOv2, size: Case): Promise<Features> {
  const { depth } = model.config;
  return model.forward(inputOf(size), size, {
    layers: Array.from({ length: depth + 1 }, (_, i) => i),
    attentions: Array.from({ length: depth }, (_, i) => i),
  });
}

/**
 * Compares a forward with all outputs in a fixture of Hugging Face. Default: a forward that keeps only the outputs
 * that the fixture needs.
 */
export async function compareHuggingFace(
  model: DINOv2,
  name: string,
  size: Case,
  given?: Features,
): Promise<Errors> {
  const expected = await fixtureOf(`hf.${name}`, size);
  const { depth, embedDim } = model.config;
  const { batch } = size;
  const errors = new Errors();
  const layers = [...indices(expected, 'hidden'), ...indices(expected, 'norm')];
  using own = given
    ? undefined
    : await model.forward(inputOf(size), size, { layers, attentions: indices(expected, 'attention') });
  const features = given ?? own!;
  const note = (key: string, values: Float32Array): void =>
    errors.note(key, stored(values, size, embedDim, expected.get(key)), expected.get(key));

  note('last', await features.lastHiddenState());
  for (const layer of indices(expected, 'hidden')) note(`hidden.${layer}`, await features.hiddenState(layer));
  for (const layer of indices(expected, 'norm'))
    note(`norm.${layer}`, await features.hiddenState(layer, { norm: true }));
  for (const [key, fixture] of expected) {
    const [kind, layer, whole] = key.split('.');
    if (kind === 'attention')
      errors.note(
        key,
        await attentionRows(features, Number(layer), whole ? 'all' : fixture.shape[2]!),
        fixture,
      );
  }
  if (expected.has('pooler')) errors.note('pooler', await features.poolerOutput(), expected.get('pooler'));
  if (expected.has('logits'))
    errors.note('logits', joined(await model.classifier!.logits(features)), expected.get('logits'));
  await poolings(features, expected, errors);
  if (expected.has('masked')) {
    using masked = await model.forward(inputOf(size), size, {
      maskedPatches: maskOf(size.height, size.width, batch),
    });
    note('masked', await masked.lastHiddenState());
  }
  if (features.depth !== depth) throw new Error(`expected ${depth} blocks, found ${features.depth}`);
  return errors;
}

/** Synthetic 1- and 4-layer heads in facebookresearch's format, loaded from separate files. */
export function headsOf(model: DINOv2): Promise<ImageClassifier[]> {
  const head = (blocks: number): Promise<ImageClassifier> => {
    const weight = {
      name: 'linear.weight',
      formula: 'linear_head.weight',
      shape: [CLASSES, (blocks + 1) * model.config.embedDim],
    };
    return ImageClassifier.fromFiles(model, {
      weights: fileOf([weight, { name: 'linear.bias', formula: 'linear_head.bias', shape: [CLASSES] }]),
    });
  };
  return Promise.all([head(1), head(4)]);
}

/**
 * Compares a forward with all outputs in a fixture of facebookresearch's code. Default: a forward that keeps only the
 * outputs that the fixture needs.
 */
export async function compareFacebook(
  model: DINOv2,
  heads: readonly ImageClassifier[],
  name: string,
  size: Case,
  given?: Features,
): Promise<Errors> {
  const expected = await fixtureOf(`fb.${name}`, size);
  const { depth, embedDim } = model.config;
  const errors = new Errors();
  const lists = indices(expected, 'list');
  const blocks = lists.length === depth ? lists : [1, depth - 2];
  const last = Number([...expected.keys()].find((key) => key.startsWith('last'))!.slice(4, 5));
  const layers = [...blocks, ...Array.from({ length: last }, (_, k) => depth - last + k)].map(
    (block) => block + 1,
  );
  using own = given
    ? undefined
    : await model.forward(inputOf(size), size, {
        layers: [...layers, ...heads.flatMap((head) => head.layers)],
      });
  const features = given ?? own!;
  const note = (key: string, values: Float32Array): void =>
    errors.note(key, stored(values, size, embedDim, expected.get(key)), expected.get(key));
  const noteCls = (key: string, values: Float32Array): void =>
    errors.note(key, thin(values, embedDim, expected.get(key)), expected.get(key));

  if (expected.has('cls')) noteCls('cls', await features.clsToken());
  if (expected.has('patches')) note('patches', await features.patchTokens());
  for (const [k, [patches, cls]] of (
    await features.getIntermediateLayers(last, { returnClassToken: true })
  ).entries()) {
    note(`last${last}.${k}.patches`, patches);
    noteCls(`last${last}.${k}.cls`, cls);
  }
  if (lists.length > 0) {
    const reshape = expected.get('list.0')!.shape.length === 4;
    // Results follow the order of the blocks, not the order of the request.
    for (const [k, patches] of (
      await features.getIntermediateLayers([...blocks].reverse(), { reshape, norm: false })
    ).entries()) {
      if (reshape)
        errors.note(
          `list.${k}`,
          thinPlanes(patches, features.rows * features.cols, embedDim, expected.get(`list.${k}`)!),
          expected.get(`list.${k}`),
        );
      else note(`list.${k}`, patches);
    }
  }
  if (expected.has('masked.cls')) {
    using masked = await model.forward(inputOf(size), size, {
      maskedPatches: Uint8Array.from(maskOf(size.height, size.width, size.batch), Number),
    });
    noteCls('masked.cls', await masked.clsToken());
    note('masked.patches', await masked.patchTokens());
  }
  for (const head of heads)
    errors.note(
      `logits.${head.blocks}`,
      joined(await head.logits(features)),
      expected.get(`logits.${head.blocks}`),
    );
  return errors;
}

/** The channels of (batch, embedDim, patches) that the fixture holds. */
function thinPlanes(
  values: Float32Array,
  patches: number,
  embedDim: number,
  expected: Fixture,
): Float32Array {
  return expected.shape[1] === embedDim
    ? values
    : values.filter((_, i) => (Math.floor(i / patches) % embedDim) % COLUMN_STEP === 0);
}

async function poolings(
  features: Features,
  expected: ReadonlyMap<string, Fixture>,
  errors: Errors,
): Promise<void> {
  const { batch, numTokens, numRegisterTokens, embedDim } = features;
  const tokens = await features.lastHiddenState();
  for (const pooling of ['mean', 'gem'] as const) {
    if (!expected.has(pooling)) continue;
    errors.note(
      pooling,
      joined(pool({ tokens, batch, numTokens, numRegisterTokens, embedDim }, pooling)),
      expected.get(pooling),
    );
  }
}

/**
 * Attention (batch, heads, queries, numTokens) for all queries, for cls only, or for cls, the token after cls and the
 * last token.
 */
async function attentionRows(
  features: Features,
  layer: number,
  queries: 'all' | number,
): Promise<Float32Array> {
  const { batch, numHeads, numTokens, numRegisterTokens, rows, cols } = features;
  const parts: Float32Array[] = [];
  for (let batchIndex = 0; batchIndex < batch; batchIndex++) {
    if (queries === 'all' || numTokens === 2) {
      parts.push(await features.attention(layer, { query: 'all', batchIndex }));
      continue;
    }
    const second = numRegisterTokens > 0 ? { register: 0 } : { row: 0, col: 0 };
    const asked =
      queries === 1 ? (['cls'] as const) : (['cls', second, { row: rows - 1, col: cols - 1 }] as const);
    for (let head = 0; head < numHeads; head++) {
      for (const query of asked) parts.push(await features.attention(layer, { query, head, batchIndex }));
    }
  }
  return joined(parts);
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
