/**
 * The option `debug: 'check'`: a forward pass in which every tensor is searched for NaN and infinity right
 * after the kernel that writes it. The first kernel with such a value is named in the error.
 */
import { DeviceError } from '../../errors.js';
import { elementCount, type Value } from '../../graph/graph.js';
import { F32_BYTES } from '../../graph/constants.js';
import type { Gpu } from '../device.js';
import { COUNT_LANES, countNotFinite } from '../kernels/debugKernels.js';
import { kernelName } from '../kernels/kernel.js';
import type { CompiledKernel } from '../pipelines.js';
import type { Program, ProgramStep } from '../program.js';
import { splitByWork, SUBMIT_MS } from '../submits.js';
import type { Burst, Task } from '../task.js';
import { inLines } from '../workgroups.js';

/** A row of results: the index of the first value that is not finite, the number of NaN and of infinities. */
const ROW_WORDS = 3;
/** The index in a row without such a value. */
const NONE = 2 ** 32 - 1;

/** A tensor that is searched, and the operation that writes it. Undefined for the pixels. */
interface Inspected {
  readonly value: Value;
  readonly step: ProgramStep | undefined;
}

/**
 * Runs a forward pass as `Program.run` does, and searches the pixels and the output of every operation for
 * values that are not finite.
 *
 * @throws DeviceError KERNEL_NOT_FINITE, which names the first kernel and tensor; the errors of `Program.run`
 */
export async function inspectForward(
  gpu: Gpu,
  program: Program,
  task: Task,
  destination: (output: Value) => GPUBuffer,
): Promise<void> {
  const kernel = await gpu.pipelines.compile({ kernel: countNotFinite, constants: {} });
  const pixels = program.graph.nodes
    .flatMap(({ inputs }) => inputs)
    .find(({ kind, name }) => kind === 'input' && name === 'pixels');
  const inspected: Inspected[] = [
    ...(pixels ? [{ value: pixels, step: undefined }] : []),
    ...program.steps.map((step) => ({ value: step.node.output, step })),
  ];
  const found = task.burst((burst) => {
    const words = inspected.flatMap(() => [NONE, 0, 0]);
    return burst.storageOf('values that are not finite', Uint32Array.from(words));
  });
  const search = (burst: Burst, row: number): void =>
    count(burst, kernel, program.bufferOf(inspected[row]!.value), inspected[row]!.value, row, found);
  const rowOf = new Map(inspected.map(({ step }, row) => [step, row]));

  if (pixels) task.burst((burst) => search(burst, 0));
  await program.bind(task);
  const most = gpu.flopsPerSecond * (SUBMIT_MS / 1000);
  const dispatches = task.burst((burst) => program.cut(burst, most));
  for (const { begin, end } of splitByWork(dispatches, most)) {
    task.burst((burst) => {
      for (let i = begin; i < end; i++) {
        const { step } = dispatches[i]!;
        program.encode(burst.pass(), [dispatches[i]!]);
        // A step that is cut into ranges is complete after its last range.
        if (dispatches[i + 1]?.step !== step) search(burst, rowOf.get(step)!);
      }
    });
    await task.computed(true);
  }
  task.burst((burst) => {
    for (const output of program.graph.outputs)
      burst.copy(program.bufferOf(output), 0, destination(output), 0, elementCount(output.shape) * F32_BYTES);
  });
  const rows = new Uint32Array(await task.read(found, 0, found.size));
  const wrong = inspected.findIndex((_, row) => rows[ROW_WORDS * row] !== NONE);
  if (wrong < 0) return;
  const [index, nanCount, infinityCount] = rows.subarray(ROW_WORDS * wrong);
  throw notFinite(inspected[wrong]!, gpu.pipelines.adapter, index!, nanCount!, infinityCount!);
}

function count(
  burst: Burst,
  kernel: CompiledKernel,
  buffer: GPUBuffer,
  value: Value,
  row: number,
  found: GPUBuffer,
): void {
  const elements = elementCount(value.shape);
  const tensor = burst.uniformOf('tensor to check', [elements, row]);
  burst.dispatch(kernel, [tensor, buffer, found], inLines(Math.ceil(elements / COUNT_LANES)));
}

function notFinite(
  { value, step }: Inspected,
  adapter: string,
  index: number,
  nanCount: number,
  infinityCount: number,
): DeviceError {
  const columns = value.shape.at(-1)!;
  const where = `${value.name} (${value.shape.join(', ')}): expected finite values, found ${nanCount} NaN and ${infinityCount} infinite, the first at row ${Math.floor(index / columns)}, column ${index % columns}.`;
  if (!step)
    return new DeviceError(
      'KERNEL_NOT_FINITE',
      `The input ${where} No kernel has run yet. Check the pixels, or the mean and standard deviation of the preprocessing.`,
    );
  const block = /^blocks\.(\d+)\./.exec(step.node.label)?.[1];
  return new DeviceError(
    'KERNEL_NOT_FINITE',
    `Kernel ${kernelName(step.kernel.variant.kernel)}${block === undefined ? '' : `, block ${block}`}, operation ${step.node.label}, on ${adapter}: ${where} All tensors before it are finite. If the same image and weights give finite values in Python, please report this with the text of model.report().`,
  );
}
