/**
 * Tunes a model: measures which kernels are fastest on this adapter, at the model's shapes. All kernels that
 * the tuner may choose for an operation give the same bits, so no choice changes a result. A kernel that was
 * not compiled when the model was loaded must pass the self-test before the tuner may choose the kernel.
 */
import { DeviceError } from '../../errors.js';
import { elementCount, type Node, type Value } from '../../graph/graph.js';
import type { Gpu } from '../device.js';
import { assemble, kernelName, variantKey, type OperandType } from '../kernels/kernel.js';
import { weightHelpers } from '../kernels/kernels.js';
import { EVERY_TILE } from '../kernels/tunedKernels.js';
import {
  alternatives,
  choose,
  lanesOf,
  sizeWords,
  type Dispatch,
  type ForwardSize,
  type Target,
} from '../lowering.js';
import { flopsOf } from '../program.js';
import { selfTest } from '../checks/selfTest.js';
import { time, type Work } from './stopwatch.js';

/** The result of tuning. Each property is a minimum number of active lanes, or an element type. */
export interface Tuning {
  /** A linear layer uses the narrow tile if the wide tile would launch fewer lanes than this. */
  readonly wantedLanes: number;
  /** Element type of f16 weights in workgroup memory. */
  readonly operands: OperandType;
  /**
   * A linear layer uses the tall tile if that tile launches at least this many lanes. Undefined: the tall
   * tile is never used.
   */
  readonly wantedLanesTall: number | undefined;
  /**
   * A linear layer uses the widest tile if that tile launches at least this many lanes. Undefined: the widest
   * tile is never used.
   */
  readonly wantedLanesWidest: number | undefined;
  /**
   * A linear layer uses the small tile if the narrow tile would launch fewer lanes than this. Undefined: the
   * small tile is never used.
   */
  readonly wantedLanesNarrow: number | undefined;
  /**
   * Attention uses 16 queries per workgroup if 32 queries would launch fewer lanes than this. Undefined:
   * attention always uses 32 queries.
   */
  readonly wantedLanesAttention: number | undefined;
  /**
   * Arithmetic of linear layers. Undefined: that which was chosen when the model was loaded, or by an earlier
   * call of `tune` with the option `arithmetic`.
   */
  readonly arithmetic?: 'f32' | 'f16' | undefined;
}

/** Checks a value from a store. Returns undefined if the value is not a `Tuning`. */
export function parseTuning(stored: unknown): Tuning | undefined {
  const { wantedLanes, operands, arithmetic, ...optional } = { ...(stored as Partial<Tuning> | undefined) };
  const { wantedLanesTall, wantedLanesWidest, wantedLanesNarrow, wantedLanesAttention } = optional;
  const others = { wantedLanesTall, wantedLanesWidest, wantedLanesNarrow, wantedLanesAttention };
  const isCount = (value: unknown): boolean => typeof value === 'number' && value >= 0;
  const isTuning =
    isCount(wantedLanes) &&
    Object.values(others).every((value) => value === undefined || isCount(value)) &&
    (operands === 'f32' || operands === 'f16') &&
    (arithmetic === undefined || arithmetic === 'f32' || arithmetic === 'f16');
  return isTuning
    ? { wantedLanes: wantedLanes!, operands, ...others, ...(arithmetic && { arithmetic }) }
    : undefined;
}

/**
 * Returns a copy of a target (the properties that decide which kernels are used) without the properties that
 * tuning sets.
 */
export const untuned = (target: Target): Target => ({
  ...target,
  operands: target.f16 && 'f16',
  tuned: undefined,
  wantedLanesTall: undefined,
  wantedLanesWidest: undefined,
  wantedLanesNarrow: undefined,
  wantedLanesAttention: undefined,
});

/** The measured time of one kernel at one shape. */
export interface TuningSample {
  /** Layer that the kernel computes, such as `blocks.0.attn.qkv`. */
  readonly label: string;
  /** Number of rows of the layer's input: the tokens of all images. */
  readonly rows: number;
  /** Shader and entry point, such as `linear.linear`. */
  readonly kernel: string;
  /** Number of workgroups, which differs between tiles of one kernel. */
  readonly workgroups: number;
  /** Element type of weights in workgroup memory. */
  readonly operands: OperandType;
  /** Measured time of the kernel in milliseconds. */
  readonly ms: number;
}

/** A layer of the model at one input size. */
export interface TuningCase {
  readonly node: Node;
  readonly size: ForwardSize;
}

/** A tuning with the measurements from which it was chosen. */
export interface TuningResult {
  readonly tuning: Tuning;
  /** Time of all cases with the chosen kernels, in milliseconds. */
  readonly ms: number;
  readonly samples: readonly TuningSample[];
  /** Kernels that failed the self-test or did not compile, each with its error. */
  readonly leftOut: readonly string[];
}

/** True if more than one kernel can compute a node, so that tuning can choose between the kernels. */
export const isTunable = (node: Node, target: Target): boolean =>
  candidates(node, everyKernel(target)).length > 1;

/** Returns a copy of a target in which every kernel that tuning may choose is available. */
const everyKernel = (target: Target): Target => ({
  ...target,
  ...EVERY_TILE,
  operands: smallestOperands(target),
});

/**
 * Returns the smallest element type that weights can have in workgroup memory. The type f16 requires weights
 * that are stored as f16.
 */
const smallestOperands = ({ weights }: Target): OperandType => (weights === 'f16' ? 'f16' : 'f32');

/**
 * Returns the element types to measure: f32 and f16 if the target's `operands` is f16, otherwise only f32. With
 * f16 arithmetic, only f16.
 */
const operandTypes = ({ operands, f16 }: Target): readonly OperandType[] =>
  f16 ? ['f16'] : operands === 'f16' ? ['f32', 'f16'] : ['f32'];

/**
 * Returns the key under which a tuning is stored. The key is made from the adapter, the text of every kernel
 * with its constants, and the input sizes. If one of these has changed since a tuning was stored, the stored
 * tuning is not used.
 */
export function tuningKey(gpu: Gpu, cases: readonly TuningCase[], target: Target): string {
  const { vendor, architecture, description } = gpu.info;
  const codes = cases.flatMap(({ node }) =>
    candidates(node, everyKernel(target)).map(
      ({ variant }) => variant.kernel.entryPoint + assemble(variant, weightHelpers),
    ),
  );
  const sizes = cases.map(({ size }) => [size.batch, size.numTokens]);
  return JSON.stringify([
    'tuning 2',
    vendor,
    architecture,
    description,
    hash([...new Set(codes)].join('\n')),
    sizes,
  ]);
}

/**
 * Measures every kernel for every layer and input size in `cases`, and chooses the tuning with the shortest
 * total time. Takes about a second on a GPU.
 *
 * @param target a target without the properties that tuning sets
 * @throws DeviceError; the signal's reason
 */
export async function tune(
  gpu: Gpu,
  cases: readonly TuningCase[],
  target: Target,
  signal?: AbortSignal,
): Promise<TuningResult> {
  signal?.throwIfAborted();
  // All kernels start to compile here, in parallel. The self-tests below run one after the other.
  for (const { node } of cases)
    for (const { variant } of candidates(node, everyKernel(target)))
      gpu.pipelines.compile(variant).catch(() => undefined);
  const nodes = cases.map(({ node }) => node);
  const leftOut: string[] = [];
  const { tuned, ...tiles } = EVERY_TILE;
  let allowed: Target = { ...target, tuned };
  const trials: readonly [what: string, allowing: Partial<Target>][] = [
    ...Object.entries(tiles).map(([name, wanted]): [string, Partial<Target>] => [name, { [name]: wanted }]),
    ['f16 weights in workgroup memory', { operands: smallestOperands(target) }],
  ];
  for (const [what, allowing] of trials) {
    const tried = { ...allowed, ...allowing };
    try {
      await selfTest(gpu, nodes, tried, allowed);
      allowed = tried;
    } catch (error) {
      if (!(
        error instanceof DeviceError &&
        (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE')
      ))
        throw error;
      leftOut.push(`${what}: ${error.message}`);
    }
    signal?.throwIfAborted();
  }

  const entries = cases.flatMap(({ node, size }) =>
    candidates(node, allowed).map((dispatch) => ({ node, size, dispatch })),
  );
  const kernels = await Promise.all(entries.map(({ dispatch }) => gpu.pipelines.compile(dispatch.variant)));
  return gpu.task('tuning', signal, async (task) => {
    const buffers = task.burst((burst) => {
      // All cases share one buffer for each input position. The buffers hold zeros: computing with zeros
      // takes as long as with other numbers.
      const inputCount = Math.max(...cases.map(({ node }) => node.inputs.length));
      const inputs = Array.from({ length: inputCount }, (_, index) =>
        burst.storage(
          `tuning input ${index}`,
          Math.max(...cases.map(({ node }) => bytesOf(node.inputs[index]))),
        ),
      );
      const output = burst.storage(
        'tuning output',
        Math.max(...cases.map(({ node }) => bytesOf(node.output))),
      );
      const sizes = new Map(cases.map(({ size }) => [size, burst.uniformOf('tuning size', sizeWords(size))]));
      return { inputs, output, sizes };
    });
    await task.settled();
    const works = entries.map(({ node, size, dispatch }, i): Work => {
      const kernel = kernels[i]!;
      const bound = [
        buffers.sizes.get(size)!,
        ...buffers.inputs.slice(0, node.inputs.length),
        buffers.output,
      ];
      const group = gpu.pipelines.bind(
        kernel,
        bound.map((buffer) => ({ buffer })),
      );
      const workgroups = dispatch.workgroups(size);
      return {
        seconds: flopsOf(node, size) / gpu.flopsPerSecond,
        encode: (pass) => {
          pass.setPipeline(kernel.pipeline);
          pass.setBindGroup(0, group);
          pass.dispatchWorkgroups(...workgroups);
        },
      };
    });
    const { seconds } = await time(gpu, works, signal);
    const samples = entries.map(({ node, size, dispatch: { variant, workgroups } }, i): TuningSample => ({
      label: node.label,
      rows: size.batch * size.numTokens,
      kernel: kernelName(variant.kernel),
      workgroups: workgroups(size).reduce((product, count) => product * count),
      operands: variant.operands ?? 'f32',
      ms: 1000 * seconds[i]!,
    }));
    const msOf = ({ node, size }: TuningCase, { variant }: Dispatch): number =>
      samples[
        entries.findIndex(
          (entry) =>
            entry.node === node &&
            entry.size === size &&
            variantKey(entry.dispatch.variant) === variantKey(variant),
        )
      ]!.ms;
    return { ...best(cases, allowed, msOf), samples, leftOut };
  });
}

/** Returns the tuning with the smallest total time over all cases (layers at an input size), and the time. */
function best(
  cases: readonly TuningCase[],
  allowed: Target,
  msOf: (of: TuningCase, dispatch: Dispatch) => number,
): Pick<TuningResult, 'tuning' | 'ms'> {
  const isAttention = ({ node }: TuningCase): boolean => node.operation.kind === 'attention';
  const attention = bestLanes(cases.filter(isAttention), allowed, msOf);
  const byOperands = operandTypes(allowed).map((operands) => ({
    operands,
    ...bestLanes(
      cases.filter((each) => !isAttention(each)),
      { ...allowed, operands },
      msOf,
    ),
  }));
  const { operands, wanted, used, ms } = byOperands.reduce((a, b) => (b.ms < a.ms ? b : a));
  // Indices of kernels in the list of a linear layer's kernels. -1: the kernel is not in the list.
  const tall = allowed.f16 || allowed.wantedLanesTall === undefined ? -1 : 0;
  const widest = allowed.wantedLanesWidest === undefined ? -1 : tall + 1;
  const wide = Math.max(tall, widest) + 1;
  const tuning = {
    operands,
    wantedLanes: wanted[wide] ?? 0,
    wantedLanesTall: used.has(tall) ? wanted[tall] : undefined,
    wantedLanesWidest: used.has(widest) ? wanted[widest] : undefined,
    wantedLanesNarrow: used.has(wide + 2) ? wanted[wide + 1] : undefined,
    wantedLanesAttention: attention.used.has(1) ? attention.wanted[0] : undefined,
  };
  return { tuning, ms: attention.ms + ms };
}

/**
 * Finds the minimum numbers of active lanes (`wantedLanes`) that give the shortest total time, by trying all
 * numbers that lead to different choices of kernels. All cases must have the same number of kernels.
 *
 * @returns the minimum number of lanes for each kernel except the last, the total time, and the indices of
 *   the kernels that are used
 */
function bestLanes(
  cases: readonly TuningCase[],
  target: Target,
  msOf: (of: TuningCase, dispatch: Dispatch) => number,
): { wanted: readonly number[]; ms: number; used: ReadonlySet<number> } {
  const measured = cases.map((each) => {
    const dispatches = alternatives(each.node, target);
    return {
      lanes: dispatches.map((dispatch) => lanesOf(dispatch, each.size)),
      ms: dispatches.map((dispatch) => msOf(each, dispatch)),
    };
  });
  const last = (measured[0]?.ms.length ?? 1) - 1;
  let tried: readonly (readonly number[])[] = [[]];
  for (let place = 0; place < last; place++) {
    const counts = new Set([0, ...measured.map(({ lanes }) => lanes[place]! + 1)]);
    tried = tried.flatMap((wanted) => [...counts].map((count) => [...wanted, count]));
  }
  const sums = tried.map((wanted) =>
    measured.reduce((sum, { lanes, ms }) => sum + ms[choose(lanes, wanted)]!, 0),
  );
  const ms = Math.min(...sums);
  const wanted = tried[sums.indexOf(ms)]!;
  return { wanted, ms, used: new Set(measured.map(({ lanes }) => choose(lanes, wanted))) };
}

/**
 * Returns the kernels that can compute a node, with every element type of weights in workgroup memory. Each
 * kernel is returned once.
 */
function candidates(node: Node, allowed: Target): Dispatch[] {
  const all = operandTypes(allowed).flatMap((operands) => alternatives(node, { ...allowed, operands }));
  return [...new Map(all.map((dispatch) => [variantKey(dispatch.variant), dispatch])).values()];
}

/**
 * Returns an upper bound of the bytes of a tensor: 4 bytes for each element, and for a weight matrix also for
 * the padding of its panels (at most 64 output features and 32 input features).
 */
function bytesOf(value: Value | undefined): number {
  if (!value) return 0;
  const [rows = 1, columns = 1] = value.shape;
  return value.kind === 'weight' ? 4 * (rows + 64) * (columns + 32) : 4 * elementCount(value.shape);
}

/** Returns a hash of a text: two 32-bit FNV-1a hashes with different seeds, in hexadecimal. */
function hash(text: string): string {
  return [0x811c9dc5, 0x01234567]
    .map((seed) => {
      let h = seed;
      for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
      return (h >>> 0).toString(16).padStart(8, '0');
    })
    .join('');
}
