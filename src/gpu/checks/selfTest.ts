/**
 * Do a model's kernels compute what they should on this very adapter? The pipelines of the model itself, with its
 * constants, run three times on few rows of inputs by formula (canaryData.ts) and are compared with sums in
 * float64 (canaryAnswers.ts). A driver that compiles a shader and computes nonsense with it becomes an error here,
 * instead of features that look like features.
 */
import { DeviceError } from '../../errors.js';
import type { Node } from '../../graph/graph.js';
import { answerOf } from './canaryAnswers.js';
import { CanaryMatrix, inputsOf, matrixOf, rowsOf, sizesOf } from './canaryData.js';
import type { Gpu } from '../device.js';
import { kernelName, variantKey } from '../kernels/kernel.js';
import { alternatives, sizeWords, type Dispatch, type ForwardSize, type Target } from '../lowering.js';
import { Slices } from '../../platform/pause.js';
import type { CompiledKernel } from '../pipelines.js';
import type { Bound, Burst } from '../task.js';

const REPEATS = 3;
/** How long JavaScript works at a time: a page draws between two slices. */
const SLICE_MS = 3;
/** Columns of a tile of most kernels. */
const TILE_COLUMNS = 64;
/** Bindings begin at a multiple of this. */
const ALIGNMENT = 256;

/** What was found of a kernel. */
interface Verdict {
  readonly name: string;
  /** What it computed wrongly, in a sentence. */
  readonly fault: string | undefined;
  /** Its bits are not those of the first kernel that was tried at its node. */
  readonly differs: boolean;
}

/** What is known of a device. */
interface Known {
  /** By variant. */
  readonly verdicts: Map<string, Promise<Verdict>>;
  /** Bits of the first kernel that was tried at a node, as a hash: by `nodeKey`. */
  readonly bits: Map<string, number>;
}

const known = new WeakMap<Gpu, Known>();

/** What a node computes with how many columns, whatever its place in the model. */
const nodeKey = ({ operation, inputs, output }: Node, { weights }: Target): string => {
  const shape = inputs[1]?.shape;
  return JSON.stringify([operation, output.shape[1], shape, weights]);
};

/** A node, and its kernels to be tried. */
interface Canary {
  readonly key: string;
  readonly node: Node;
  readonly dispatches: readonly Dispatch[];
}

/**
 * Tests the kernels that a target gives to these nodes, each once a device; after that the first verdict holds.
 * Resolves to the milliseconds that it took.
 * @param nodes of any input size
 * @param tested a target whose kernels are not to be tested; one of each node is run all the same, if the node's bits
 *   are not known: those of the others must be the same
 * @throws DeviceError KERNEL_WRONG: which kernel, which element, what was expected and found; or KERNEL_COMPILE,
 *   DEVICE_LOST, …
 */
export async function selfTest(
  gpu: Gpu,
  nodes: readonly Node[],
  target: Target,
  tested?: Target,
): Promise<number> {
  const startMs = performance.now();
  let onDevice = known.get(gpu);
  if (!onDevice) known.set(gpu, (onDevice = { verdicts: new Map(), bits: new Map() }));
  const { verdicts, bits } = onDevice;
  const wanted = new Set<string>();
  const canaries: Canary[] = [];
  for (const [key, node] of new Map(nodes.map((each) => [nodeKey(each, target), each]))) {
    const before = new Set(tested && alternatives(node, tested).map(({ variant }) => variantKey(variant)));
    const all = alternatives(node, target);
    const news = all.filter(({ variant }) => !before.has(variantKey(variant)));
    for (const { variant } of news) wanted.add(variantKey(variant));
    const untried = news.filter(({ variant }) => !verdicts.has(variantKey(variant)));
    if (untried.length === 0) continue;
    const reference = bits.has(key) ? [] : all.filter((dispatch) => !news.includes(dispatch)).slice(0, 1);
    canaries.push({ key, node, dispatches: [...reference, ...untried] });
  }
  if (canaries.length > 0) {
    const running = run(gpu, canaries, target, bits);
    for (const { variant } of canaries.flatMap(({ dispatches }) => dispatches)) {
      const key = variantKey(variant);
      wanted.add(key);
      const verdict = running.then((found) => found.get(key)!);
      verdicts.set(key, verdict);
      // What is wrong stays wrong; what merely failed (memory, a lost device, a compiler) may be tried again.
      verdict.catch(() => verdicts.delete(key));
    }
  }
  const found = await Promise.all([...wanted].map((key) => verdicts.get(key)!));
  const staged = target.operands === 'f16' ? ' with weights staged as f16' : '';
  const faults = new Map<string, string>();
  for (const { name, fault, differs } of found) {
    if (fault !== undefined && !faults.has(name)) faults.set(name, fault);
    if (fault !== undefined || !differs) continue;
    if (!tested && !staged) gpu.alternativesAgree = false;
    else if (!faults.has(name))
      faults.set(
        name,
        `kernel ${name}${staged}: expected the bits of the kernel that it stands for, found others`,
      );
  }
  const [first, ...others] = [...faults];
  if (first)
    throw new DeviceError(
      'KERNEL_WRONG',
      `Self-test of ${first[1]} on ${gpu.pipelines.adapter}. ${others.length > 0 ? `Wrong too: ${others.map(([name]) => name).join(', ')}. ` : ''}` +
        'This GPU or its driver computes wrong numbers: update the browser and the graphics driver, and please report it with the name of your GPU.',
    );
  return performance.now() - startMs;
}

/** A kernel at one size of input, and where its output lies among the results. */
interface Step extends Dispatch {
  readonly canary: Canary;
  readonly size: ForwardSize;
  readonly offset: number;
  readonly bytes: number;
}

/** The answers of a node's canary: a row of each for every row of its largest size. */
interface Answers {
  readonly columns: readonly number[];
  readonly values: Float64Array;
  readonly allowed: Float64Array;
}

/** Runs kernels on their canaries. Resolves to the verdicts by variant. */
async function run(
  gpu: Gpu,
  canaries: readonly Canary[],
  target: Target,
  knownBits: Map<string, number>,
): Promise<Map<string, Verdict>> {
  const slices = new Slices(SLICE_MS);
  const compiling: Promise<CompiledKernel>[] = [];
  for (const { variant } of canaries.flatMap(({ dispatches }) => dispatches)) {
    await slices.rest();
    const kernel = gpu.pipelines.compile(variant);
    kernel.catch(() => undefined); // awaited below
    compiling.push(kernel);
  }
  const weights = new CanaryMatrix(
    canaries.flatMap(({ node }) => matrixOf(node) ?? []),
    target.weights,
  );
  // While the browser compiles.
  const inputs = new Map<Canary, readonly (Float32Array<ArrayBuffer> | undefined)[]>();
  const answers = new Map<Canary, Answers>();
  for (const canary of canaries) {
    await slices.rest();
    const [size] = sizesOf(canary.node, target);
    const given = inputsOf(canary.node, size);
    inputs.set(canary, given);
    const widest = Math.max(TILE_COLUMNS, ...canary.dispatches.map(({ lanes = 0 }) => lanes));
    const { columns, row } = answerOf(canary.node, size, given, weights, widest);
    const rows = rowsOf(canary.node, size);
    const values = new Float64Array(rows * columns.length);
    const allowed = new Float64Array(rows * columns.length);
    for (let i = 0; i < rows; i++) {
      await slices.rest();
      const [from, to] = [i * columns.length, (i + 1) * columns.length];
      row(i, values.subarray(from, to), allowed.subarray(from, to));
    }
    answers.set(canary, { columns, values, allowed });
  }
  const kernels = await Promise.all(compiling);
  const compiled = new Map(kernels.map((kernel) => [variantKey(kernel.variant), kernel]));

  let bytes = 0;
  const steps: Step[] = [];
  for (const canary of canaries)
    for (const dispatch of canary.dispatches)
      for (const size of sizesOf(canary.node, target)) {
        const own = 4 * rowsOf(canary.node, size) * canary.node.output.shape[1]!;
        steps.push({ ...dispatch, canary, size, offset: bytes, bytes: own });
        bytes += Math.ceil(own / ALIGNMENT) * ALIGNMENT;
      }
  const faults = new Map<string, string>();
  const differing = new Set<string>();
  await gpu.task('self-test', undefined, async (task) => {
    const matrix = task.burst((burst) => weights.upload(burst));
    const bound = new Map<Canary, readonly Bound[]>();
    for (const [canary, given] of inputs) {
      await slices.rest();
      const upload = (burst: Burst): readonly Bound[] =>
        canary.node.inputs.map((value, i) =>
          given[i] ? burst.storageOf(`self-test ${value.name}`, given[i]) : matrix(value),
        );
      bound.set(canary, task.burst(upload));
    }
    const { uniforms, results } = task.burst((burst) => ({
      uniforms: steps.map(({ size }) => burst.uniformOf('self-test size', sizeWords(size))),
      results: burst.storage('self-test results', REPEATS * bytes),
    }));
    await task.settled(); // nothing runs where there was no room
    for (let repeat = 0; repeat < REPEATS; repeat++) {
      await slices.rest();
      task.burst((burst) =>
        steps.forEach(({ canary, variant, workgroups, size, offset, bytes: own }, i) =>
          burst.dispatch(
            compiled.get(variantKey(variant))!,
            [
              uniforms[i]!,
              ...bound.get(canary)!,
              { buffer: results, offset: repeat * bytes + offset, size: own },
            ],
            workgroups(size),
          ),
        ),
      );
    }
    const read = await task.read(results, 0, REPEATS * bytes);
    for (let repeat = 0; repeat < REPEATS; repeat++)
      for (const { canary, variant, size, offset, bytes: own } of steps) {
        await slices.rest();
        const key = variantKey(variant);
        const values = new Float32Array(read, repeat * bytes + offset, own / 4);
        const first = new Float32Array(read, offset, own / 4);
        const fault = findFault(values, first, answers.get(canary)!, canary.node.output.shape[1]!);
        if (fault !== undefined && !faults.has(key))
          faults.set(
            key,
            `kernel ${kernelName(variant.kernel)}${variant.weights ? ` with ${variant.weights} weights` : ''}, run ${repeat + 1} of ${REPEATS}: ${fault}`,
          );
        if (fault !== undefined || repeat > 0) continue;
        const bitsKey = `${canary.key} ${rowsOf(canary.node, size)}`;
        const hash = hashOf(values);
        const before = knownBits.get(bitsKey);
        if (before === undefined) knownBits.set(bitsKey, hash).set(canary.key, 0);
        else if (before !== hash) differing.add(key);
      }
  });
  return new Map(
    steps.map(({ variant }) => {
      const key = variantKey(variant);
      const name = kernelName(variant.kernel);
      return [key, { name, fault: faults.get(key), differs: differing.has(key) }];
    }),
  );
}

/** FNV-1a of the bits of numbers, a word at a time. */
function hashOf(values: Float32Array): number {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let hash = 0x811c9dc5;
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words[i]!, 0x01000193);
  return hash;
}

/** The first element that is not what it should be, or not what it was in the first run. */
function findFault(
  found: Float32Array,
  first: Float32Array,
  { columns, values, allowed }: Answers,
  width: number,
): string | undefined {
  const count = columns.length;
  for (let at = 0; at < (found.length / width) * count; at++) {
    const [row, column] = [Math.floor(at / count), columns[at % count]!];
    const value = found[row * width + column]!;
    if (Math.abs(value - values[at]!) <= allowed[at]!) continue; // NaN is not
    return `expected ${values[at]!.toPrecision(7)} ± ${allowed[at]!.toExponential(0)} at row ${row}, column ${column}, found ${value}`;
  }
  for (let at = 0; at < found.length; at++)
    if (found[at] !== first[at])
      return `expected ${first[at]} again at row ${Math.floor(at / width)}, column ${at % width}, found ${found[at]}`;
  return undefined;
}
