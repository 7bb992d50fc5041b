/** Keeps buffers with an owner alive while tasks use them. */
import { DeviceError } from '../errors.js';

/** The buffers of an object that has a method `dispose()`. A task that uses the buffers keeps them alive. */
export interface Lease {
  /** Keeps the buffers alive until the returned function is called. @throws DeviceError DISPOSED */
  hold(): () => void;
  /** True after the owner's `dispose()` was called. */
  readonly disposed: boolean;
}

/** Buffers that are freed when their owner has been disposed of and no task holds them any more. */
export class OwnedBuffers implements Lease {
  readonly #free: () => void;
  readonly #message: string;
  #holders = 0;
  #disposed = false;

  /**
   * @param free frees the buffers. Called once, when no task uses the buffers after the owner's `dispose()`
   * @param message message of the error that is thrown if the buffers are used after `dispose()`
   */
  constructor(free: () => void, message: string) {
    this.#free = free;
    this.#message = message;
  }

  /** True after `dispose()` was called. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** Throws if `dispose()` was called. @throws DeviceError DISPOSED */
  check(): void {
    if (this.#disposed) throw new DeviceError('DISPOSED', this.#message);
  }

  /** Keeps the buffers alive until the returned function is called. @throws DeviceError DISPOSED */
  hold(): () => void {
    this.check();
    this.#holders += 1;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holders -= 1;
      this.#freeIfUnused();
    };
  }

  /** Makes later calls of `hold` throw. Frees the buffers as soon as no task holds them. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#freeIfUnused();
  }

  #freeIfUnused(): void {
    if (this.#disposed && this.#holders === 0) this.#free();
  }
}
