/**
 * Measures the adapter's highest rates (ceilings), every kernel at the shapes of real models, and whole
 * forward passes, in Node and in browsers.
 */
import type { Dtype } from '../src/weights/precision.js';
import { syntheticTensor } from '../src/weights/synthetic.js';
import { DINOv2 } from '../src/dinov2.js';
import { acquireGpu } from '../src/gpu/device.js';
import { measureCeilings, type Ceilings } from '../src/gpu/measure/ceilings.js';
import type { Profile, Throughput } from '../src/gpu/measure/profile.js';
import { configOf, type ModelSize } from '../src/model/config.js';

export interface BenchOptions {
  readonly models: readonly ModelSize[];
  readonly px: readonly number[];
  readonly dtypes: readonly Dtype[];
  /**
   * Time limit, in seconds, for the whole forward passes of a model at one size. If five forward passes would
   * take longer, none is run, and an estimate is reported.
   */
  readonly seconds: number;
  /**
   * Whether to time each kernel. Without these times, forward passes have no estimate and are always run.
   * Default: true.
   */
  readonly kernels?: boolean;
}

export interface KernelRow extends Throughput {
  readonly model: ModelSize;
  readonly px: number;
  readonly dtype: Dtype;
  /** Name of the layer that the kernel computes in each block, such as `blocks.*.attn.qkv`. */
  readonly label: string;
  readonly kernel: string;
}

export interface ForwardRow {
  readonly model: ModelSize;
  readonly px: number;
  readonly dtype: Dtype;
  /**
   * Estimated time of the forward pass in milliseconds, calculated from the measured kernels of one block.
   */
  readonly estimatedMs: number | undefined;
  /** Measured times. Undefined if the estimated time exceeds the limit. */
  readonly measured?: {
    readonly loadMs: number;
    readonly firstMs: number;
    /** Times of forward passes until the GPU has finished. */
    readonly withoutReadback: Times;
    /** Times of forward passes until the last hidden state has been read back as an array. */
    readonly withReadback: Times;
    readonly gflopsPerSecond: number;
    /**
     * Multiply-adds per second of a forward pass with readback, as a share of the adapter's highest measured
     * rate.
     */
    readonly share: number;
    readonly gpuMegabytes: number;
  };
}

export interface Times {
  readonly medianMs: number;
  readonly fastestMs: number;
  readonly runs: number;
}

export interface Report {
  readonly date: string;
  readonly adapter: string;
  readonly where: string;
  readonly timer: string;
  readonly ceilings: Ceilings;
  readonly kernels: readonly KernelRow[];
  readonly forwards: readonly ForwardRow[];
}

const MIN_RUNS = 3;
const MAX_RUNS = 50;

/** Runs all measurements. @param tell called with a text that says what is measured next */
export async function measure(
  options: BenchOptions,
  where: string,
  tell: (news: string) => void,
): Promise<Report> {
  const gpu = await acquireGpu(); // held until the end, so that all models share one device and its ceilings
  try {
    tell('ceilings');
    const ceilings = await measureCeilings(gpu);
    const kernels: KernelRow[] = [];
    const forwards: ForwardRow[] = [];
    let timer = '';
    for (const model of options.models) {
      for (const dtype of options.dtypes) {
        const estimates = new Map<number, { ms: number; flops: number }>();
        if (options.kernels !== false) {
          for (const px of options.px) {
            tell(`kernels of ${model} at ${px}, ${dtype}`);
            const profile = await profileOneBlock(model, px, dtype);
            timer = profile.timer;
            kernels.push(
              ...profile.kernels.map(({ dispatches, ms, flops, bytes, ...rest }) => ({
                model,
                px,
                dtype,
                ...rest,
                ms: ms / dispatches,
                flops: flops / dispatches,
                bytes: bytes / dispatches,
              })),
            );
            estimates.set(px, estimate(profile, configOf(model).depth));
          }
        }
        forwards.push(...(await measureForwards(model, dtype, options, estimates, ceilings, tell)));
      }
    }
    const { description, vendor, architecture } = gpu.info;
    return {
      date: new Date().toISOString().slice(0, 10),
      adapter: description || `${vendor} ${architecture}`,
      where,
      timer,
      ceilings,
      kernels,
      forwards,
    };
  } finally {
    gpu.release();
  }
}

/** Profiles a model with one block, which has every kernel of the whole model at the same shapes. */
async function profileOneBlock(size: ModelSize, px: number, dtype: Dtype): Promise<Profile> {
  const model = await DINOv2.synthetic({ ...configOf(size), depth: 1 }, { dtype });
  try {
    const data = Uint8Array.from({ length: 3 * px * px }, (_, i) => Math.imul(i, 0x9e3779b9) >>> 24);
    return await model.profile({ data, width: px, height: px }, { resize: 'fit', longestSide: px });
  } finally {
    model.dispose();
  }
}

function estimate({ dispatches }: Profile, depth: number): { ms: number; flops: number } {
  const sum = { ms: 0, flops: 0 };
  for (const { label, ms, flops } of dispatches) {
    const times = label.startsWith('blocks.') ? depth : 1;
    sum.ms += times * ms;
    sum.flops += times * flops;
  }
  return sum;
}

async function measureForwards(
  size: ModelSize,
  dtype: Dtype,
  { px: sizes, seconds }: BenchOptions,
  estimates: ReadonlyMap<number, { ms: number; flops: number }>,
  ceilings: Ceilings,
  tell: (news: string) => void,
): Promise<ForwardRow[]> {
  const fits = (px: number): boolean => (estimates.get(px)?.ms ?? 0) * 5 <= seconds * 1000;
  const rowOf = (px: number): Omit<ForwardRow, 'measured'> => ({
    model: size,
    px,
    dtype,
    estimatedMs: estimates.get(px)?.ms,
  });
  if (!sizes.some(fits)) return sizes.map(rowOf);
  tell(`loading ${size}, ${dtype}`);
  const loadStart = performance.now();
  const model = await DINOv2.synthetic(size, { dtype });
  const loadMs = performance.now() - loadStart;
  try {
    const rows: ForwardRow[] = [];
    for (const px of sizes) {
      if (!fits(px)) {
        rows.push(rowOf(px));
        continue;
      }
      tell(`forwards of ${size} at ${px}, ${dtype}`);
      const pixels = syntheticTensor(`pixel_values.${px}x${px}`, [1, 3, px, px]);
      const forward = async (read: boolean): Promise<number> => {
        const startMs = performance.now();
        const features = await model.forward(pixels, { height: px, width: px });
        if (read) await features.lastHiddenState();
        else await model.device.queue.onSubmittedWorkDone();
        const took = performance.now() - startMs;
        features.dispose();
        return took;
      };
      const firstMs = await forward(true);
      const [without, withReadback]: [number[], number[]] = [[], []];
      const until = performance.now() + seconds * 1000;
      while (without.length < MIN_RUNS || (without.length < MAX_RUNS && performance.now() < until)) {
        without.push(await forward(false));
        withReadback.push(await forward(true));
      }
      const flops = estimates.get(px)?.flops ?? NaN;
      const times = timesOf(withReadback);
      const flopsPerSecond = flops / (times.medianMs / 1000);
      rows.push({
        ...rowOf(px),
        measured: {
          loadMs,
          firstMs,
          withoutReadback: timesOf(without),
          withReadback: times,
          gflopsPerSecond: flopsPerSecond / 1e9,
          share: flopsPerSecond / ceilings.flopsPerSecond,
          gpuMegabytes: model.gpuBytes / 1e6,
        },
      });
    }
    return rows;
  } finally {
    model.dispose();
  }
}

function timesOf(ms: readonly number[]): Times {
  const sorted = [...ms].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const medianMs = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { medianMs, fastestMs: sorted[0]!, runs: sorted.length };
}

/** Formats reports of one machine as Markdown tables, with columns for each report (`stock`, `tuned`). */
export function toMarkdown(reports: ReadonlyMap<string, Report>): string {
  const names = [...reports.keys()];
  const first = [...reports.values()][0]!;
  const columns = (titles: readonly string[]): string[] =>
    names.flatMap((name) => titles.map((title) => (names.length > 1 ? `${title}, ${name}` : title)));
  const table = (head: readonly string[], rows: readonly (readonly (string | number)[])[]): string =>
    [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
  const ceilings = table(
    ['ceiling', ...columns(['measured'])],
    [
      [
        'multiply-adds in registers, f32, GFLOP/s',
        ...names.map((name) => (reports.get(name)!.ceilings.flopsPerSecond / 1e9).toFixed(1)),
      ],
      [
        'copy in a shader, GB/s (read and written)',
        ...names.map((name) => (reports.get(name)!.ceilings.bytesPerSecond / 1e9).toFixed(1)),
      ],
    ],
  );
  const kernels = table(
    ['model', 'px', 'dtype', 'kernel', ...columns(['ms', 'GFLOP/s', 'GB/s', 'of the ceiling'])],
    first.kernels.map(({ model, px, dtype, label, kernel }) => [
      model,
      px,
      dtype,
      `${label} (${kernel})`,
      ...names.flatMap((name) => {
        const row = reports
          .get(name)!
          .kernels.find(
            (each) => each.model === model && each.px === px && each.dtype === dtype && each.label === label,
          );
        return row
          ? [
              digits(row.ms),
              row.flops > 0 ? digits(row.gflopsPerSecond) : '',
              digits(row.gigabytesPerSecond),
              percent(row.share),
            ]
          : ['', '', '', ''];
      }),
    ]),
  );
  const forwards = table(
    [
      'model',
      'px',
      'dtype',
      ...columns([
        'forward ms (median, fastest of runs)',
        'with readback ms',
        'GFLOP/s',
        'of the FMA ceiling',
        'load ms',
        'first ms',
        'MB on the GPU',
      ]),
    ],
    first.forwards.map(({ model, px, dtype }) => [
      model,
      px,
      dtype,
      ...names.flatMap((name) => {
        const row = reports
          .get(name)!
          .forwards.find((each) => each.model === model && each.px === px && each.dtype === dtype);
        const measured = row?.measured;
        if (!measured)
          return [
            row?.estimatedMs === undefined ? '' : `not run; about ${digits(row.estimatedMs)} from one block`,
            '',
            '',
            '',
            '',
            '',
            '',
          ];
        const {
          withoutReadback: without,
          withReadback,
          gflopsPerSecond,
          share,
          loadMs,
          firstMs,
          gpuMegabytes,
        } = measured;
        const rate = Number.isNaN(gflopsPerSecond) ? ['', ''] : [digits(gflopsPerSecond), percent(share)];
        return [
          `${digits(without.medianMs)}, ${digits(without.fastestMs)} of ${without.runs}`,
          `${digits(withReadback.medianMs)}, ${digits(withReadback.fastestMs)}`,
          ...rate,
          digits(loadMs),
          digits(firstMs),
          gpuMegabytes.toFixed(1),
        ];
      }),
    ]),
  );
  const parts = [`${first.date}, ${first.adapter}, ${first.where}`, ceilings];
  if (first.kernels.length > 0) parts.push(`Kernels, one dispatch, timed by ${first.timer}:`, kernels);
  return [...parts, 'Whole forwards, one image, warm:', forwards].join('\n\n');
}

const percent = (part: number): string => `${(100 * part).toFixed(0)} %`;
/** Formats a number with three significant digits. */
const digits = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 ? 2 : 3);
