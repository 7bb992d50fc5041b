/**
 * Of the kernels that give the same bits, which are fastest on this very adapter? Measures them at the shapes of a model. No choice changes a result. What a
 * model is loaded with has passed the self-test then (unless that was switched off); what is new here passes it before it may win.
 */
import { DeviceError } from '../errors.js';
import { elementCount, type Node, type Value } from '../graph/graph.js';
import type { Gpu } from './device.js';
import { assemble, kernelName, type OperandType } from './kernel.js';
import { weightHelpers } from './kernels.js';
import { alternatives, lanesOf, lower, type Dispatch, type ForwardSize, type Target } from './lowering.js';
import { selfTest, type PackMatrix } from './selfTest.js';
import { time, type Work } from './stopwatch.js';

/** What is tuned: see `Target`. */
export interface Tuning {
  readonly wantedLanes: number;
  readonly operands: OperandType;
}

/** A tuning that was kept; undefined where it is none, whoever wrote it. */
export function parseTuning(kept: unknown): Tuning | undefined {
  const { wantedLanes, operands } = (kept ?? {}) as Partial<Tuning>;
  return typeof wantedLanes === 'number' && wantedLanes >= 0 && (operands === 'f32' || operands === 'f16') ? { wantedLanes, operands } : undefined;
}

/** One kernel at one shape. */
export interface TuningSample {
  /** What it computes: `blocks.0.attn.qkv`. */
  readonly label: string;
  /** Rows of the product: tokens of all images. */
  readonly rows: number;
  readonly kernel: string;
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

interface Candidate {
  readonly operands: OperandType;
  readonly dispatches: readonly Dispatch[];
}

/** True where a target leaves something to choose at these layers. */
export const isTunable = (cases: readonly TuningCase[], target: Target): boolean => cases.some(({ node }) => candidates(node, target).flatMap(({ dispatches }) => dispatches).length > 1);

/**
 * What names a tuning: the adapter, and every kernel with its constants, so that none outlives a change of either.
 */
export function tuningKey(gpu: Gpu, cases: readonly TuningCase[], target: Target): string {
  const { vendor, architecture, description } = gpu.info;
  const codes = cases.flatMap(({ node }) => candidates(node, target).flatMap(({ dispatches }) => dispatches.map(({ variant }) => variant.kernel.entryPoint + assemble(variant, weightHelpers))));
  const sizes = cases.map(({ size }) => [size.batch, size.numTokens]);
  return JSON.stringify(['tuning 1', vendor, architecture, description, hash([...new Set(codes)].join('\n')), sizes]);
}

/**
 * Measures every candidate at every case; on a GPU in a second or so.
 * @throws DeviceError; the signal's reason
 */
export async function tune(gpu: Gpu, cases: readonly TuningCase[], target: Target, pack: PackMatrix, signal?: AbortSignal): Promise<TuningResult> {
  const leftOut: string[] = [];
  const allowed = new Set<OperandType>(['f32']);
  if (cases.some(({ node }) => candidates(node, target).length > 1)) {
    try {
      await selfTest(gpu, { ...target, operands: 'f16' }, pack);
      allowed.add('f16');
    } catch (error) {
      if (!(error instanceof DeviceError && (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE'))) throw error;
      leftOut.push(`weights staged as f16: ${error.message}`);
    }
  }
  signal?.throwIfAborted();

  const entries = cases.flatMap(({ node, size }) =>
    candidates(node, target)
      .filter(({ operands }) => allowed.has(operands))
      .flatMap(({ operands, dispatches }) => dispatches.map((dispatch) => ({ node, size, operands, dispatch }))),
  );
  const kernels = await Promise.all(entries.map(({ dispatch }) => gpu.pipelines.compile(dispatch.variant)));
  const made: GPUBuffer[] = [];
  try {
    const buffers = await gpu.allocating(() => {
      const make = (label: string, bytes: number): GPUBuffer => {
        const buffer = gpu.memory.storage(`tuning ${label}`, bytes);
        made.push(buffer);
        return buffer;
      };
      // One buffer for each place among the inputs, as large as the largest that stands there: it holds zeros, which take as long as other numbers.
      const places = Math.max(...cases.map(({ node }) => node.inputs.length));
      const inputs = Array.from({ length: places }, (_, place) => make(`input ${place}`, Math.max(...cases.map(({ node }) => bytesOf(node.inputs[place])))));
      const output = make('output', Math.max(...cases.map(({ node }) => bytesOf(node.output))));
      const sizes = new Map(cases.map(({ size }) => [size, gpu.memory.uniformOf('tuning size', [size.batch, size.rows, size.cols, size.numTokens])]));
      made.push(...sizes.values());
      return { inputs, output, sizes };
    });
    const works = entries.map(({ node, size, dispatch }, i): Work => {
      const kernel = kernels[i]!;
      const bound = [buffers.sizes.get(size)!, ...buffers.inputs.slice(0, node.inputs.length), buffers.output];
      const group = gpu.pipelines.bind(kernel, bound.map((buffer) => ({ buffer })));
      const workgroups = dispatch.workgroups(size);
      return {
        seconds: (2 * elementCount(node.inputs[1]!.shape) * size.batch * size.numTokens) / gpu.flopsPerSecond,
        encode: (pass) => {
          pass.setPipeline(kernel.pipeline);
          pass.setBindGroup(0, group);
          pass.dispatchWorkgroups(...workgroups);
        },
      };
    });
    const { seconds } = await time(gpu, works, signal);
    const samples = entries.map(({ node, size, operands, dispatch }, i): TuningSample => {
      return { label: node.label, rows: size.batch * size.numTokens, kernel: kernelName(dispatch.variant.kernel), operands, ms: 1000 * seconds[i]! };
    });
    const msOf = (node: Node, size: ForwardSize, chosen: Dispatch): number => {
      const i = entries.findIndex((entry) => entry.node === node && entry.size === size && entry.dispatch.variant.kernel === chosen.variant.kernel && entry.dispatch.variant.operands === chosen.variant.operands);
      return samples[i]!.ms;
    };
    return { tuning: best(cases, target, [...allowed], msOf), samples, leftOut };
  } finally {
    for (const buffer of made) gpu.memory.destroy(buffer);
  }
}

/** The tuning under which the cases take least together: each number of wanted lanes that makes a difference is tried. */
function best(cases: readonly TuningCase[], target: Target, operandTypes: readonly OperandType[], msOf: (node: Node, size: ForwardSize, chosen: Dispatch) => number): Tuning {
  const lanes = cases.flatMap(({ node, size }) => alternatives(node, target).map((dispatch) => lanesOf(dispatch, size) + 1));
  let winner: Tuning & { readonly ms: number } = { wantedLanes: 0, operands: 'f32', ms: Infinity };
  for (const operands of operandTypes) {
    for (const wantedLanes of [0, ...new Set(lanes)]) {
      const ms = cases.reduce((sum, { node, size }) => sum + msOf(node, size, lower(node, { ...target, operands, wantedLanes }, size)), 0);
      if (ms < winner.ms) winner = { wantedLanes, operands, ms };
    }
  }
  return { wantedLanes: winner.wantedLanes, operands: winner.operands };
}

/** The kernels that may carry a node out, by how they stage weights. */
function candidates(node: Node, target: Target): Candidate[] {
  const types: readonly OperandType[] = target.weights === 'f16' && !target.software ? ['f32', 'f16'] : ['f32'];
  return types.map((operands) => ({ operands, dispatches: alternatives(node, { ...target, operands }) }));
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
