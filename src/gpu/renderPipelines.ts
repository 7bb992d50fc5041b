/** Compiles the shaders that draw. Separate from `pipelines.ts`, because most pages do not draw on a target. */
import { SHADER_STAGE_FRAGMENT } from './constants.js';
import { assemble, kernelName, type RenderKernel } from './kernels/kernel.js';
import { weightHelpers } from './kernels/weightHelpers.js';
import { loadPart } from '../platform/part.js';
import { bindingLayouts, type PipelineCache } from './pipelines.js';
import { scoped } from './scopes.js';

/** A shader that draws, compiled for one format of render target. */
export interface CompiledRender {
  /** The compiled pipeline. */
  readonly pipeline: GPURenderPipeline;
  /** Layout of the pipeline's only bind group. */
  readonly layout: GPUBindGroupLayout;
}

/** The compiled pipelines of each device by shader and format. */
const compiled = new WeakMap<GPUDevice, Map<string, Promise<CompiledRender>>>();

/**
 * Returns the pipeline of a shader for a format of render target. The first call compiles it. A failure is not
 * cached, so a later call tries again.
 *
 * @param cache the compute pipelines of the device
 * @throws DeviceError KERNEL_COMPILE, DEVICE_LOST
 */
export function compileRender(
  device: GPUDevice,
  cache: Pick<PipelineCache, 'adapter' | 'check'>,
  kernel: RenderKernel,
  format: GPUTextureFormat,
): Promise<CompiledRender> {
  let pipelines = compiled.get(device);
  if (!pipelines) compiled.set(device, (pipelines = new Map()));
  const key = `${kernelName(kernel)} ${format}`;
  let pipeline = pipelines.get(key);
  if (!pipeline) {
    pipeline = compile(device, cache, kernel, format);
    pipelines.set(key, pipeline);
    pipeline.catch(() => pipelines.delete(key));
  }
  return pipeline;
}

async function compile(
  device: GPUDevice,
  cache: Pick<PipelineCache, 'adapter' | 'check'>,
  kernel: RenderKernel,
  format: GPUTextureFormat,
): Promise<CompiledRender> {
  const label = kernelName(kernel);
  const code = assemble({ kernel, constants: {} }, weightHelpers);
  const entries = kernel.bindings.map(({ access }, binding) => ({
    binding,
    visibility: SHADER_STAGE_FRAGMENT,
    ...bindingLayouts[access],
  }));
  let module: GPUShaderModule | undefined;
  try {
    // The error contains the compiler's messages. This error scope keeps the browser from reporting them again.
    const { result } = scoped(device, () => {
      const layout = device.createBindGroupLayout({ label, entries });
      module = device.createShaderModule({ label, code });
      const compiling = device.createRenderPipelineAsync({
        label,
        layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
        vertex: { module, entryPoint: kernel.vertexEntryPoint },
        fragment: { module, entryPoint: kernel.entryPoint, targets: [{ format }] },
      });
      return { layout, compiling };
    });
    const pipeline = await Promise.race([result.compiling, device.lost.then(cache.check)]); // see PipelineCache
    return { pipeline: pipeline as GPURenderPipeline, layout: result.layout };
  } catch (cause) {
    await cache.check();
    const { compileError } = await loadPart(import('./compileError.js'));
    throw await compileError(kernel, code, module, cache.adapter, cause);
  }
}
