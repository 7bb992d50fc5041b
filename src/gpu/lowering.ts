/**
 * Chooses a kernel for each operation, with its constants and its number of workgroups. The choice depends on
 * the model, the adapter and the input size. The input size only selects among kernels that give the same
 * bits and are all compiled when the model is loaded. So an image gets the same bits alone and in a batch,
 * and a new size compiles nothing.
 */
import { HEAD_DIM } from '../graph/constants.js';
import type { Node, Operation } from '../graph/graph.js';
import type { Gpu } from './device.js';
import type { F16Kernels } from './kernels/f16Kernels.js';
import type { Kernel, KernelVariant, OperandType, WeightStorage } from './kernels/kernel.js';
import * as kernels from './kernels/kernels.js';
import type { LaneKernels } from './kernels/laneKernels.js';
import type { TunedKernels } from './kernels/tunedKernels.js';
import { maskPatches } from './kernels/maskKernels.js';
import type { Axis, Workgroups } from './submits.js';
import { inLines } from './workgroups.js';

/** Properties of the adapter, the weights and the tuning that decide which kernels are used. */
export interface Target {
  /**
   * True for a software adapter. On such an adapter, linear layers use the wide tile only: it is the fastest
   * tile there, and each further tile takes seconds to compile.
   */
  readonly software: boolean;
  /** Kernels for a software adapter, by subgroup size (`Gpu.laneKernels`). Default: the tiled kernels. */
  readonly laneKernels?: LaneKernels | undefined;
  /** How the weight matrices are stored on the GPU. */
  readonly weights: WeightStorage;
  /** Element type of f16 weights in workgroup memory (tiled kernels). Default: f32. */
  readonly operands?: OperandType | undefined;
  /**
   * Kernels of linear layers with f16 arithmetic (tiled kernels, f16 weights; with `operands` f16). Their bits
   * differ from those of f32 arithmetic. Default: f32 arithmetic.
   */
  readonly f16?: F16Kernels | undefined;
  /**
   * Minimum number of active lanes that keep this GPU busy. A linear layer uses the narrow tile if the wide
   * tile would launch fewer lanes. Default: a value for an average GPU.
   */
  readonly wantedLanes?: number | undefined;
  /**
   * Kernels for the tall and the small tile (tiled kernels, f32 arithmetic). Default: these tiles are neither
   * compiled nor used.
   */
  readonly tuned?: TunedKernels | undefined;
  /**
   * A linear layer uses the tall tile (`tuned`) if that tile launches at least this many lanes, else the
   * widest or the wide tile. Default: the tall tile is neither compiled nor used.
   */
  readonly wantedLanesTall?: number | undefined;
  /**
   * A linear layer uses the widest tile if that tile launches at least this many lanes, else the wide tile.
   * Default: the widest tile is neither compiled nor used.
   */
  readonly wantedLanesWidest?: number | undefined;
  /**
   * A linear layer uses the small tile (`tuned`) if the narrow tile would launch fewer lanes than this. Default: the
   * small tile is neither compiled nor used.
   */
  readonly wantedLanesNarrow?: number | undefined;
  /**
   * Attention uses 16 queries per workgroup if 32 queries would launch fewer lanes than this. Default: the
   * kernel with 16 queries is neither compiled nor used.
   */
  readonly wantedLanesAttention?: number | undefined;
  /**
   * Removes the kernels that this GPU cannot compile or computes wrongly from the kernels of a node. At least
   * one remains. Set if the usual kernels failed (`weights/otherKernels.ts`). Default: removes none.
   */
  readonly keep?:
    ((all: readonly [Dispatch, ...Dispatch[]]) => readonly [Dispatch, ...Dispatch[]]) | undefined;
}

/** Default of `wantedLanes`: an average GPU with about ten multiprocessors of 512 lanes each. */
const DEFAULT_LANES = 5120;

/**
 * `wantedLanes` by vendor. Intel GPUs have few lanes, and Intel's compiler produces better code for the wide
 * tile than for the narrow tile: multiply-adds are 75 to 78 % of the instructions in the inner loop of the
 * wide tile, and 62 to 71 % in that of the narrow tile (bench/RESULTS.md). The value has not been measured on
 * a GPU yet. Every value gives the same bits.
 */
const LANES_BY_VENDOR: Readonly<Record<string, number>> = { intel: 1500 };

/**
 * Returns the target (the properties that decide which kernels are used) for an adapter and a weight
 * storage, before tuning.
 */
export function targetOf(
  { info, laneKernels, alternativesAgree }: Pick<Gpu, 'info' | 'laneKernels' | 'alternativesAgree'>,
  weights: WeightStorage,
): Target {
  const { software, vendor } = info;
  // If alternative kernels give different bits, `wantedLanes` is 0: the first kernel is used for every size.
  return {
    software,
    laneKernels,
    weights,
    wantedLanes: alternativesAgree ? (LANES_BY_VENDOR[vendor.toLowerCase()] ?? DEFAULT_LANES) : 0,
  };
}

/** Size of a forward pass's input. */
export interface ForwardSize {
  /** Number of images. */
  readonly batch: number;
  /** Number of rows of patches of an image. */
  readonly rows: number;
  /** Number of columns of patches of an image. */
  readonly cols: number;
  /** Number of tokens of an image: cls, registers and patches. */
  readonly numTokens: number;
}

/**
 * Returns the words of the uniform `ForwardSize` that the kernels read.
 *
 * @param first first workgroup of a range, if the dispatch is cut into ranges. Default: 0, 0, 0
 */
export const sizeWords = (
  { batch, rows, cols, numTokens }: ForwardSize,
  first: Workgroups = [0, 0, 0],
): number[] => [batch, rows, cols, numTokens, ...first];

/** A kernel variant that can compute an operation. */
export interface Dispatch {
  /** The kernel variant: the kernel with its constants. */
  readonly variant: KernelVariant;
  /** Returns the numbers of workgroups along x, y and z for an input size. */
  readonly workgroups: (size: ForwardSize) => Workgroups;
  /**
   * Axes along which the dispatch can be cut into ranges without changing a bit of the result; see
   * `cutIntoRanges`. Default: none.
   */
  readonly cuts?: readonly Axis[];
  /** Number of lanes in a workgroup. Read only if the operation has several kernels. Default: 64. */
  readonly lanes?: number | undefined;
  /**
   * Minimum number of active lanes. If the dispatch launches fewer, the operation's next kernel is used.
   * Default: 0.
   */
  readonly wantedLanes?: number | undefined;
}

/** Number of output columns in a panel of packed weights (`weights/packing.ts`). */
export const PANEL_COLUMNS = 64;
/** The number of input features of a panel is padded to a multiple of this. */
export const PANEL_K = 32;

/** Returns the number of input features including the padding to a multiple of `PANEL_K`. */
export const paddedK = (inFeatures: number): number => Math.ceil(inFeatures / PANEL_K) * PANEL_K;

/**
 * Returns the shader constant SCALES_AT: the index (in u32) of the first scale of int8 weights, after the
 * panels.
 */
const scalesAt = (
  storage: WeightStorage,
  outFeatures: number,
  inFeatures: number,
): KernelVariant['constants'] =>
  storage === 'int8'
    ? { SCALES_AT: ceilDiv(outFeatures, PANEL_COLUMNS) * (PANEL_COLUMNS / 4) * paddedK(inFeatures) }
    : {};

/** The order in which a dispatch is cut: along tiles of rows (y) first, then along tiles of columns (x). */
const ROWS_THEN_COLUMNS: readonly Axis[] = [1, 0];
/**
 * The order in which a dispatch is cut: along images (z) first, then along tiles of queries (x), then along
 * heads (y).
 */
const IMAGES_THEN_QUERIES: readonly Axis[] = [2, 0, 1];

const tokenRows = ({ batch, numTokens }: ForwardSize): number => batch * numTokens;
const patchRows = ({ batch, rows, cols }: ForwardSize): number => batch * rows * cols;
const ceilDiv = (a: number, b: number): number => Math.ceil(a / b);

/** Chooses the kernel of a node for an input size. */
export function lower(node: Node, target: Target, size: ForwardSize): Dispatch {
  const dispatches = alternatives(node, target);
  return dispatches[
    choose(
      dispatches.map((dispatch) => lanesOf(dispatch, size)),
      dispatches.map(({ wantedLanes }) => wantedLanes),
    )
  ]!;
}

/**
 * Returns the index of the first kernel in a list that launches at least as many lanes as its `wantedLanes`
 * requires, or the index of the last kernel if none does.
 */
export function choose(lanes: readonly number[], wanted: readonly (number | undefined)[]): number {
  const index = lanes.findIndex((count, i) => count >= (wanted[i] ?? 0));
  return index < 0 ? lanes.length - 1 : index;
}

/** Returns the number of lanes that a dispatch launches. */
export const lanesOf = ({ workgroups, lanes = 64 }: Dispatch, size: ForwardSize): number =>
  lanes * workgroups(size).reduce((product, count) => product * count);

/**
 * Returns the kernels that can compute a node. All of these kernels give the same bits. The most efficient
 * kernel comes first. Each further kernel does less work per workgroup, so it launches more lanes. The
 * bindings of each kernel are the uniform `ForwardSize`, the node's inputs in order, and the node's output.
 */
export function alternatives(node: Node, target: Target): readonly [Dispatch, ...Dispatch[]] {
  const all = everyAlternative(node, target);
  return target.keep?.(all) ?? all;
}

function everyAlternative(node: Node, target: Target): readonly [Dispatch, ...Dispatch[]] {
  assertComputable(node);
  const { operation } = node;
  const { laneKernels } = target;
  switch (operation.kind) {
    case 'linear':
    case 'linearGelu':
    case 'linearSwiglu':
    case 'linearScaleResidual': {
      const form = linearForms[operation.kind];
      return laneKernels ? [laneLinear(node, form, target, laneKernels)] : tiledLinear(node, form, target);
    }
    case 'attention':
      return laneKernels
        ? [laneAttention(node, operation.numHeads, laneKernels)]
        : tiledAttention(node, operation.numHeads, target);
    case 'layerNorm':
      return [layerNorm(node, operation.eps, laneKernels)];
    default:
      return [singleKernel(node, operation, target)];
  }
}

/**
 * Asserts the properties of shapes that the kernels rely on. With other shapes, a kernel would read and write
 * past the ends of rows. `checkConfig` rejects such models before anything is loaded.
 */
function assertComputable({ label, operation, inputs, output }: Node): void {
  const columns = output.shape[1]!;
  const holds = (condition: boolean, expected: string, found: number): void => {
    if (!condition) throw new Error(`${label}: expected ${expected}, found ${found}`);
  };
  holds(columns % 4 === 0, 'a number of columns that is a multiple of 4', columns);
  if (operation.kind === 'patchEmbed')
    holds(operation.patchSize % 2 === 0, 'an even patch size', operation.patchSize);
  if (operation.kind === 'attention')
    holds(
      columns === operation.numHeads * HEAD_DIM,
      `heads of width ${HEAD_DIM}`,
      columns / operation.numHeads,
    );
  if (operation.kind in linearForms) {
    const inFeatures = inputs[1]!.shape[1]!;
    holds(inFeatures % 4 === 0, 'a number of input features that is a multiple of 4', inFeatures);
  }
}

/** The kernel of an operation that has only one kernel on every target. */
function singleKernel(
  { output }: Node,
  operation: Exclude<Operation, { kind: LinearKind | 'attention' | 'layerNorm' }>,
  target: Target,
): Dispatch {
  const columns = output.shape[1]!;
  const plain = (kernel: Kernel, constants: KernelVariant['constants']): KernelVariant => ({
    kernel,
    constants,
  });
  switch (operation.kind) {
    case 'patchEmbed': {
      const { patchSize } = operation;
      const inFeatures = 3 * patchSize * patchSize;
      const constants = {
        EMBED_DIM: columns,
        PATCH_SIZE: patchSize,
        IN_PADDED: paddedK(inFeatures),
        ...scalesAt(target.weights, columns, inFeatures),
      };
      return {
        variant: { kernel: kernels.patchEmbed, constants, weights: target.weights },
        workgroups: (size) => [ceilDiv(columns, 64), ceilDiv(patchRows(size), 16), 1],
        cuts: ROWS_THEN_COLUMNS,
      };
    }
    case 'maskPatches':
      return {
        variant: plain(maskPatches, { EMBED_DIM: columns }),
        workgroups: ({ batch, rows, cols }) => [ceilDiv(columns / 4, 64), rows * cols, batch],
      };
    case 'assembleTokens': {
      const { numRegisterTokens } = operation;
      const kernel = numRegisterTokens > 0 ? kernels.assembleTokensRegisters : kernels.assembleTokens;
      return {
        variant: plain(kernel, { EMBED_DIM: columns, NUM_REGISTER_TOKENS: numRegisterTokens }),
        workgroups: ({ batch, numTokens }) => [ceilDiv(columns / 4, 64), numTokens, batch],
      };
    }
  }
}

function layerNorm({ output }: Node, eps: number, laneKernels: LaneKernels | undefined): Dispatch {
  const rowsOfWorkgroup = laneKernels ? 4 : 1;
  return {
    variant: {
      kernel: laneKernels?.layerNorm ?? kernels.layerNorm,
      constants: { EMBED_DIM: output.shape[1]!, EPS: `f32(${eps})` },
    },
    workgroups: (size) => [...inLines(ceilDiv(tokenRows(size), rowsOfWorkgroup)), 1],
  };
}

function laneLinear(
  node: Node,
  form: kernels.LinearForm,
  target: Target,
  { lanes, linear, linearRows, linearGroups }: LaneKernels,
): Dispatch {
  const columns = 4 * lanes * linearGroups(form);
  return {
    variant: {
      kernel: linear[form],
      constants: linearConstants(node, target),
      weights: target.weights,
    },
    workgroups: (size) => [ceilDiv(node.output.shape[1]!, columns), ceilDiv(tokenRows(size), linearRows), 1],
    cuts: ROWS_THEN_COLUMNS,
  };
}

function laneAttention({ output }: Node, numHeads: number, { lanes, attention }: LaneKernels): Dispatch {
  return {
    variant: { kernel: attention, constants: { EMBED_DIM: output.shape[1]!, LANES: lanes } },
    workgroups: ({ batch, numTokens }) => [ceilDiv(numTokens, 2 * lanes), numHeads, batch],
    cuts: IMAGES_THEN_QUERIES,
  };
}

function tiledLinear(
  node: Node,
  form: kernels.LinearForm,
  target: Target,
): readonly [Dispatch, ...Dispatch[]] {
  const columns = node.output.shape[1]! * (form === 'linear_swiglu' ? 2 : 1);
  const dispatch = (
    family: typeof kernels.linear,
    tileRows: number,
    tileColumns: number,
    wantedLanes?: number,
    more: KernelVariant['constants'] = {},
  ): Dispatch => ({
    variant: {
      kernel: family[form],
      constants: { ...linearConstants(node, target), ...more },
      weights: target.weights,
      operands: target.weights === 'f16' ? (target.operands ?? 'f32') : 'f32',
    },
    workgroups: (size) => [ceilDiv(columns, tileColumns), ceilDiv(tokenRows(size), tileRows), 1],
    cuts: ROWS_THEN_COLUMNS,
    wantedLanes,
  });
  const { wantedLanes = DEFAULT_LANES, wantedLanesTall, wantedLanesWidest, wantedLanesNarrow, f16 } = target;
  const tuned = f16 ? undefined : target.tuned;
  const { linear, linearNarrow } = f16 ?? kernels;
  const wide = dispatch(linear, 64, 64, wantedLanes, { LANES_X: 8 });
  if (target.software) return [wide];
  const smaller = [
    dispatch(linearNarrow, 32, 64, wantedLanesNarrow),
    ...(tuned && wantedLanesNarrow !== undefined ? [dispatch(tuned.linearSmall, 32, 32)] : []),
  ];
  const larger: Dispatch[] = [];
  if (tuned && wantedLanesTall !== undefined)
    larger.push({ ...dispatch(tuned.linearTall, 128, 64, wantedLanesTall), lanes: 256 });
  if (wantedLanesWidest !== undefined)
    larger.push({ ...dispatch(linear, 64, 128, wantedLanesWidest, { LANES_X: 16 }), lanes: 128 });
  return [...larger, wide, ...smaller] as [Dispatch, ...Dispatch[]];
}

function tiledAttention(
  { output }: Node,
  numHeads: number,
  { wantedLanesAttention }: Target,
): readonly [Dispatch, ...Dispatch[]] {
  const dispatch = (groups: number, wantedLanes?: number): Dispatch => ({
    variant: { kernel: kernels.attention, constants: { EMBED_DIM: output.shape[1]!, QUERY_GROUPS: groups } },
    workgroups: ({ batch, numTokens }) => [ceilDiv(numTokens, 4 * groups), numHeads, batch],
    cuts: IMAGES_THEN_QUERIES,
    lanes: 8 * groups,
    wantedLanes,
  });
  return [dispatch(8, wantedLanesAttention), ...(wantedLanesAttention === undefined ? [] : [dispatch(4)])];
}

function linearConstants({ inputs }: Node, { weights }: Target): KernelVariant['constants'] {
  const [outFeatures, inFeatures] = inputs[1]!.shape as [number, number];
  return {
    IN_FEATURES: inFeatures,
    OUT_FEATURES: outFeatures,
    IN_PADDED: paddedK(inFeatures),
    ...scalesAt(weights, outFeatures, inFeatures),
  };
}

type LinearKind = Extract<Operation['kind'], `linear${string}`>;
const linearForms: Readonly<Record<LinearKind, kernels.LinearForm>> = {
  linear: 'linear',
  linearGelu: 'linear_gelu',
  linearSwiglu: 'linear_swiglu',
  linearScaleResidual: 'linear_scale_residual',
};
