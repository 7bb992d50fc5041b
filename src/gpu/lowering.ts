/**
 * Which kernel carries an operation out, with which constants, on how many workgroups. Model and adapter
 * decide; the size of the input only among alternatives that give the same bits, all of which are compiled
 * when the model is loaded. So an image alone and the same image in a batch get the same bits, and a new size
 * compiles nothing.
 */
import { HEAD_DIM } from '../graph/constants.js';
import type { Node, Operation } from '../graph/graph.js';
import type { Gpu } from './device.js';
import type { Kernel, KernelVariant, OperandType, WeightStorage } from './kernels/kernel.js';
import * as kernels from './kernels/kernels.js';
import type { LaneKernels } from './kernels/laneKernels.js';
import { maskPatches } from './kernels/outputKernels.js';
import type { Axis, Workgroups } from './submits.js';
import { inLines } from './workgroups.js';

/** What a choice of kernels depends on. */
export interface Target {
  /**
   * A software adapter. Linear layers use the wide tile only: it is the fastest one there, and each further
   * one takes seconds to compile.
   */
  readonly software: boolean;
  /** Kernels of a software adapter for its subgroups (`Gpu.laneKernels`). Default: the tiled kernels. */
  readonly laneKernels?: LaneKernels | undefined;
  readonly weights: WeightStorage;
  /** How the tiled kernels stage f16 weights. Default: f32. */
  readonly operands?: OperandType | undefined;
  /**
   * Lanes that this GPU wants at work at once; the wide tile of a linear layer gives way to the narrow one
   * where it leaves it with fewer. Default: what a middling GPU wants.
   */
  readonly wantedLanes?: number | undefined;
  /**
   * With fewer lanes than this at work, a linear layer's widest tile gives way to the wide one. Default:
   * there is no widest one, and none is compiled.
   */
  readonly wantedLanesWidest?: number | undefined;
  /**
   * With fewer lanes than this at work, a linear layer's narrow tile gives way to the small one. Default:
   * there is no small one, and none is compiled.
   */
  readonly wantedLanesNarrow?: number | undefined;
  /** The same for attention: 32 queries a workgroup give way to 16. */
  readonly wantedLanesAttention?: number | undefined;
}

/**
 * A target with this has every kernel that gives the same bits, and uses none but those that it had. For
 * those who try them all.
 */
export const EVERY_TILE: Readonly<
  Record<'wantedLanesWidest' | 'wantedLanesNarrow' | 'wantedLanesAttention', number>
> = { wantedLanesWidest: Infinity, wantedLanesNarrow: 0, wantedLanesAttention: 0 };

/** Lanes that keep a middling GPU busy: some ten multiprocessors with 512 lanes each. */
const DEFAULT_LANES = 5120;

/**
 * The same where the vendor says more. Intel's GPUs in browsers are small, and their compiler makes much more
 * of the large tile (75 to 78 % of its inner loop are multiply-adds, 62 to 71 % of the narrow one's:
 * bench/RESULTS.md). Neither number was measured on a GPU yet; every choice gives the same bits.
 */
const LANES_BY_VENDOR: Readonly<Record<string, number>> = { intel: 1500 };

/**
 * What the kernels are chosen for on an adapter, with weights stored like this, until `tuner.ts` has
 * measured.
 */
export function targetOf(
  { info, laneKernels, alternativesAgree }: Pick<Gpu, 'info' | 'laneKernels' | 'alternativesAgree'>,
  weights: WeightStorage,
): Target {
  const { software, vendor } = info;
  // None are wanted where kernels that stand for each other give different bits: the first one carries
  // everything out.
  return {
    software,
    laneKernels,
    weights,
    wantedLanes: alternativesAgree ? (LANES_BY_VENDOR[vendor.toLowerCase()] ?? DEFAULT_LANES) : 0,
  };
}

/** What a forward runs on. */
export interface ForwardSize {
  readonly batch: number;
  readonly rows: number;
  readonly cols: number;
  readonly numTokens: number;
}

/**
 * Words of the uniform `ForwardSize` of the kernels.
 * @param first workgroup of the range that is dispatched. Default: the dispatch's own first one
 */
export const sizeWords = (
  { batch, rows, cols, numTokens }: ForwardSize,
  first: Workgroups = [0, 0, 0],
): number[] => [batch, rows, cols, numTokens, ...first];

export interface Dispatch {
  readonly variant: KernelVariant;
  /** Workgroups along x, y, z for an input size. */
  readonly workgroups: (size: ForwardSize) => Workgroups;
  /**
   * Axes along which the kernel may run in ranges, see `cutIntoRanges`: every workgroup computes what it does in
   * one dispatch. Default: none.
   */
  readonly cuts?: readonly Axis[];
  /** Lanes of a workgroup, where there are alternatives. Default: 64. */
  readonly lanes?: number | undefined;
  /** Lanes that it must keep at work, or the next alternative takes over. Default: 0. */
  readonly wantedLanes?: number | undefined;
}

/**
 * Columns of a panel of packed weights, and what the length of its rows is padded to. `weights/packing.ts`
 * packs them.
 */
export const PANEL_COLUMNS = 64;
export const PANEL_K = 32;

export const paddedK = (inFeatures: number): number => Math.ceil(inFeatures / PANEL_K) * PANEL_K;

/** Where the scales of int8 weights begin, in u32: behind the panels. */
const scalesAt = (
  storage: WeightStorage,
  outFeatures: number,
  inFeatures: number,
): KernelVariant['constants'] =>
  storage === 'int8'
    ? { SCALES_AT: ceilDiv(outFeatures, PANEL_COLUMNS) * (PANEL_COLUMNS / 4) * paddedK(inFeatures) }
    : {};

/** Tiles of rows (y), then of columns (x). */
const ROWS_THEN_COLUMNS: readonly Axis[] = [1, 0];
/** Images (z), then tiles of queries (x), then heads (y). */
const IMAGES_THEN_QUERIES: readonly Axis[] = [2, 0, 1];

const tokenRows = ({ batch, numTokens }: ForwardSize): number => batch * numTokens;
const patchRows = ({ batch, rows, cols }: ForwardSize): number => batch * rows * cols;
const ceilDiv = (a: number, b: number): number => Math.ceil(a / b);

/** The kernel that a node gets for an input of this size. */
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
 * Which of several alternatives: the first that keeps as many lanes at work as are wanted of it, or the last.
 */
export function choose(lanes: readonly number[], wanted: readonly (number | undefined)[]): number {
  const found = lanes.findIndex((count, i) => count >= (wanted[i] ?? 0));
  return found < 0 ? lanes.length - 1 : found;
}

/** How many lanes one of several alternatives keeps at work. */
export const lanesOf = ({ workgroups, lanes = 64 }: Dispatch, size: ForwardSize): number =>
  lanes * workgroups(size).reduce((product, count) => product * count);

/**
 * The kernels that may carry a node out, the most economical one first: each does less for a lane, or for a
 * workgroup, than the one before, so that more of them share the work. All give the same bits. Their bindings
 * are the uniform size, the node's inputs in their order, and its output.
 */
export function alternatives(node: Node, target: Target): readonly [Dispatch, ...Dispatch[]] {
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
      return [only(node, operation, target)];
  }
}

/**
 * What the kernels take for granted of shapes, and do not check: with other ones they read and write past the
 * ends of rows. `checkConfig` refuses such models before anything is loaded.
 */
function assertComputable({ label, operation, inputs, output }: Node): void {
  const columns = output.shape[1]!;
  const holds = (condition: boolean, expected: string, found: number): void => {
    if (!condition) throw new Error(`${label}: expected ${expected}, found ${found}`);
  };
  holds(columns % 4 === 0, 'columns in groups of 4', columns);
  if (operation.kind === 'patchEmbed')
    holds(operation.patchSize % 2 === 0, 'patches of an even side', operation.patchSize);
  if (operation.kind === 'attention')
    holds(columns === operation.numHeads * HEAD_DIM, `heads of ${HEAD_DIM}`, columns / operation.numHeads);
  if (operation.kind in linearForms) {
    const inFeatures = inputs[1]!.shape[1]!;
    holds(inFeatures % 4 === 0, 'a multiple of 4 as width of the input', inFeatures);
  }
}

/** What has one kernel on every target. */
function only(
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
  const { wantedLanes = DEFAULT_LANES, wantedLanesWidest, wantedLanesNarrow } = target;
  const wide = dispatch(kernels.linear, 64, 64, wantedLanes, { LANES_X: 8 });
  if (target.software) return [wide];
  const smaller = [
    dispatch(kernels.linearNarrow, 32, 64, wantedLanesNarrow),
    ...(wantedLanesNarrow === undefined ? [] : [dispatch(kernels.linearSmall, 32, 32)]),
  ];
  if (wantedLanesWidest === undefined) return [wide, ...smaller];
  return [
    { ...dispatch(kernels.linear, 64, 128, wantedLanesWidest, { LANES_X: 16 }), lanes: 128 },
    wide,
    ...smaller,
  ];
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
