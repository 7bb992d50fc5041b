/** A device with the option `debug`. Only loads with this option import this file. */
import { OptionError } from '../../errors.js';
import type { Gpu } from '../device.js';
import type { Program } from '../program.js';
import type { Burst } from '../task.js';
import { inspectForward } from './inspect.js';
import { tracedTask, withMethods, type TracedTask } from './trace.js';

/** The values of the option `debug`. */
export type DebugMode = 'check' | 'trace';

/**
 * Returns a `Gpu` that works on the same device, buffers and pipelines as `gpu`, and checks or traces the
 * work of the model that uses it. Other models on the device are not affected.
 *
 * @param onTrace called for each task if `mode` is `trace`. Default: `console.debug`
 * @throws OptionError OPTION_VALUE if `mode` is neither `check` nor `trace`
 */
export function debugGpu(gpu: Gpu, mode: DebugMode, onTrace: (task: TracedTask) => void = logTask): Gpu {
  switch (mode) {
    case 'check':
      return withMethods(gpu, {
        inspect: (program: Program, ...rest: Parameters<Program['run']>) =>
          inspectForward(gpu, program, ...rest),
      });
    case 'trace': {
      const task = tracedTask(gpu, onTrace);
      const make = (label: string, create: (burst: Burst) => unknown): Promise<unknown> =>
        task(label, undefined, async (each) => {
          const made = each.burst(create);
          await each.settled();
          each.keepAll();
          return made;
        });
      return withMethods(gpu, { task, make });
    }
    default:
      throw new OptionError(
        'OPTION_VALUE',
        `debug: expected 'check' or 'trace', found ${JSON.stringify(mode)}.`,
      );
  }
}

function logTask({ label, ms, submits, allocatedBytes, uploadedBytes, readBytes, error }: TracedTask): void {
  const bytes = [
    `${allocatedBytes} B allocated`,
    `${uploadedBytes} B uploaded`,
    ...(readBytes > 0 ? [`${readBytes} B read`] : []),
  ];
  console.debug(
    `[dinov2-webgpu] ${label}: ${ms.toFixed(1)} ms, ${submits} submits, ${bytes.join(', ')}${error === undefined ? '' : `, failed: ${error}`}`,
  );
}
