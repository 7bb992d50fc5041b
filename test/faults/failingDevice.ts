// A device on which one call fails, in each of the ways in which that call of WebGPU can fail.

/** How a call fails: by an error in an error scope, by an exception, or by a promise that rejects. */
export type Fault = 'validation' | 'memory' | 'throw' | 'reject';

/** A call that the library made. */
export interface Call {
  readonly method: string;
  /** Number of earlier calls of the same method. The order among methods may differ between runs. */
  readonly at: number;
  readonly faults: readonly Fault[];
}

interface Scope {
  readonly filter: GPUErrorFilter;
  error?: GPUError;
}

// The library knows errors by the name of their class, because Node has no global classes of them.
class GPUOutOfMemoryError {
  readonly message = 'injected: out of memory';
}

/** The ways in which each method can fail. Methods that are not listed never fail. */
const FAULTS: Readonly<Record<string, readonly Fault[]>> = {
  createBuffer: ['validation', 'memory', 'throw'],
  createTexture: ['validation', 'memory', 'throw'],
  createQuerySet: ['memory', 'throw'],
  createShaderModule: ['validation', 'throw'],
  createBindGroup: ['validation', 'throw'],
  createBindGroupLayout: ['validation', 'throw'],
  createPipelineLayout: ['validation', 'throw'],
  createComputePipelineAsync: ['throw', 'reject'],
  createCommandEncoder: ['throw'],
  finish: ['validation', 'throw'],
  submit: ['throw'],
  writeBuffer: ['validation', 'throw'],
  mapAsync: ['reject', 'throw'],
  getMappedRange: ['throw'],
  popErrorScope: ['reject'],
  onSubmittedWorkDone: ['reject'],
  getCompilationInfo: ['reject'],
};

/** Pipelines that stay alive, because Dawn compiles a pipeline again if no equal one is alive. */
const pipelines = new Set<GPUComputePipeline>();

/**
 * Wraps a device. The wrapper is a different object, so the library makes a separate `Gpu` for it, with its own
 * counters and pipelines. Objects that the device makes are the real ones.
 */
export class FailingDevice {
  /** The wrapper, to pass to the library. */
  readonly device: GPUDevice;
  /** The calls since the last `watch` or `fail`. */
  calls: Call[] = [];
  /** True if the call that was to fail has failed. */
  failed = false;
  /** Errors that an error scope should have caught, but no scope was open. */
  readonly uncaught: string[] = [];
  readonly #real: GPUDevice;
  readonly #scopes: Scope[] = [];
  readonly #counts = new Map<string, number>();
  #next: { readonly method: string; readonly at: number; readonly fault: Fault } | undefined;

  constructor(real: GPUDevice) {
    this.#real = real;
    const queue = wrap(real.queue, {
      submit: (list: GPUCommandBuffer[]) => this.#call('submit') ?? real.queue.submit(list),
      writeBuffer: (...given: Parameters<GPUQueue['writeBuffer']>) => {
        const pastEnd = (): boolean => {
          real.queue.writeBuffer(given[0], given[0].size + 256, new Uint32Array(1));
          return true;
        };
        if (!this.#call('writeBuffer', pastEnd)) real.queue.writeBuffer(...given);
      },
      onSubmittedWorkDone: () => this.#call('onSubmittedWorkDone') ?? real.queue.onSubmittedWorkDone(),
    });
    const invalid = { usage: 0 };
    this.device = wrap(real, {
      createBuffer: (described: GPUBufferDescriptor) =>
        this.#call('createBuffer', () => real.createBuffer({ ...described, ...invalid })) ??
        this.#watchBuffer(real.createBuffer(described)),
      createTexture: (described: GPUTextureDescriptor) =>
        this.#call('createTexture', () => real.createTexture({ ...described, ...invalid })) ??
        real.createTexture(described),
      createQuerySet: (described: GPUQuerySetDescriptor) =>
        this.#call('createQuerySet', () => real.createQuerySet({ ...described, count: 1e6 })) ??
        real.createQuerySet(described),
      createShaderModule: (described: GPUShaderModuleDescriptor) => {
        const module =
          (this.#call('createShaderModule', () =>
            real.createShaderModule({ ...described, code: 'no shader' }),
          ) as GPUShaderModule | undefined) ?? real.createShaderModule(described);
        const info = module.getCompilationInfo.bind(module);
        module.getCompilationInfo = () =>
          (this.#call('getCompilationInfo') as Promise<GPUCompilationInfo> | undefined) ?? info();
        return module;
      },
      createBindGroup: (described: GPUBindGroupDescriptor) =>
        this.#call('createBindGroup', () => real.createBindGroup({ ...described, entries: [] })) ??
        real.createBindGroup(described),
      createBindGroupLayout: (described: GPUBindGroupLayoutDescriptor) =>
        this.#call('createBindGroupLayout', () =>
          real.createBindGroupLayout({ entries: [...described.entries, ...described.entries] }),
        ) ?? real.createBindGroupLayout(described),
      createPipelineLayout: (described: GPUPipelineLayoutDescriptor) =>
        this.#call('createPipelineLayout', () => {
          const [layout] = [...described.bindGroupLayouts];
          return real.createPipelineLayout({ bindGroupLayouts: Array.from({ length: 99 }, () => layout!) });
        }) ?? real.createPipelineLayout(described),
      createComputePipelineAsync: async (described: GPUComputePipelineDescriptor) => {
        const failed = this.#call('createComputePipelineAsync') as Promise<never> | undefined;
        const pipeline = await (failed ?? real.createComputePipelineAsync(described));
        pipelines.add(pipeline);
        return pipeline;
      },
      createCommandEncoder: (described: GPUCommandEncoderDescriptor) => {
        this.#call('createCommandEncoder');
        const encoder = real.createCommandEncoder(described);
        const finish = encoder.finish.bind(encoder);
        encoder.finish = () => {
          this.#call('finish', () => encoder.pushDebugGroup('never closed, so finish() fails'));
          return finish();
        };
        return encoder;
      },
      pushErrorScope: (filter: GPUErrorFilter) => {
        this.#scopes.push({ filter });
        real.pushErrorScope(filter);
      },
      popErrorScope: async () => {
        const scope = this.#scopes.pop();
        const found = real.popErrorScope();
        return (
          (this.#call('popErrorScope') as Promise<never> | undefined) ??
          found.then((error) => scope?.error ?? error)
        );
      },
      queue,
    });
  }

  /** Forgets the calls so far. No call fails. */
  watch(): void {
    this.fail('', 0, 'throw');
  }

  /** Forgets the calls so far, and makes the call of this method with this number, from 0, fail. */
  fail(method: string, at: number, fault: Fault): void {
    this.calls = [];
    this.failed = false;
    this.#counts.clear();
    this.#next = { method, at, fault };
  }

  #watchBuffer(buffer: GPUBuffer): GPUBuffer {
    const map = buffer.mapAsync.bind(buffer);
    const range = buffer.getMappedRange.bind(buffer);
    buffer.mapAsync = (...given) =>
      (this.#call('mapAsync') as Promise<undefined> | undefined) ?? map(...given);
    buffer.getMappedRange = (...given) => {
      this.#call('getMappedRange');
      return range(...given);
    };
    return buffer;
  }

  /**
   * Counts a call. If it is the call that fails, throws, or returns what the call returns: a rejected promise, or
   * what `broken` makes with the real device. Returns undefined if the call does not fail.
   */
  #call(method: string, broken?: () => unknown): unknown {
    const at = this.#counts.get(method) ?? 0;
    this.#counts.set(method, at + 1);
    this.calls.push({ method, at, faults: FAULTS[method]! });
    if (method !== this.#next?.method || at !== this.#next.at) return undefined;
    const { fault } = this.#next;
    this.failed = true;
    const message = `injected: ${method}`;
    if (fault === 'throw') throw new DOMException(message, 'OperationError');
    if (fault === 'reject') return Promise.reject(new DOMException(message, 'OperationError'));
    if (fault === 'validation') {
      // With a scope open, the real error arrives there. Without one, it is an uncaught error.
      if (this.#scopes.length > 0) return broken!();
      this.uncaught.push(message);
      return this.#quietly(broken!);
    }
    const made = this.#quietly(broken!);
    const scope = this.#scopes.findLast(({ filter }) => filter === 'out-of-memory');
    if (scope) scope.error ??= new GPUOutOfMemoryError() as unknown as GPUError;
    else this.uncaught.push(message);
    return made;
  }

  /** Makes an invalid object without an error on the real device. */
  #quietly(broken: () => unknown): unknown {
    this.#real.pushErrorScope('validation');
    const made = broken();
    void this.#real.popErrorScope();
    return made;
  }
}

/** An object with the properties of a WebGPU object, except the replaced ones. */
function wrap<T extends object>(real: T, replaced: Readonly<Record<string, unknown>>): T {
  return new Proxy(real, {
    get(target, key) {
      if (typeof key === 'string' && key in replaced) return replaced[key];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
