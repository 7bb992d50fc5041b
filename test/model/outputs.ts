// What the tests of outputs share: models, masks and fixtures of scripts/make-fixtures/make_outputs.py.
import { readFile } from 'node:fs/promises';
import { huggingFaceTensors, type Parameter } from '../../src/checkpoint/names.ts';
import { encodeSafetensorsHeader, parseSafetensors } from '../../src/checkpoint/safetensors.ts';
import { syntheticTensor } from '../../src/checkpoint/synthetic.ts';
import { DINOv2, type DINOv2Config, type Features, type LoadOptions, type ModelSize } from '../../src/index.ts';
import { configJson, configOf } from '../../src/model/config.ts';
import { parameters } from '../../src/model/parameters.ts';
import { maxError } from '../tolerance.ts';

export type Kind = 'plain' | 'registers';
export const CLASSES = 10;

export function tinyConfig(kind: Kind): DINOv2Config {
  return { ...configOf('small', { registers: kind === 'registers' }), embedDim: 128, depth: 5, numHeads: 2, hiddenFeatures: 512, imageSize: 70 };
}

/** A safetensors file of tensors by formula: its names, and the names that the formula takes. */
export function fileOf(tensors: readonly (Parameter & { readonly formula?: string })[]): Uint8Array {
  const { bytes, tensors: placed, header } = { ...encodeSafetensorsHeader(tensors.map(({ name, shape }) => [name, { dtype: 'F32', shape }] as const)), tensors };
  const file = new Uint8Array(header.fileBytes);
  file.set(bytes);
  for (const { name, shape, formula } of placed) {
    const { begin } = header.tensors.get(name)!;
    const values = syntheticTensor(formula ?? name, shape);
    file.set(new Uint8Array(values.buffer, 0, values.byteLength), begin);
  }
  return file;
}

/** Hugging Face's Dinov2ForImageClassification, as its `save_pretrained` writes it. */
export function classifierFiles(config: DINOv2Config): { config: object; weights: Uint8Array } {
  const prefix = config.numRegisterTokens > 0 ? 'dinov2_with_registers.' : 'dinov2.';
  const backbone = huggingFaceTensors(parameters(config)).map(({ name, shape }) => ({ name: prefix + name, shape, formula: name }));
  const head = [
    { name: 'classifier.weight', shape: [CLASSES, 2 * config.embedDim] },
    { name: 'classifier.bias', shape: [CLASSES] },
  ];
  const id2label = Object.fromEntries(Array.from({ length: CLASSES }, (_, i) => [i, `class ${i}`]));
  return { config: { ...configJson(config), id2label }, weights: fileOf([...head, ...backbone]) };
}

export function loadClassifier(size: ModelSize | DINOv2Config, kind: Kind, options?: LoadOptions): Promise<DINOv2> {
  return DINOv2.fromFiles(classifierFiles(typeof size === 'string' ? configOf(size, { registers: kind === 'registers' }) : size), options);
}

export interface Fixture {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export async function readOutputs(name: string): Promise<Map<string, Fixture>> {
  const bytes = new Uint8Array(await readFile(new URL(`../fixtures/outputs/${name}.safetensors`, import.meta.url)));
  return new Map([...parseSafetensors(bytes).tensors].map(([key, { shape, begin, end }]) => [key, { shape, values: new Float32Array(bytes.slice(begin, end).buffer) }]));
}

export const pixelsOf = (height: number, width: number, batch: number): Float32Array => syntheticTensor(`pixel_values.${height}x${width}`, [batch, 3, height, width]);

/** Two patches in five, as `mask` in make_outputs.py: u < 0.4 of a uniform u, which the formula spreads to (2u - 1)√3. */
export function maskOf(height: number, width: number, batch: number): boolean[] {
  const count = batch * Math.floor(height / 14) * Math.floor(width / 14);
  return Array.from(syntheticTensor(`mask.${height}x${width}`, [count]), (value) => value < -0.2 * Math.sqrt(3));
}

/** Rows of `tokens` of every image: (batch, tokens.length, columns). */
export function rowsOf(values: Float32Array, batch: number, tokens: readonly number[], columns: number): Float32Array {
  const perImage = values.length / batch;
  const out = new Float32Array(batch * tokens.length * columns);
  for (let image = 0; image < batch; image++) {
    tokens.forEach((token, i) => out.set(values.subarray(image * perImage + token * columns, image * perImage + (token + 1) * columns), (image * tokens.length + i) * columns));
  }
  return out;
}

/** The tokens of which rows are stored: `chosen` in make_outputs.py. */
export function chosen(count: number): number[] {
  if (count >= 97) return [...new Set(Array.from({ length: 8 }, (_, i) => Math.floor((i * (count - 1)) / 7)))];
  return [...new Set([0, Math.min(1, count - 1), Math.floor(count / 2), count - 1])].sort((a, b) => a - b);
}

/** Largest distances by name of what was compared; `worst` of all. */
export class Errors {
  readonly byName: Record<string, number> = {};

  note(name: string, found: ArrayLike<number>, expected: Fixture | undefined): void {
    if (!expected) throw new Error(`${name} is not in the fixture`);
    this.byName[name] = maxError(found, expected.values);
  }

  get worst(): number {
    return Object.values(this.byName).reduce((most, error) => (error <= most ? most : error), 0);
  }

  /** `hidden 1.2e-6, norm …`: the worst of each kind. */
  toString(): string {
    const kinds = new Map<string, number>();
    for (const [name, error] of Object.entries(this.byName)) {
      const [kind] = name.split('.');
      kinds.set(kind!, Math.max(kinds.get(kind!) ?? 0, error));
    }
    return [...kinds].map(([kind, error]) => `${kind} ${error.toExponential(1)}`).join(', ');
  }
}

/** Compares a forward with all that a file of Hugging Face's outputs holds. */
export async function compareHuggingFace(model: DINOv2, name: string, height: number, width: number, batch: number): Promise<Errors> {
  const expected = await readOutputs(`hf.${name}.${height}x${width}.b${batch}`);
  const { depth, embedDim } = model.config;
  const errors = new Errors();
  const indices = (kind: string): number[] => [...expected.keys()].flatMap((key) => (key.startsWith(`${kind}.`) ? [Number(key.split('.')[1])] : []));
  const layers = [...indices('hidden'), ...indices('norm')];
  using features = await model.forward(pixelsOf(height, width, batch), { height, width, batch }, { layers, attentions: indices('attention') });
  const { numTokens } = features;
  const rows = chosen(numTokens);
  const pick = (values: Float32Array): Float32Array => rowsOf(values, batch, rows, embedDim);

  errors.note('last', pick(await features.lastHiddenState()), expected.get('last'));
  for (const layer of indices('hidden')) errors.note(`hidden.${layer}`, pick(await features.hiddenState(layer)), expected.get(`hidden.${layer}`));
  for (const layer of indices('norm')) errors.note(`norm.${layer}`, pick(await features.hiddenState(layer, { norm: true })), expected.get(`norm.${layer}`));
  for (const [key, fixture] of expected) {
    const [kind, layer, whole] = key.split('.');
    if (kind === 'attention') errors.note(key, await attentionRows(features, Number(layer), whole ? 'all' : fixture.shape[2]!), fixture);
  }
  if (expected.has('pooler')) errors.note('pooler', await features.poolerOutput(), expected.get('pooler'));
  if (expected.has('logits')) errors.note('logits', (await model.classifier!.logits(features)).flatMap((logits) => [...logits]), expected.get('logits'));
  await poolings(features, expected, errors);
  if (expected.has('masked')) {
    using masked = await model.forward(pixelsOf(height, width, batch), { height, width, batch }, { maskedPatches: maskOf(height, width, batch) });
    errors.note('masked', pick(await masked.lastHiddenState()), expected.get('masked'));
  }
  expectDepth(features, depth);
  return errors;
}

function expectDepth(features: Features, depth: number): void {
  if (features.depth !== depth) throw new Error(`expected ${depth} blocks, found ${features.depth}`);
}

async function poolings(features: Features, expected: ReadonlyMap<string, Fixture>, errors: Errors): Promise<void> {
  const { pool } = await import('../../src/tasks/pooling.ts');
  const { batch, numTokens, numRegisterTokens, embedDim } = features;
  const tokens = await features.lastHiddenState();
  for (const pooling of ['mean', 'gem'] as const) {
    if (!expected.has(pooling)) continue;
    errors.note(pooling, pool({ tokens, batch, numTokens, numRegisterTokens, embedDim }, pooling).flatMap((vector) => [...vector]), expected.get(pooling));
  }
}

/** (batch, heads, queries, numTokens) of the queries cls, the token after it and the last; of all; or of cls alone. */
async function attentionRows(features: Features, layer: number, queries: 'all' | number): Promise<Float32Array> {
  const { batch, numHeads, numTokens, numRegisterTokens, rows, cols } = features;
  const parts: Float32Array[] = [];
  for (let batchIndex = 0; batchIndex < batch; batchIndex++) {
    if (queries === 'all' || numTokens === 2) {
      parts.push(await features.attention(layer, { query: 'all', batchIndex }));
      continue;
    }
    const second = numRegisterTokens > 0 ? { register: 0 } : { row: 0, col: 0 };
    const asked = queries === 1 ? (['cls'] as const) : (['cls', second, { row: rows - 1, col: cols - 1 }] as const);
    for (let head = 0; head < numHeads; head++) {
      for (const query of asked) parts.push(await features.attention(layer, { query, head, batchIndex }));
    }
  }
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
