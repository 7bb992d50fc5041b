/**
 * Recomputes attention rows of selected queries from the queries and keys that a forward pass has stored. The
 * GPU never holds a matrix of tokens × tokens.
 */
import { OptionError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { attentionRows, attentionRowsMean } from '../gpu/kernels/attentionRowKernels.js';
import type { Lease } from '../gpu/lease.js';
import { F32_BYTES } from '../graph/constants.js';
import { show } from '../platform/json.js';

/** Options of `Features.attention`. */
export interface AttentionOptions {
  /**
   * The query tokens: the cls token, the patch at a row and column of the grid, a register (counted from 0),
   * or all tokens in the order cls, registers, patches. Default: `cls`.
   */
  readonly query?:
    | 'cls'
    | 'all'
    | { readonly row: number; readonly col: number }
    | { readonly register: number }
    | undefined;
  /** One head, counted from 0, or the mean over all heads. Default: all heads. */
  readonly head?: number | 'mean' | undefined;
  /** Index of the image in the batch. Default: 0. */
  readonly batchIndex?: number | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** The positions of tokens in a batch of features. `Features` implements it. */
export interface TokenLayout {
  readonly batch: number;
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly numHeads: number;
  readonly numRegisterTokens: number;
  readonly numTokens: number;
}

/**
 * Number of bytes of attention rows that are computed per submit. Computing these rows takes about half a
 * GFLOP, which keeps a submit short on any adapter.
 */
const CHUNK_BYTES = 16 * 2 ** 20;

/**
 * Computes attention rows, each a softmax over all tokens: (heads, queries, numTokens). The axis of heads is
 * absent for a single head and for the mean over heads. The axis of queries is absent for a single query.
 * @param qkv (batch · numTokens, 3 · embedDim) on the GPU
 * @param lease lease of the owner of `qkv`
 * @throws OptionError OPTION_VALUE, if a head, query or image is out of range; DeviceError, if the GPU fails
 */
export async function attentionOf(
  gpu: Gpu,
  qkv: GPUBuffer,
  layout: TokenLayout,
  options: AttentionOptions,
  lease?: Lease,
): Promise<Float32Array<ArrayBuffer>> {
  const { embedDim, numTokens } = layout;
  const { head, batchIndex = 0, signal } = options;
  const { first, count } = queriesOf(layout, options.query ?? 'cls');
  const [firstHead, numHeads] = typeof head === 'number' ? [head, 1] : [0, layout.numHeads];
  if (head !== undefined && head !== 'mean') inRange('head', head, layout.numHeads, " or 'mean'");
  inRange('batchIndex', batchIndex, layout.batch);

  const constants = { EMBED_DIM: embedDim };
  const [rowsKernel, meanKernel] = await Promise.all([
    gpu.pipelines.compile({ kernel: attentionRows, constants }),
    head === 'mean' ? gpu.pipelines.compile({ kernel: attentionRowsMean, constants }) : undefined,
  ]);
  const outHeads = meanKernel ? 1 : numHeads;
  const out = new Float32Array(outHeads * count * numTokens);
  const atOnce = Math.max(1, Math.min(count, Math.floor(CHUNK_BYTES / (numHeads * numTokens * F32_BYTES))));
  return gpu.task('attention rows', signal, async (task) => {
    if (lease) task.use(lease);
    const { size, rows, mean } = task.burst((burst) => ({
      size: burst.uniformOf('attention rows size', [0, 0, 0, 0, 0, 0]),
      rows: burst.storage('attention rows', numHeads * atOnce * numTokens * F32_BYTES),
      mean: meanKernel && burst.storage('attention rows mean', atOnce * numTokens * F32_BYTES),
    }));
    for (let done = 0; done < count; done += atOnce) {
      const portion = Math.min(atOnce, count - done);
      task.burst((burst) => {
        burst.write(
          size,
          0,
          new Uint32Array([numTokens, portion, numHeads, batchIndex * numTokens, first + done, firstHead]),
        );
        burst.dispatch(rowsKernel, [size, qkv, rows], [portion, numHeads]);
        if (meanKernel && mean)
          burst.dispatch(meanKernel, [size, rows, mean], [Math.ceil(numTokens / 64), portion]);
      });
      const found = new Float32Array(
        await task.read(mean ?? rows, 0, outHeads * portion * numTokens * F32_BYTES),
      );
      for (let each = 0; each < outHeads; each++) {
        const from = each * portion * numTokens;
        out.set(found.subarray(from, from + portion * numTokens), (each * count + done) * numTokens);
      }
    }
    return out;
  });
}

/** Indices of the query tokens, which are consecutive. */
function queriesOf(
  { rows, cols, numTokens, numRegisterTokens }: TokenLayout,
  query: NonNullable<AttentionOptions['query']>,
): { first: number; count: number } {
  if (query === 'cls') return { first: 0, count: 1 };
  if (query === 'all') return { first: 0, count: numTokens };
  if (typeof query === 'object' && 'register' in query) {
    inRange('query.register', query.register, numRegisterTokens);
    return { first: 1 + query.register, count: 1 };
  }
  if (typeof query === 'object' && 'row' in query) {
    inRange('query.row', query.row, rows);
    inRange('query.col', query.col, cols);
    return { first: 1 + numRegisterTokens + query.row * cols + query.col, count: 1 };
  }
  throw new OptionError(
    'OPTION_VALUE',
    `attention: query: expected 'cls', 'all', { row, col } or { register }, found ${JSON.stringify(query)}.`,
  );
}

function inRange(name: string, value: number, count: number, or = ''): void {
  if (Number.isInteger(value) && value >= 0 && value < count) return;
  const expected =
    count === 0
      ? 'no register, because this model has no registers'
      : `a whole number from 0 to ${count - 1}${or}`;
  throw new OptionError('OPTION_VALUE', `attention: ${name}: expected ${expected}, found ${show(value)}.`);
}
