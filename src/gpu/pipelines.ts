/**
 * Compiles kernels, each variant once. If compiling fails, the DeviceError names the kernel, the line and the
 * adapter.
 */
import { DeviceError } from '../errors.js';
import { SHADER_STAGE_COMPUTE } from './constants.js';
import { assemble, kernelName, type Access, type Kernel, type KernelVariant } from './kernels/kernel.js';
import { loadPart } from '../platform/part.js';
import { scoped } from './scopes.js';
import { weightHelpers } from './kernels/weightHelpers.js';

/** A kernel variant with its compiled pipeline. */
export interface CompiledKernel {
  /** The kernel variant: the kernel with its constants. */
  readonly variant: KernelVariant;
  /** The pipeline that was compiled from the variant. */
  readonly pipeline: GPUComputePipeline;
  /** Layout of the pipeline's only bind group. */
  readonly layout: GPUBindGroupLayout;
}

/** The part of a bind group layout entry that depends on how a kernel uses the binding. */
export const bindingLayouts: Readonly<
  Record<Access, Omit<GPUBindGroupLayoutEntry, 'binding' | 'visibility'>>
> = {
  uniform: { buffer: { type: 'uniform' } },
  read: { buffer: { type: 'read-only-storage' } },
  write: { buffer: { type: 'storage' } },
  external: { externalTexture: {} },
};

/** The compiled kernels of a device. */
export class PipelineCache {
  readonly #device: GPUDevice;
  /** Name of the adapter, for error messages. */
  readonly adapter: string;
  /** Called after a failure to compile. @throws DeviceError DEVICE_LOST, if the cause is a loss of the device */
  readonly check: () => Promise<void>;
  readonly #compiled = new Map<string, Promise<CompiledKernel>>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();

  constructor(
    device: GPUDevice,
    info: { readonly vendor: string; readonly architecture: string; readonly description: string },
    check: () => Promise<void> = () => Promise.resolve(),
  ) {
    this.#device = device;
    this.check = check;
    this.adapter =
      [info.vendor, info.architecture, info.description].filter(Boolean).join(' ') || 'unnamed adapter';
  }

  /** Number of compiled pipelines. A new image size must not increase this number. */
  get size(): number {
    return this.#compiled.size;
  }

  /**
   * Returns the compiled pipeline of a variant. The first call compiles it. A failure is not cached, so a
   * later call tries again.
   *
   * @throws DeviceError KERNEL_COMPILE, DEVICE_LOST
   */
  compile(variant: KernelVariant): Promise<CompiledKernel> {
    const code = assemble(variant, weightHelpers);
    const key = `${variant.kernel.entryPoint}\n${code}`;
    let compiled = this.#compiled.get(key);
    if (!compiled) {
      compiled = this.#compile(variant, code);
      this.#compiled.set(key, compiled);
      compiled.catch(() => this.#compiled.delete(key));
    }
    return compiled;
  }

  /**
   * Creates a bind group for a compiled kernel.
   *
   * @param resources one resource for each binding of the kernel, in the same order
   * @throws DeviceError KERNEL_COMPILE if the number of resources is wrong
   */
  bind({ variant, layout }: CompiledKernel, resources: readonly GPUBindingResource[]): GPUBindGroup {
    const { kernel } = variant;
    if (resources.length !== kernel.bindings.length) {
      throw new DeviceError(
        'KERNEL_COMPILE',
        `${kernel.name}: expected ${kernel.bindings.length} resources (${kernel.bindings.map((b) => b.name).join(', ')}), found ${resources.length}.`,
      );
    }
    return this.#device.createBindGroup({
      label: kernel.name,
      layout,
      entries: resources.map((resource, binding) => ({ binding, resource })),
    });
  }

  async #compile(variant: KernelVariant, code: string): Promise<CompiledKernel> {
    const { kernel } = variant;
    const label = kernelName(kernel);
    const device = this.#device;
    let module: GPUShaderModule | undefined;
    try {
      // The DeviceError below contains the compiler's messages. This error scope keeps the browser from
      // reporting the same messages a second time.
      const { result } = scoped(device, () => {
        const layout = this.#layoutOf(kernel);
        module = device.createShaderModule({ label, code });
        const compiling = device.createComputePipelineAsync({
          label,
          layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
          compute: { module, entryPoint: kernel.entryPoint },
        });
        return { layout, compiling };
      });
      // `check` throws after a loss. `compiling` would settle when the compiler has ended, maybe seconds later.
      const pipeline = await Promise.race([result.compiling, device.lost.then(this.check)]);
      return { variant, pipeline: pipeline as GPUComputePipeline, layout: result.layout };
    } catch (cause) {
      this.#layouts.clear(); // one of them may be the cause
      await this.check();
      const { compileError } = await loadPart(import('./compileError.js'));
      throw await compileError(kernel, code, module, this.adapter, cause);
    }
  }

  /** The bind group layout of a kernel. Kernels with the same kinds of bindings share one layout. */
  #layoutOf(kernel: Kernel): GPUBindGroupLayout {
    const key = kernel.bindings.map(({ access }) => access).join();
    let layout = this.#layouts.get(key);
    if (!layout) {
      const entries = kernel.bindings.map(({ access }, binding) => ({
        binding,
        visibility: SHADER_STAGE_COMPUTE,
        ...bindingLayouts[access],
      }));
      layout = this.#device.createBindGroupLayout({ label: key, entries });
      this.#layouts.set(key, layout);
    }
    return layout;
  }
}
