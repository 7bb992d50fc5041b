/** Compares f32 and f16 arithmetic of linear layers, for `tune({ arithmetic: true })`. */
import { DeviceError } from '../errors.js';
import { selfTest } from '../gpu/checks/selfTest.js';
import type { Gpu } from '../gpu/device.js';
import type { Target } from '../gpu/lowering.js';
import { tune, type Tuning, type TuningCase, type TuningResult } from '../gpu/measure/tuner.js';
import { F32_BYTES } from '../graph/constants.js';
import { elementCount, type Node } from '../graph/graph.js';
import type { DINOv2Config } from '../model/config.js';
import type { Arithmetic } from '../options.js';
import { F16_TARGET } from '../weights/f16Arithmetic.js';
import { F16_ARITHMETIC_LIMIT } from '../weights/packing.js';
import type { Weights } from '../weights/weightMemory.js';
import { ProgramCache } from './programCache.js';

/** f16 arithmetic is not used if a token's cosine with that of f32 arithmetic is smaller. */
const MIN_COSINE = 0.99999;
/** f16 arithmetic is used only if the layers take at most this part of the time with f32 arithmetic. */
const WORTHWHILE = 0.95;
/** Rows and columns of patches of the image on which the cosines are measured. */
const SIDE = 6;

/** The targets of both arithmetics. */
export type Targets = Readonly<Record<Arithmetic, Target>>;

/** Returns the arithmetic of a target. */
export const arithmeticOf = ({ f16 }: Target): Arithmetic => (f16 ? 'f16' : 'f32');

/**
 * Returns the targets with f32 and f16 arithmetic, or a sentence that says why only f32 is possible.
 * @param target a target without the properties that tuning sets
 */
export function targetsOf(target: Target, weights: Weights): Targets | string {
  if (target.weights !== 'f16')
    return `f32 arithmetic, because f16 arithmetic needs weights that are stored as f16, and these are stored as ${target.weights}.`;
  if (weights.large)
    return `f32 arithmetic, because a weight has a magnitude of ${F16_ARITHMETIC_LIMIT} or more.`;
  return {
    f32: { ...target, f16: undefined, operands: undefined },
    f16: { ...target, ...F16_TARGET },
  };
}

/**
 * Tests kernels. Returns the error's message if they are wrong or do not compile.
 * @throws DeviceError for other reasons
 */
export async function faultOf(gpu: Gpu, nodes: readonly Node[], target: Target): Promise<string | undefined> {
  try {
    await selfTest(gpu, nodes, target);
    return undefined;
  } catch (error) {
    if (error instanceof DeviceError && (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE'))
      return error.message;
    throw error;
  }
}

/** The choice between the arithmetics, with the reason as a sentence. */
export interface ArithmeticChoice {
  readonly used: Arithmetic;
  readonly reason: string;
}

/** A tuning in one of two arithmetics, with the target on which it is based. */
export interface ArithmeticTuning extends Pick<TuningResult, 'samples' | 'leftOut'> {
  readonly tuning: Tuning;
  readonly base: { readonly target: Target; readonly arithmetic: ArithmeticChoice };
}

/**
 * Tunes the kernels of both arithmetics, and chooses one arithmetic. If the self-test rejects one of them, the
 * other is used.
 *
 * @param present the target in use, without the properties that tuning sets
 * @throws DeviceError; the signal's reason
 */
export async function tuneBoth(
  gpu: Gpu,
  nodes: readonly Node[],
  cases: readonly TuningCase[],
  targets: Targets,
  present: Target,
  smallestCosine: () => Promise<number>,
  signal?: AbortSignal,
): Promise<ArithmeticTuning> {
  const results: Partial<Record<Arithmetic, TuningResult>> = {};
  const rejected: string[] = [];
  for (const name of ['f32', 'f16'] as const) {
    const fault = await faultOf(gpu, nodes, targets[name]);
    if (fault === undefined) results[name] = await tune(gpu, cases, targets[name], signal);
    else rejected.push(`${name} arithmetic: ${fault}`);
  }
  const { f32, f16 } = results;
  const chosen: ArithmeticChoice =
    f32 && f16
      ? await chooseArithmetic({ f32, f16 }, smallestCosine)
      : {
          used: f32 ? 'f32' : f16 ? 'f16' : arithmeticOf(present),
          reason: `The self-test rejected ${rejected.join(' ')}`,
        };
  const target = targets[chosen.used];
  const { tuning, samples, leftOut } = results[chosen.used] ?? (await tune(gpu, cases, target, signal));
  return {
    tuning: { ...tuning, arithmetic: chosen.used },
    samples: f32 && f16 ? [...f32.samples, ...f16.samples] : samples,
    leftOut: [...rejected, ...(f32 && f16 ? [...f32.leftOut, ...f16.leftOut] : leftOut)],
    base: { target, arithmetic: chosen },
  };
}

/** Chooses an arithmetic from the times of a block's layers and the smallest cosine of a token. */
export async function chooseArithmetic(
  results: Readonly<Record<Arithmetic, TuningResult>>,
  smallestCosine: () => Promise<number>,
): Promise<ArithmeticChoice> {
  const times = `the layers of a block take ${results.f16.ms.toFixed(2)} ms with f16 arithmetic and ${results.f32.ms.toFixed(2)} ms with f32 arithmetic`;
  if (!(results.f16.ms <= WORTHWHILE * results.f32.ms))
    return { used: 'f32', reason: `f32 arithmetic: ${times}.` };
  return judged(await smallestCosine(), `${times}; `);
}

/** Decides by the smallest cosine of a token whether f16 arithmetic is used. False also for NaN. */
export function judged(cosine: number, before = ''): ArithmeticChoice {
  const found = `${before}the smallest cosine of a token between the two is 1 - ${(1 - cosine).toExponential(1)}`;
  return cosine >= MIN_COSINE
    ? { used: 'f16', reason: `f16 arithmetic in linear layers: ${found}.` }
    : { used: 'f32', reason: `f32 arithmetic: ${found}, below ${MIN_COSINE}.` };
}

/** Returns the smallest cosine between the tokens of the last hidden state in two arithmetics. */
export async function smallestCosineOf(
  gpu: Gpu,
  config: DINOv2Config,
  weights: Weights,
  { f32, f16 }: Targets,
  signal?: AbortSignal,
): Promise<number> {
  const side = SIDE * config.patchSize;
  const pixels = Float32Array.from({ length: 3 * side * side }, (_, i) => {
    // A smooth image with noise, in the range of normalised pixels.
    const [x, y] = [i % side, Math.floor(i / side)];
    return 1.2 * Math.sin(0.11 * x + 0.07 * y) + ((Math.imul(i, 0x9e3779b1) >>> 8) / 2 ** 23 - 1);
  });
  const a = await tokensOf(gpu, config, weights, f32, pixels, signal);
  const b = await tokensOf(gpu, config, weights, f16, pixels, signal);
  let smallest = 1;
  for (let from = 0; from < a.length; from += config.embedDim) {
    let [ab, aa, bb] = [0, 0, 0];
    for (let i = from; i < from + config.embedDim; i++) {
      ab += a[i]! * b[i]!;
      aa += a[i]! ** 2;
      bb += b[i]! ** 2;
    }
    smallest = Math.min(smallest, ab / Math.sqrt(aa * bb)); // NaN if a token is not finite
  }
  return smallest;
}

async function tokensOf(
  gpu: Gpu,
  config: DINOv2Config,
  weights: Weights,
  target: Target,
  pixels: Float32Array<ArrayBuffer>,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const programs = new ProgramCache(gpu, config, target, weights);
  try {
    const { program, forward } = await programs.get({ batch: 1, rows: SIDE, cols: SIDE });
    const bytes = elementCount(forward.lastHiddenState.shape) * F32_BYTES;
    return await gpu.task('comparison of arithmetics', signal, async (task) => {
      const output = task.burst((burst) => {
        burst.write(programs.pool.get('pixels')!, 0, pixels);
        return burst.storage('compared tokens', bytes);
      });
      await program.run(task, () => output);
      return new Float32Array(await task.read(output, 0, bytes));
    });
  } finally {
    await programs.dispose();
  }
}
