/** Formats a profile as a table. */
import type { ProfileData, Throughput } from './profile.js';

/** Returns a Markdown table with one row for each kernel. */
export function profileTable(profile: ProfileData): string {
  const { ceilings, kernels, total, timer, forwardMs } = profile;
  const line = (
    name: string,
    count: number,
    { ms, gflopsPerSecond, gigabytesPerSecond, share }: Throughput,
  ): string =>
    `| ${[name, count, ms.toFixed(3), percent(ms / total.ms), gflopsPerSecond.toFixed(1), gigabytesPerSecond.toFixed(1), percent(share)].join(' | ')} |`;
  return [
    '| kernel | dispatches | ms | of the forward | GFLOP/s | GB/s | of the ceiling |',
    '|---|---|---|---|---|---|---|',
    ...kernels.map((kernel) => line(`${kernel.label} (${kernel.kernel})`, kernel.dispatches, kernel)),
    line('sum', profile.dispatches.length, total),
    '',
    `The whole forward: ${forwardMs.toFixed(3)} ms. Ceilings: ${(ceilings.flopsPerSecond / 1e9).toFixed(1)} GFLOP/s f32, ${(ceilings.bytesPerSecond / 1e9).toFixed(1)} GB/s.` +
      (timer === 'submits' ? ' Timed with the clock of the page: the device has no timestamp-query.' : ''),
  ].join('\n');
}

const percent = (part: number): string => `${(100 * part).toFixed(1)} %`;
