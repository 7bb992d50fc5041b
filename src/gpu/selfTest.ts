/**
 * Do the kernels compute what they should on this very adapter? Each runs three times on the inputs of
 * `canaries.ts` and is compared with sums in float64. A driver that compiles a shader and computes nonsense
 * with it becomes an error here, instead of features that look like features.
 */
import { DeviceError } from '../errors.js';
import { elementCount, type Value } from '../graph/graph.js';
import { canaries, type Answer } from './canaries.js';
import type { Gpu } from './device.js';
import { kernelName, variantKey, type WeightStorage } from './kernel.js';
import { alternatives, type Dispatch, type Target } from './lowering.js';

/**
 * Lays a matrix (rows, columns) out as kernels read it. checkpoint/packing.ts does it; this folder does not
 * know that one.
 */
export type PackMatrix = (
  rows: number,
  columns: number,
  values: Float32Array,
  storage: WeightStorage,
) => Uint32Array<ArrayBuffer>;

const REPEATS = 3;
const F32_BYTES = 4;

/** What was found on a device so far: milliseconds of a test that was passed. */
const results = new WeakMap<Gpu, Map<string, Promise<number>>>();

/**
 * Tests the kernels that a target gets, with one way to store weights, once a device; after that the first
 * answer holds. Resolves to the milliseconds that it took.
 * @param tested what was tested already, or is not wanted tested: kernels that it gets too are left out, but
 *   for one of each operation, whose bits the others must give
 * @throws DeviceError KERNEL_WRONG: which kernel, which element, what was expected and found; or
 *   KERNEL_COMPILE, DEVICE_LOST, …
 */
export function selfTest(gpu: Gpu, target: Target, pack: PackMatrix, tested?: Target): Promise<number> {
  let known = results.get(gpu);
  if (!known) results.set(gpu, (known = new Map<string, Promise<number>>()));
  const key = JSON.stringify(
    [target, tested].map(
      (of) =>
        of && [
          of.weights,
          of.operands ?? 'f32',
          ...[of.wantedLanesWidest, of.wantedLanesNarrow, of.wantedLanesAttention].map(
            (wanted) => wanted !== undefined,
          ),
        ],
    ),
  );
  let result = known.get(key);
  if (!result) {
    result = run(gpu, target, pack, tested);
    known.set(key, result);
    // What is wrong stays wrong; what merely went wrong (memory, a lost device) may be tried again.
    const attempts = known;
    result.catch((error: unknown) => {
      if (!(error instanceof DeviceError && error.code === 'KERNEL_WRONG')) attempts.delete(key);
    });
  }
  return result;
}

async function run(gpu: Gpu, target: Target, pack: PackMatrix, tested?: Target): Promise<number> {
  const startMs = performance.now();
  const storage = target.weights;
  const steps = canaries().flatMap((canary) => {
    const known = new Set(
      tested && alternatives(canary.node, tested).map(({ variant }) => variantKey(variant)),
    );
    const isKnown = ({ variant }: Dispatch): boolean => known.has(variantKey(variant));
    const all = alternatives(canary.node, target);
    const news = all.filter((dispatch) => !isKnown(dispatch));
    const first = news.length > 0 ? all.filter(isKnown).slice(0, 1) : [];
    return [...first, ...news].map((dispatch) => ({ ...canary, ...dispatch }));
  });
  if (steps.length === 0) return 0;
  const compiling = Promise.all(steps.map(({ variant }) => gpu.pipelines.compile(variant)));
  const answers = steps.map(({ answer }) => answer()); // while the browser compiles
  const compiled = await compiling;
  const bytesOf = ({ shape }: Value): number => elementCount(shape) * F32_BYTES;
  const resultBytes = steps.reduce((sum, { node }) => sum + bytesOf(node.output), 0);
  await gpu.task('self-test', undefined, async (task) => {
    const found = task.burst((burst) => {
      const inputs = steps.map(({ node, inputs: values, matrix }) =>
        node.inputs.map((value, i) => {
          const rows = value.shape[0]!;
          const data =
            value === matrix ? pack(rows, values[i]!.length / rows, values[i]!, storage) : values[i]!;
          return burst.storageOf(`self-test ${value.name}`, data);
        }),
      );
      const uniforms = steps.map(({ size }) =>
        burst.uniformOf('self-test size', [size.batch, size.rows, size.cols, size.numTokens]),
      );
      const outputs = Array.from({ length: REPEATS }, () =>
        steps.map(({ node, workgroups, size }, i) => {
          const output = burst.storage(`self-test ${node.label}`, bytesOf(node.output));
          burst.dispatch(compiled[i]!, [uniforms[i]!, ...inputs[i]!, output], workgroups(size));
          return output;
        }),
      );
      const all = burst.storage('self-test results', REPEATS * resultBytes);
      let to = 0;
      for (const each of outputs) {
        steps.forEach(({ node: { output } }, i) => {
          burst.copy(each[i]!, 0, all, to, bytesOf(output));
          to += bytesOf(output);
        });
      }
      return all;
    });
    const bytes = await task.read(found, 0, REPEATS * resultBytes);
    const faults = new Map<string, string>();
    let from = 0;
    for (let repeat = 1; repeat <= REPEATS; repeat++) {
      for (const [i, { variant, node }] of steps.entries()) {
        const values = new Float32Array(bytes, from, elementCount(node.output.shape));
        const first = new Float32Array(bytes, from % resultBytes, values.length);
        from += bytesOf(node.output);
        const name = kernelName(variant.kernel);
        const fault = findFault(values, first, answers[i]!, node.output.shape[1]!);
        if (!fault && repeat === 1 && differs(gpu, `${storage} ${node.label}`, values)) {
          const staged = target.operands === 'f16' ? ' with weights staged as f16' : '';
          if (tested || staged)
            faults.set(
              name,
              `kernel ${name}${staged}: expected the bits of the kernel that it stands for, found others`,
            );
          else gpu.alternativesAgree = false;
        }
        if (fault && !faults.has(name))
          faults.set(
            name,
            `kernel ${name}${variant.weights ? ` with ${variant.weights} weights` : ''}, run ${repeat} of ${REPEATS}: ${fault}`,
          );
      }
    }
    if (faults.size > 0) {
      const [[name, fault]] = [...faults] as [[string, string]];
      const others = [...faults.keys()].filter((other) => other !== name);
      throw new DeviceError(
        'KERNEL_WRONG',
        `Self-test of ${fault} on ${gpu.pipelines.adapter}. ${others.length > 0 ? `Wrong too: ${others.join(', ')}. ` : ''}` +
          'This GPU or its driver computes wrong numbers: update the browser and the graphics driver, and please report it with the name of your GPU.',
      );
    }
  });
  return performance.now() - startMs;
}

/** What the first kernel of a canary gave on a device, by storage and canary. */
const firstBits = new WeakMap<Gpu, Map<string, Uint32Array>>();

/** Whether a kernel gives other bits than the first one that was tried at this canary. */
function differs(gpu: Gpu, canary: string, values: Float32Array): boolean {
  let known = firstBits.get(gpu);
  if (!known) firstBits.set(gpu, (known = new Map<string, Uint32Array>()));
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const first = known.get(canary);
  if (!first) known.set(canary, bits.slice());
  return first !== undefined && first.some((word, i) => word !== bits[i]);
}

/** The first element that is not what it should be, or not what it was in the first run. */
function findFault(
  found: Float32Array,
  first: Float32Array,
  { values, allowed }: Answer,
  columns: number,
): string | undefined {
  for (let i = 0; i < values.length; i++) {
    const right = Math.abs(found[i]! - values[i]!) <= allowed[i]!; // NaN is not
    if (right && found[i] === first[i]) continue;
    const expected = right
      ? `${first[i]} again`
      : `${values[i]!.toPrecision(7)} ± ${allowed[i]!.toExponential(0)}`;
    return `expected ${expected} at row ${Math.floor(i / columns)}, column ${i % columns}, found ${found[i]}`;
  }
  return undefined;
}
