/**
 * The self-test: checks that a model's kernels compute correctly on this adapter. The model's own pipelines
 * run three times on a few rows of inputs (`canaryData.ts`), and their outputs are compared with float64
 * results (`canaryAnswers.ts`). So a driver that compiles a shader wrongly causes an error instead of wrong
 * features without a warning.
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

/** Number of times that the self-test runs each kernel. */
const REPEATS = 3;
/** Longest time in ms that the self-test computes without a pause. During a pause, the page can draw. */
const SLICE_MS = 3;
/** Number of output columns in a tile of most kernels. */
const TILE_COLUMNS = 64;
/** Offsets of buffer bindings must be multiples of this number of bytes: WebGPU's default limit. */
const ALIGNMENT = 256;

/** The result of the self-test for a kernel variant. */
interface Verdict {
  readonly name: string;
  /** Describes the wrong output. Undefined if the output was correct. */
  readonly fault: string | undefined;
  /**
   * True if at least one bit of the output differs from the output of the first kernel that was tested for
   * the same node.
   */
  readonly differs: boolean;
}

/** The results of the self-test on a device. */
interface DeviceResults {
  /** The test result of each kernel variant, by `variantKey`. */
  readonly verdicts: Map<string, Promise<Verdict>>;
  /**
   * The hash of the output of the first kernel that was tested for a node, for each number of rows. The key
   * is `bitsKey`.
   */
  readonly bits: Map<string, number>;
}

const resultsOf = new WeakMap<Gpu, DeviceResults>();

/**
 * Returns a string that is equal for nodes with the same operation and shapes, at any position in the model,
 * and for the same arithmetic.
 */
const nodeKey = ({ operation, inputs, output }: Node, { weights, f16 }: Target): string => {
  const shape = inputs[1]?.shape;
  return JSON.stringify([operation, output.shape[1], shape, weights, !f16]);
};

/**
 * Returns `nodeKey`, followed by the largest number of rows of a test, on which the inputs depend, and by a
 * number of rows.
 */
const bitsKey = (key: string, node: Node, [largest]: readonly ForwardSize[], size = largest!): string =>
  `${key} ${rowsOf(node, largest!)} ${rowsOf(node, size)}`;

/** A node of the graph with the kernels to test for it. */
interface Canary {
  readonly key: string;
  readonly node: Node;
  readonly dispatches: readonly Dispatch[];
}

/**
 * Tests the kernels that can compute the given nodes on a target (adapter, weight storage and tuning). Each
 * kernel is tested once per device. Later calls use the result of the first test.
 *
 * @param nodes the nodes of a graph of any input size
 * @param tested a target whose kernels have already passed the test. These kernels are skipped, except one
 *   per node, with which the bits of the other kernels are compared
 * @returns the milliseconds that the test took
 * @throws DeviceError KERNEL_WRONG, which names the kernel and a wrong element of its output;
 *   KERNEL_COMPILE, DEVICE_LOST, …
 */
export async function selfTest(
  gpu: Gpu,
  nodes: readonly Node[],
  target: Target,
  tested?: Target,
): Promise<number> {
  const startMs = performance.now();
  let results = resultsOf.get(gpu);
  if (!results) resultsOf.set(gpu, (results = { verdicts: new Map(), bits: new Map() }));
  const { verdicts, bits } = results;
  const required = new Set<string>();
  const canaries: Canary[] = [];
  for (const [key, node] of new Map(nodes.map((each) => [nodeKey(each, target), each]))) {
    const verified = new Set(tested && alternatives(node, tested).map(({ variant }) => variantKey(variant)));
    const all = alternatives(node, target);
    const unverified = all.filter(({ variant }) => !verified.has(variantKey(variant)));
    for (const { variant } of unverified) required.add(variantKey(variant));
    const untested = unverified.filter(({ variant }) => !verdicts.has(variantKey(variant)));
    if (untested.length === 0) continue;
    const reference = bits.has(bitsKey(key, node, sizesOf(node, target)))
      ? []
      : all.filter((dispatch) => !unverified.includes(dispatch)).slice(0, 1);
    canaries.push({ key, node, dispatches: [...reference, ...untested] });
  }
  if (canaries.length > 0) {
    const running = run(gpu, canaries, target, bits);
    for (const { variant } of canaries.flatMap(({ dispatches }) => dispatches)) {
      const key = variantKey(variant);
      required.add(key);
      const verdict = running.then((finished) => finished.get(key)!);
      verdicts.set(key, verdict);
      // The verdict on a kernel is cached even if the kernel's output is wrong. An error (out of memory,
      // lost device, compiler) is not cached, so that a later call tests the kernel again.
      verdict.catch(() => verdicts.delete(key));
    }
  }
  const outcomes = await Promise.all([...required].map((key) => verdicts.get(key)!));
  const operands = target.operands === 'f16' ? ' with f16 weights in workgroup memory' : '';
  const faults = new Map<string, string>();
  for (const { name, fault, differs } of outcomes) {
    if (fault !== undefined && !faults.has(name)) faults.set(name, fault);
    if (fault !== undefined || !differs) continue;
    if (!tested && !operands) gpu.alternativesAgree = false;
    else if (!faults.has(name))
      faults.set(
        name,
        `kernel ${name}${operands}: expected the same bits as the other kernels of this operation, found different bits`,
      );
  }
  const [first, ...others] = [...faults];
  if (first)
    throw new DeviceError(
      'KERNEL_WRONG',
      `Self-test of ${first[1]} on ${gpu.pipelines.adapter}. ${others.length > 0 ? `Also wrong: ${others.map(([name]) => name).join(', ')}. ` : ''}` +
        'This GPU or its driver computes wrong numbers. Update the browser and the graphics driver. If the error persists, please report it with the name of your GPU.',
    );
  return performance.now() - startMs;
}

/**
 * A kernel to run at one input size, and the position of the kernel's output in the buffer that receives all
 * results.
 */
interface Step extends Dispatch {
  readonly canary: Canary;
  readonly size: ForwardSize;
  readonly offset: number;
  readonly bytes: number;
}

/**
 * The expected output, (rows, columns.length), and the allowed errors for a node whose kernels are tested,
 * at the node's largest input size.
 */
interface Answers {
  readonly columns: readonly number[];
  readonly values: Float64Array;
  readonly allowed: Float64Array;
}

/**
 * Runs the kernels of canaries (nodes with kernels to test) and checks their outputs. Resolves to the
 * verdicts by `variantKey`.
 */
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
    kernel.catch(() => undefined); // the promise is awaited below, where its error is thrown
    compiling.push(kernel);
  }
  const weights = new CanaryMatrix(
    canaries.flatMap(({ node }) => matrixOf(node) ?? []),
    target.weights,
  );
  // The browser compiles while the inputs and the expected outputs are computed.
  const inputs = new Map<Canary, readonly (Float32Array<ArrayBuffer> | undefined)[]>();
  const answers = new Map<Canary, Answers>();
  for (const canary of canaries) {
    await slices.rest();
    const [size] = sizesOf(canary.node, target);
    const tensors = inputsOf(canary.node, size);
    inputs.set(canary, tensors);
    const widest = Math.max(TILE_COLUMNS, ...canary.dispatches.map(({ lanes = 0 }) => lanes));
    const { columns, row } = answerOf(canary.node, size, tensors, weights, widest);
    const rows = rowsOf(canary.node, size);
    const values = new Float64Array(rows * columns.length);
    const allowed = new Float64Array(rows * columns.length);
    for (let i = 0; i < rows; i++) {
      await slices.rest();
      const [from, to] = [i * columns.length, (i + 1) * columns.length];
      row(i, values.subarray(from, to), allowed.subarray(from, to));
      target.f16?.widen(canary.node, tensors, i, allowed.subarray(from, to));
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
    for (const [canary, tensors] of inputs) {
      await slices.rest();
      const upload = (burst: Burst): readonly Bound[] =>
        canary.node.inputs.map((value, i) =>
          tensors[i] ? burst.storageOf(`self-test ${value.name}`, tensors[i]) : matrix(value),
        );
      bound.set(canary, task.burst(upload));
    }
    const { uniforms, results } = task.burst((burst) => ({
      uniforms: steps.map(({ size }) => burst.uniformOf('self-test size', sizeWords(size))),
      results: burst.storage('self-test results', REPEATS * bytes),
    }));
    await task.settled(); // throws if an allocation failed
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
        const at = bitsKey(canary.key, canary.node, sizesOf(canary.node, target), size);
        const hash = hashOf(values);
        const before = knownBits.get(at);
        if (before === undefined) knownBits.set(at, hash);
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

/** Returns the FNV-1a hash of the bits of numbers, which takes one 32-bit word at a time. */
function hashOf(values: Float32Array): number {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let hash = 0x811c9dc5;
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words[i]!, 0x01000193);
  return hash;
}

/**
 * Describes the first element of an output that exceeds its allowed error, or that differs from the output
 * of the first run. Returns undefined if every element passes.
 */
function findFault(
  output: Float32Array,
  firstRun: Float32Array,
  { columns, values, allowed }: Answers,
  width: number,
): string | undefined {
  const count = columns.length;
  for (let at = 0; at < (output.length / width) * count; at++) {
    const [row, column] = [Math.floor(at / count), columns[at % count]!];
    const value = output[row * width + column]!;
    if (Math.abs(value - values[at]!) <= allowed[at]!) continue; // this condition is false for NaN
    return `expected ${values[at]!.toPrecision(7)} ± ${allowed[at]!.toExponential(0)} at row ${row}, column ${column}, found ${value}`;
  }
  for (let at = 0; at < output.length; at++)
    if (output[at] !== firstRun[at])
      return `expected the value of the first run, ${firstRun[at]}, at row ${Math.floor(at / width)}, column ${at % width}, found ${output[at]}`;
  return undefined;
}
