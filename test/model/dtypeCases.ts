// Helpers of the element type tests: devices for every weight storage, checkpoint files and error measures.
import { huggingFaceTensors } from '../../src/weights/huggingFace.ts';
import { encodeSafetensorsHeader } from '../../src/safetensors.ts';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import type { Dtype } from '../../src/weights/precision.ts';
import { configOf, type DINOv2Config } from '../../src/model/config.ts';
import { parameters } from '../../src/model/parameters.ts';
import { requestAdapter } from '../../src/gpu/adapter.ts';
import { sharedDevice, sharedGpu } from '../gpu/sharedDevice.ts';
import { minCosine } from '../tolerance.ts';

/**
 * Lowest allowed cosine with fp16 weights. fp16 has 11 significant bits: each sum has a relative error of some 2e-4,
 * and the cosine of a token is off by a few times the square of that.
 */
export const FP16_MIN_COSINE = 0.99999;
/** Lowest allowed cosine with int8 weights, which have 8 bits for the largest weight of a row: 4e-3 of a sum. */
export const INT8_MIN_COSINE = 0.9995;

/**
 * Allowed error relative to the largest element of a token, which is 1389. The step of f32 there is 1.2e-4, or 9e-8
 * of the element. The error of transformers in float32 is two steps, 1.8e-7; a GPU may round in another order, so
 * about twice that is allowed.
 */
export const MASSIVE_FP32_RELATIVE = 4e-7;

export const minCosineOf = (dtype: Dtype): number => (dtype === 'int8' ? INT8_MIN_COSINE : FP16_MIN_COSINE);

/** A weight storage, and a device on which the library selects it. Several ways may share a device. */
export interface Way {
  readonly label: string;
  readonly dtype: Dtype;
  readonly device: GPUDevice;
  readonly storage: string;
}

const shared = async ([half]: GPUFeatureName[]): Promise<GPUDevice> =>
  half ? (await sharedGpu()).device : sharedDevice();

/** Ways for int8, for f16 packed in u32, and for f16 if the adapter has shader-f16. */
export async function ways(open = shared): Promise<Way[]> {
  const found: Way[] = [];
  const add = (dtype: Dtype, storage: string, device: GPUDevice): void =>
    void found.push({ label: `${dtype} (${storage})`, dtype, device, storage });
  const { features } = await requestAdapter();
  const plain = await open([]);
  add('fp16', 'f16-packed', plain);
  if (features.has('shader-f16')) add('fp16', 'f16', await open(['shader-f16']));
  add('int8', 'int8', plain);
  return found;
}

/** A change of one element of a tensor in a file. */
export interface Edit {
  readonly name: string;
  readonly index: number;
  readonly value: number;
}

/** The file of a synthetic checkpoint, with some elements changed. */
export function checkpointBytes(config: DINOv2Config, edits: readonly Edit[] = []): Uint8Array<ArrayBuffer> {
  const tensors = huggingFaceTensors(parameters(config));
  const { bytes, header } = encodeSafetensorsHeader(
    tensors.map(({ name, shape }) => [name, { dtype: 'F32', shape }] as const),
  );
  const file = new Uint8Array(header.fileBytes);
  file.set(bytes);
  for (const { name, shape } of tensors) {
    const values = syntheticTensor(name, shape);
    for (const { index, value } of edits.filter((edit) => edit.name === name)) values[index] = value;
    file.set(new Uint8Array(values.buffer), header.tensors.get(name)!.begin);
  }
  return file;
}

/** The channels with massive values in every token of the models of test/fixtures/massive. */
export const MASSIVE_CHANNELS = [5, 17, 90] as const;

export function massiveModel(kind: 'plain' | 'registers' | 'swiglu'): {
  config: DINOv2Config;
  edits: Edit[];
} {
  const ffn = kind === 'swiglu' ? 'swiglu' : 'mlp';
  const config: DINOv2Config = {
    ...configOf('small', { registers: kind === 'registers' }),
    embedDim: 128,
    numHeads: 2,
    depth: 4,
    imageSize: 70,
    ffn,
    hiddenFeatures: ffn === 'swiglu' ? 344 : 512,
  };
  const second = `encoder.layer.1.mlp.${ffn === 'swiglu' ? 'weights_out' : 'fc2'}.bias`;
  const edits = [
    { name: 'encoder.layer.0.attention.output.dense.bias', index: 17, value: 3000 },
    { name: second, index: 5, value: -2000 },
    { name: second, index: 90, value: 900 },
  ];
  return { config, edits };
}

/**
 * The smallest cosine of a token with the expected token: of all channels (`whole`), and without the massive channels
 * (`quiet`), which would hide the errors of the others.
 */
export function cosines(
  found: Float32Array,
  expected: Float32Array,
  columns: number,
): { whole: number; quiet: number } {
  const quiet = (values: Float32Array): Float32Array =>
    values.map((value, i) => (MASSIVE_CHANNELS.includes((i % columns) as 5) ? 0 : value));
  return {
    whole: minCosine(found, expected, columns),
    quiet: minCosine(quiet(found), quiet(expected), columns),
  };
}

/** The largest absolute error of an element, relative to the largest element of its token. */
export function maxRelativeError(found: Float32Array, expected: Float32Array, columns: number): number {
  let worst = 0;
  for (let row = 0; row < expected.length; row += columns) {
    let [largest, error] = [0, 0];
    for (let i = row; i < row + columns; i++) {
      largest = Math.max(largest, Math.abs(expected[i]!));
      error = Math.max(error, Math.abs(found[i]! - expected[i]!));
    }
    const relative = error / largest;
    if (Number.isNaN(relative)) return NaN;
    worst = Math.max(worst, relative);
  }
  return worst;
}
