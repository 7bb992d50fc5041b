/** The error of a kernel that does not compile. */
import { DeviceError } from '../errors.js';
import { kernelName, type Kernel } from './kernels/kernel.js';

/**
 * Makes the error for a pipeline that does not compile: it lists the compiler's messages.
 * @param module undefined if the browser refused to make it
 * @param adapter the name of the adapter
 */
export async function compileError(
  kernel: Kernel,
  code: string,
  module: GPUShaderModule | undefined,
  adapter: string,
  cause: unknown,
): Promise<DeviceError> {
  const info = await module?.getCompilationInfo().catch(() => undefined);
  const lines = code.split('\n');
  const details = (info?.messages ?? [])
    .filter(({ type }) => type === 'error')
    .map(
      ({ lineNum, linePos, message }) =>
        `  line ${lineNum - 1}:${linePos} of ${kernel.name}.wgsl: ${message}\n    ${lines[lineNum - 1] ?? ''}`,
    );
  const why = details.length > 0 ? details.join('\n') : `  ${String(cause)}`;
  return new DeviceError(
    'KERNEL_COMPILE',
    `Kernel ${kernelName(kernel)} does not compile on ${adapter}:\n${why}\nPlease report this with the name of your GPU and browser.`,
    { cause },
  );
}
