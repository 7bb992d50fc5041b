/** Says which inputs of a forward pass would need less memory than one that failed. */
import { DeviceError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { WeightStorage } from '../gpu/kernels/kernel.js';
import { MAX_WORKGROUPS } from '../gpu/workgroups.js';
import { F32_BYTES } from '../graph/constants.js';
import { elementCount, type Value } from '../graph/graph.js';
import type { DINOv2Config } from '../model/config.js';
import { parameters } from '../model/parameters.js';
import { countTokens, type ForwardVariant, type Grid } from '../model/vit.js';
import { megabytes, stored } from '../weights/storageAdvice.js';
import { parameterBytes, type Weights } from '../weights/weightMemory.js';
import type { ProgramCache } from './programCache.js';

/** What a prediction needs to know about a model. */
export interface PredictedModel {
  readonly gpu: Gpu;
  readonly config: DINOv2Config;
  readonly weights: Weights;
  readonly programs: ProgramCache;
}

/** The buffers that a forward pass shares with all others of its model, as `Program.create` makes them. */
export function sharedBuffers(
  { config, programs }: PredictedModel,
  grid: Grid,
  outputs: ForwardVariant,
): { readonly shared: ReadonlyMap<number | string, number>; readonly outputBytes: number } {
  const {
    forward: { graph, hiddenStates },
    slots,
  } = programs.plan(grid, outputs);
  const bytesOf = ({ shape }: Value): number => elementCount(shape) * F32_BYTES;
  const shared = new Map<number | string, number>(slots.map(({ bytes }, i) => [i, bytes]));
  for (const value of graph.nodes.flatMap(({ inputs }) => inputs))
    if (value.kind === 'input' && value.name !== 'positions') shared.set(value.name, bytesOf(value));
  const norms = hiddenStates.size > 0 ? 2 * config.embedDim * F32_BYTES : 0;
  return { shared, outputBytes: sum(graph.outputs.map(bytesOf)) + norms };
}

/**
 * Adds to an error of a forward pass what would need less memory: a smaller batch, smaller images, a smaller
 * element type.
 */
export function withAdvice(
  error: DeviceError,
  model: PredictedModel,
  grid: Grid,
  outputs: ForwardVariant,
): DeviceError {
  const advice =
    error.code === 'DEVICE_LIMIT' ? withinLimit(model, grid, outputs) : withLessMemory(model, grid, outputs);
  return new DeviceError(error.code, [error.message, ...advice].join(' '), { cause: error });
}

function withLessMemory(model: PredictedModel, grid: Grid, outputs: ForwardVariant): string[] {
  const { config, weights, programs } = model;
  const { batch, rows, cols } = grid;
  const need = (smaller: Partial<Grid>): string => {
    const { shared, outputBytes } = sharedBuffers(model, { ...grid, ...smaller }, outputs);
    return megabytes(sum([...shared.values()]) + outputBytes);
  };
  const others: string[] = [];
  if (batch > 1)
    others.push(`a batch of ${Math.floor(batch / 2)} would need ${need({ batch: Math.floor(batch / 2) })}`);
  if (rows > 1 || cols > 1) {
    const half = { rows: Math.ceil(rows / 2), cols: Math.ceil(cols / 2) };
    others.push(`images of ${pixelsOf(config, half)} would need ${need(half)}`);
  }
  const { weights: storage } = programs.target;
  const present = parameters(config).filter(({ name }) => weights.buffers.has(name));
  const weightsAs = (as: WeightStorage): string => stored(present, as, parameterBytes);
  const smaller: readonly [string, WeightStorage] | undefined =
    storage === 'f32' ? ['fp16', 'f16-packed'] : storage === 'int8' ? undefined : ['int8', 'int8'];
  if (smaller)
    others.push(
      `with dtype '${smaller[0]}' the weights would take ${weightsAs(smaller[1])} instead of ${weightsAs(storage)}`,
    );
  const whole = `Activations and features of ${imagesOf(config, grid)} need ${need({})}.`;
  return others.length > 0 ? [whole, `To compare: ${others.join('; ')}.`] : [whole];
}

/** Finds the largest batch, and the largest images, whose buffers the device allows. */
function withinLimit(
  { gpu, config, programs }: PredictedModel,
  grid: Grid,
  outputs: ForwardVariant,
): string[] {
  const { maxStorageBufferBindingSize, maxBufferSize } = gpu.device.limits;
  const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
  const fits = (smaller: Grid): boolean => {
    if (countTokens(config, { ...smaller, batch: 1 }) > MAX_WORKGROUPS) return false;
    const { graph } = programs.plan(smaller, outputs).forward;
    const values = graph.nodes.flatMap(({ inputs, output }) => [...inputs, output]);
    return values.every(({ kind, shape }) => kind === 'weight' || elementCount(shape) * F32_BYTES <= limit);
  };
  const scaled = (part: number): Grid => ({
    ...grid,
    rows: Math.max(1, Math.floor(grid.rows * part)),
    cols: Math.max(1, Math.floor(grid.cols * part)),
  });
  const advice: string[] = [];
  const batch = largest(grid.batch, (count) => fits({ ...grid, batch: count }));
  if (batch > 0) advice.push(`a batch of at most ${batch}`);
  const steps = Math.max(grid.rows, grid.cols);
  const part = largest(steps, (step) => fits(scaled(step / steps)));
  if (part > 0) advice.push(`images of at most ${pixelsOf(config, scaled(part / steps))}`);
  return advice.length > 0 ? [`This device allows ${advice.join(', or ')}.`] : [];
}

/** The largest number below `count` that fits, by bisection; 0 if none does. */
function largest(count: number, fits: (count: number) => boolean): number {
  let [low, high] = [0, count];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** The sum of numbers. */
export const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
const pixelsOf = ({ patchSize }: DINOv2Config, { rows, cols }: { rows: number; cols: number }): string =>
  `${cols * patchSize} × ${rows * patchSize}`;
const imagesOf = (config: DINOv2Config, grid: Grid): string =>
  `${grid.batch === 1 ? 'an image' : `${grid.batch} images`} of ${pixelsOf(config, grid)}`;
