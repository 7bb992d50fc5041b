// Reads test/fixtures/families, the tiny checkpoints that scripts/make-fixtures/families.py wrote for docs/guide/checkpoints.md.
import { readdirSync, readFileSync } from 'node:fs';
import { f32ToF16 } from '../../src/numerics/float16.ts';
import { encodeSafetensors, parseSafetensors, type TensorSpec } from '../../src/safetensors.ts';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import type { RawImage } from '../../src/index.ts';

/** Indices of some tokens of a last hidden state. */
interface Tokens {
  readonly numTokens: number;
  readonly tokens: readonly number[];
}

export interface Family {
  readonly name: string;
  readonly examples: readonly string[];
  /** Options of the load. */
  readonly options?: object;
  readonly config: object | null;
  readonly preprocessor: object | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** For each file, a line `type shape name` for every tensor. */
  readonly files: Readonly<Record<string, readonly string[]>>;
  readonly expect?: {
    readonly dialect: string;
    readonly prefix: string;
    readonly setAside?: readonly string[];
    /** Words that the assumptions must contain. An empty list: there must be no assumptions. */
    readonly assumed?: readonly string[];
    readonly preprocessing?: object;
  };
  readonly refused?: { readonly error?: string; readonly code?: string; readonly words: readonly string[] };
  readonly forwards?: readonly (Tokens & { readonly height: number; readonly width: number })[];
  /** Expected results for the image `picture(height, width)`. */
  readonly image?: Tokens & {
    readonly height: number;
    readonly width: number;
    readonly inputHeight: number;
    readonly inputWidth: number;
    /** Options of `features`, for files that do not specify the preprocessing. */
    readonly look?: object;
  };
}

const folder = new URL('../fixtures/families/', import.meta.url);

export const families: readonly Family[] = readdirSync(folder)
  .filter((file) => file.endsWith('.json'))
  .map((file) => ({
    name: file.slice(0, -5),
    ...(JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Omit<Family, 'name'>),
  }));

/** Python's outputs by name. */
export function outputsOf({ name }: Family): ReadonlyMap<string, Float32Array> {
  const bytes = new Uint8Array(readFileSync(new URL(`${name}.safetensors`, folder)));
  return new Map(
    [...parseSafetensors(bytes).tensors].map(([key, { begin, end }]) => [
      key,
      new Float32Array(bytes.slice(begin, end).buffer),
    ]),
  );
}

/** Builds the safetensors files of a family. */
export function weightsOf({ files, metadata }: Family): Uint8Array<ArrayBuffer>[] {
  return Object.values(files).map((lines) =>
    encodeSafetensors(
      lines.map((line) => {
        const [, dtype = '', dimensions = '', name = ''] = /^(\S+) (\S*) (.+)$/.exec(line)!;
        const shape = dimensions === '' ? [] : dimensions.split(',').map(Number);
        const spec = { dtype: dtype as TensorSpec['dtype'], shape };
        return [name, { ...spec, data: dataOf(name, dtype, shape) }] as const;
      }),
      Object.entries(metadata),
    ),
  );
}

/** Names of the files' tensors, in file order. */
export const namesOf = (family: Family): string[] =>
  weightsOf(family).flatMap((file) => [...parseSafetensors(file).tensors.keys()]);

/** Names that replace those of other naming schemes, because the formula for the values knows Hugging Face's names. */
const renamed: readonly (readonly [theirs: RegExp, ours: string])[] = [
  [/\.(gamma|scale_factor)$/, '.lambda1'],
  [/pos_embed$/, 'position_embeddings'],
  [/reg_token$/, 'register_tokens'],
];

/** The values of a tensor, as computed by `by_formula` in families.py. */
function dataOf(name: string, dtype: string, shape: readonly number[]): ArrayBufferView {
  const count = shape.reduce((product, length) => product * length, 1);
  if (dtype === 'I64') return BigInt64Array.from({ length: count }, (_, i) => BigInt(i));
  const formula = renamed.reduce((found, [theirs, ours]) => found.replace(theirs, ours), name);
  const values = count === 0 ? new Float32Array(0) : syntheticTensor(formula, shape);
  if (dtype === 'F32') return values;
  if (dtype === 'F64') return Float64Array.from(values, (value) => value * (1 - 2 ** -30));
  const halves = new Uint16Array(count);
  if (dtype === 'F16') f32ToF16(values, halves);
  else if (dtype === 'BF16') {
    // Rounds to the nearest, ties to even.
    const bits = new Uint32Array(values.buffer);
    for (let i = 0; i < count; i++) halves[i] = (bits[i]! + 0x7fff + ((bits[i]! >>> 16) & 1)) >>> 16;
  } else throw new Error(`expected a known type, found ${dtype}`);
  return halves;
}

/** An image computed with integers only, the same as `picture` in families.py. */
export function picture(height: number, width: number): RawImage {
  const data = new Uint8Array(height * width * 4).fill(255);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const noise = ((x * 7919 + y * 104729 + c * 1299709) >> 3) & 31;
        data[(y * width + x) * 4 + c] = (x * (3 + c) + y * (5 - c) + ((x * y) >> 4) + noise) & 255;
      }
    }
  }
  return { data, width, height };
}
