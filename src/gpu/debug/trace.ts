/** The option `debug: 'trace'`: reports each task with its time, bytes and submits. */
import { DINOv2Error } from '../../errors.js';
import type { Gpu } from '../device.js';
import type { Burst, Task } from '../task.js';

/** A task on the GPU, as the option `debug: 'trace'` reports it. */
export interface TracedTask {
  /** Name of the task, such as `features`, `forward` or `pca`. */
  readonly label: string;
  /** Time in ms from the start of the task until the GPU has finished its work. */
  readonly ms: number;
  /** Number of submits to the GPU's queue, those of reads not included. */
  readonly submits: number;
  /** Bytes of the buffers that the task created. */
  readonly allocatedBytes: number;
  /** Bytes that the task wrote from JavaScript into buffers, those of new buffers included. */
  readonly uploadedBytes: number;
  /** Bytes that the task read back. */
  readonly readBytes: number;
  /** The error with which the task failed, as its code or name. Undefined if the task succeeded. */
  readonly error?: string | undefined;
}

type Counts = { -readonly [Name in 'submits' | 'allocatedBytes' | 'uploadedBytes' | 'readBytes']: number };

/** Methods of `Burst` that encode commands. */
const ENCODING: ReadonlySet<string | symbol> = new Set([
  'dispatch',
  'pass',
  'render',
  'copy',
  'clear',
  'encoder',
]);
/** Methods of `Burst` that create a buffer, and whether they fill it. */
const CREATING: ReadonlyMap<string | symbol, boolean> = new Map([
  ['storage', false],
  ['storageOf', true],
  ['uniformOf', true],
  ['queries', false],
]);

/** Returns `Gpu.task` of a device, with a report of each task. */
export function tracedTask(gpu: Gpu, report: (task: TracedTask) => void): Gpu['task'] {
  return async (label, signal, run) => {
    const counts: Counts = { submits: 0, allocatedBytes: 0, uploadedBytes: 0, readBytes: 0 };
    const startMs = performance.now();
    const ended = (error?: string): void => {
      try {
        report({ label, ms: performance.now() - startMs, ...counts, error });
      } catch (thrown) {
        console.error('[dinov2-webgpu] onTrace:', thrown); // must not replace the result or error of the task
      }
    };
    let result;
    try {
      result = await gpu.task(label, signal, async (task) => {
        const value = await run(watchTask(task, counts));
        if (counts.submits > 0) await task.computed();
        return value;
      });
    } catch (error) {
      ended(error instanceof DINOv2Error ? error.code : ((error as Error | undefined)?.name ?? typeof error));
      throw error;
    }
    ended();
    return result;
  };
}

const watchTask = (task: Task, counts: Counts): Task =>
  withMethods(task, {
    burst: (run: (burst: Burst) => unknown) => {
      let encodes = false;
      const value = task.burst((burst) => run(watchBurst(burst, counts, () => (encodes = true))));
      if (encodes) counts.submits += 1;
      return value;
    },
    read: (buffer: GPUBuffer, offset: number, bytes: number) => {
      counts.readBytes += bytes;
      return task.read(buffer, offset, bytes);
    },
  });

function watchBurst(burst: Burst, counts: Counts, encodes: () => void): Burst {
  return new Proxy(burst, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name, target);
      if (typeof method !== 'function') return method;
      return (...args: unknown[]): unknown => {
        if (ENCODING.has(name)) encodes();
        if (name === 'write') counts.uploadedBytes += bytesOfWrite(args);
        const result: unknown = Reflect.apply(method, target, args);
        const filled = CREATING.get(name);
        if (filled === undefined) return result;
        const { size } = result as GPUBuffer;
        counts.allocatedBytes += size;
        if (filled) counts.uploadedBytes += size;
        return result;
      };
    },
  });
}

/** Bytes that a call of `Burst.write` writes. `from` and `size` count elements of a typed array. */
function bytesOfWrite(args: readonly unknown[]): number {
  const [, , data, from = 0, size] = args as Parameters<Burst['write']>;
  const element = 'BYTES_PER_ELEMENT' in data ? Number(data.BYTES_PER_ELEMENT) : 1;
  return size === undefined ? data.byteLength - from * element : size * element;
}

/** Returns an object that behaves as `target`, except for the given methods. */
export function withMethods<Target extends object>(target: Target, methods: object): Target {
  return new Proxy(target, {
    get: (_, name) => {
      if (Object.hasOwn(methods, name)) return Reflect.get(methods, name) as unknown;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
    set: (_, name, value) => Reflect.set(target, name, value, target),
  });
}
