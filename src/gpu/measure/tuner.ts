/**
 * Of the kernels that give the same bits, which are fastest on this very adapter? Measures them at the shapes
 * of a model. No choice changes a result. What a model is loaded with has passed the self-test then (unless
 * that was switched off); what is new here passes it before it may win.
 */
import { DeviceError } from '../../errors.js';
import { elementCount, type Node, type Value } from '../../graph/graph.js';
import type { Gpu } from '../device.js';
import { assemble, kernelName, variantKey, type OperandType } from '../kernels/kernel.js';
import { weightHelpers } from '../kernels/kernels.js';
import {
  alternatives,
  choose,
  EVERY_TILE,
  lanesOf,
  sizeWords,
  type Dispatch,
  type ForwardSize,
  type Target,
} from '../lowering.js';
import { flopsOf } from '../program.js';
import { selfTest } from '../checks/selfTest.js';
import { time, type Work } from './stopwatch.js';

/** What is tuned: see `Target`. The tiles of the last three are compiled only where they are given. */
export interface Tuning {
  readonly wantedLanes: number;
  readonly operands: OperandType;
  readonly wantedLanesWidest: number | undefined;
  readonly wantedLanesNarrow: number | undefined;
  readonly wantedLanesAttention: number | undefined;
}

/** A tuning that was kept; undefined where it is none, whoever wrote it. */
export function parseTuning(kept: unknown): Tuning | undefined {
  const { wantedLanes, operands, wantedLanesWidest, wantedLanesNarrow, wantedLanesAttention } = (kept ??
    {}) as Partial<Tuning>;
  const isCount = (value: unknown): boolean => typeof value === 'number' && value >= 0;
  const known =
    isCount(wantedLanes) &&
    [wantedLanesWidest, wantedLanesNarrow, wantedLanesAttention].every(
      (value) => value === undefined || isCount(value),
    ) &&
    (operands === 'f32' || operands === 'f16');
  return known
    ? { wantedLanes: wantedLanes!, operands, wantedLanesWidest, wantedLanesNarrow, wantedLanesAttention }
    : undefined;
}

/** A target as it was before any tuning. */
export const untuned = (target: Target): Target => ({
  ...target,
  operands: undefined,
  wantedLanesWidest: undefined,
  wantedLanesNarrow: undefined,
  wantedLanesAttention: undefined,
});

/** One kernel at one shape. */
export interface TuningSample {
  /** What it computes: `blocks.0.attn.qkv`. */
  readonly label: string;
  /** Rows of the product: tokens of all images. */
  readonly rows: number;
  readonly kernel: string;
  /** On how many it ran: tells apart the tiles of one kernel. */
  readonly workgroups: number;
  readonly operands: OperandType;
  readonly ms: number;
}

/** A layer at an input size. */
export interface TuningCase {
  readonly node: Node;
  readonly size: ForwardSize;
}

export interface TuningResult {
  readonly tuning: Tuning;
  readonly samples: readonly TuningSample[];
  /** Kernels that were left out, and why. */
  readonly leftOut: readonly string[];
}

/** True where a target leaves something to choose at this node. */
export const isTunable = (node: Node, target: Target): boolean =>
  candidates(node, everything(target)).length > 1;

/** A target that allows all that may be measured. */
const everything = (target: Target): Target => ({ ...target, ...EVERY_TILE, operands: staged(target) });

/** The other way to stage weights, or the only one. */
const staged = ({ weights }: Target): OperandType => (weights === 'f16' ? 'f16' : 'f32');

/** The ways to stage weights that a target allows. */
const operandTypes = ({ operands }: Target): readonly OperandType[] =>
  operands === 'f16' ? ['f32', 'f16'] : ['f32'];

/**
 * What names a tuning: the adapter, and every kernel with its constants, so that none outlives a change of
 * either.
 */
export function tuningKey(gpu: Gpu, cases: readonly TuningCase[], target: Target): string {
  const { vendor, architecture, description } = gpu.info;
  const codes = cases.flatMap(({ node }) =>
    candidates(node, everything(target)).map(
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
 * Measures every candidate at every case; on a GPU in a second or so.
 * @param target as it is without a tuning
 * @throws DeviceError; the signal's reason
 */
export async function tune(
  gpu: Gpu,
  cases: readonly TuningCase[],
  target: Target,
  signal?: AbortSignal,
): Promise<TuningResult> {
  signal?.throwIfAborted();
  // All that may be needed compiles at once: the trials wait for one another, and would wait for one compiler
  // after another.
  for (const { node } of cases)
    for (const { variant } of candidates(node, everything(target)))
      gpu.pipelines.compile(variant).catch(() => undefined);
  const nodes = cases.map(({ node }) => node);
  const leftOut: string[] = [];
  let allowed = target;
  const trials: readonly [what: string, allowing: Partial<Target>][] = [
    ...Object.entries(EVERY_TILE).map(([name, wanted]): [string, Partial<Target>] => [
      name,
      { [name]: wanted },
    ]),
    ['weights staged as f16', { operands: staged(target) }],
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
      // One buffer for each place among the inputs, as large as the largest that stands there: it holds
      // zeros, which take as long as other numbers.
      const places = Math.max(...cases.map(({ node }) => node.inputs.length));
      const inputs = Array.from({ length: places }, (_, place) =>
        burst.storage(
          `tuning input ${place}`,
          Math.max(...cases.map(({ node }) => bytesOf(node.inputs[place]))),
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
    return { tuning: best(cases, allowed, msOf), samples, leftOut };
  });
}

/** The tuning under which the cases take least together. */
function best(
  cases: readonly TuningCase[],
  allowed: Target,
  msOf: (of: TuningCase, dispatch: Dispatch) => number,
): Tuning {
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
  const { operands, wanted, used } = byOperands.reduce((a, b) => (b.ms < a.ms ? b : a));
  const wide = allowed.wantedLanesWidest === undefined ? 0 : 1; // its place
  return {
    operands,
    wantedLanes: wanted[wide] ?? 0,
    wantedLanesWidest: wide === 1 && used.has(0) ? wanted[0] : undefined,
    wantedLanesNarrow: used.has(wide + 2) ? wanted[wide + 1] : undefined,
    wantedLanesAttention: attention.used.has(1) ? attention.wanted[0] : undefined,
  };
}

/**
 * Under which numbers of wanted lanes cases with as many alternatives each take least: of those that make a
 * difference, all are tried. And which alternatives are used then.
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

/** The kernels that may carry a node out, however they stage weights, each once. */
function candidates(node: Node, allowed: Target): Dispatch[] {
  const all = operandTypes(allowed).flatMap((operands) => alternatives(node, { ...allowed, operands }));
  return [...new Map(all.map((dispatch) => [variantKey(dispatch.variant), dispatch])).values()];
}

/** f32, which no stored weight exceeds but for the padding of its panels: 64 columns and 32 rows at most. */
function bytesOf(value: Value | undefined): number {
  if (!value) return 0;
  const [rows = 1, columns = 1] = value.shape;
  return value.kind === 'weight' ? 4 * (rows + 64) * (columns + 32) : 4 * elementCount(value.shape);
}

/** Two 32-bit FNV-1a hashes of a text, in hexadecimal. */
function hash(text: string): string {
  return [0x811c9dc5, 0x01234567]
    .map((seed) => {
      let h = seed;
      for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
      return (h >>> 0).toString(16).padStart(8, '0');
    })
    .join('');
}
