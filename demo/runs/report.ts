/** The facts that the page shows, and the report that a visitor can copy into an issue. */
import type { AdapterDescription, Profile, Support } from '../../src/index.js';
import { modelName, weightsName, type Loaded } from '../shared/modelChoice.js';
import { version } from '../../package.json';

/** Times of the benchmark, in ms. */
export interface Timing {
  readonly px: number;
  readonly timesMs: readonly number[];
}

/** Returns the value in the middle of a sorted copy. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

const named = ({ vendor, architecture, description }: AdapterDescription): string =>
  [vendor, architecture, description].filter((part) => part !== '').join(', ') || 'not named by the browser';

/** Returns the facts of the page as pairs of a name and a value. */
export function factsOf({ model, choice, loadMs }: Loaded, support: Support): [string, string][] {
  const { loaded } = model;
  const from = [
    loaded.fetchedBytes > 0 ? `${megabytes(loaded.fetchedBytes)} from the network` : '',
    loaded.cachedBytes > 0 ? `${megabytes(loaded.cachedBytes)} from the cache` : '',
  ].filter((part) => part !== '');
  return [
    ['Adapter', `${named(model.adapter)}${model.adapter.software ? ' (emulated on the processor)' : ''}`],
    ['WebGPU features', featuresOf(support)],
    ['Largest buffer', megabytes(support.limits?.maxBufferSize ?? 0)],
    ['Model', `${modelName(choice)}, ${weightsName(choice)}`],
    ['Parameters', `${(model.parameterCount / 1e6).toFixed(1)} million`],
    [
      'Weights on the GPU',
      `${model.dtype === 'fp32' ? 'float32' : model.dtype === 'fp16' ? 'float16' : 'int8'}. ${model.dtypeReason}`,
    ],
    ['GPU memory in use', megabytes(model.gpuBytes)],
    ['Load', `${(loadMs / 1000).toFixed(2)} s${from.length > 0 ? `; ${from.join(', ')}` : ''}`],
    ['Library', `dinov2-webgpu ${version}`],
    ['Browser', navigator.userAgent],
  ];
}

/** The features that the library uses, and whether the adapter has them. */
function featuresOf({ features = [] }: Support): string {
  const used = ['shader-f16', 'subgroups', 'timestamp-query'];
  return used.map((name) => `${name}: ${features.includes(name) ? 'yes' : 'no'}`).join(', ');
}

const megabytes = (bytes: number): string =>
  bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;

/** Returns the report as Markdown: the text of `model.report()`, then the measurements of the page. */
export function reportOf(report: string, timings: readonly Timing[], profile: Profile | undefined): string {
  const lines = [report];
  if (timings.length > 0) {
    lines.push('', '| image | median, ms | fastest, ms | runs |', '| --- | --: | --: | --: |');
    for (const { px, timesMs } of timings)
      lines.push(
        `| ${px} × ${px} | ${median(timesMs).toFixed(2)} | ${Math.min(...timesMs).toFixed(2)} | ${timesMs.length} |`,
      );
  }
  if (profile) lines.push('', String(profile));
  return lines.join('\n');
}
