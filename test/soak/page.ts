/** Runs in Chromium: counts what a page and its worker hold on the GPU, and measures JavaScript heaps. */
import type { CDPSession, Page } from 'playwright';

/** What a page or a worker holds on the GPU: created and not destroyed, whatever the library itself counts. */
export interface Held {
  readonly buffers: number;
  readonly bytes: number;
  readonly textures: number;
}

/**
 * A script that counts the live GPU objects of the page or worker that runs it, in `globalThis.held`. It leaves out
 * the buffer of 4 bytes that a device has while its polling delay is measured, which happens in pauses of the run.
 */
export const COUNTING = `
  globalThis.held = { buffers: 0, bytes: 0, textures: 0 };
  {
    const alive = new WeakSet();
    const count = (device, create, destroyable, add) => {
      const made = device[create];
      device[create] = function (...given) {
        const object = made.apply(this, given);
        if (object.label === 'polling delay') return object;
        alive.add(object);
        add(object, 1);
        return object;
      };
      const { destroy } = destroyable;
      destroyable.destroy = function () {
        if (alive.delete(this)) add(this, -1);
        destroy.call(this);
      };
    };
    const sizes = (buffer, sign) => { held.buffers += sign; held.bytes += sign * buffer.size; };
    count(GPUDevice.prototype, 'createBuffer', GPUBuffer.prototype, sizes);
    count(GPUDevice.prototype, 'createTexture', GPUTexture.prototype, (_, sign) => { held.textures += sign; });
  }`;

/** Measures the JavaScript heaps of a page and of its dedicated workers. */
export class Heaps {
  readonly #session: CDPSession;
  readonly #workers: string[] = [];
  readonly #answers = new Map<number, (result: { readonly usedSize?: number }) => void>();
  #last = 0;

  private constructor(session: CDPSession) {
    this.#session = session;
    session.on('Target.attachedToTarget', ({ sessionId }) => void this.#workers.push(sessionId));
    session.on('Target.detachedFromTarget', ({ sessionId }) => {
      const at = this.#workers.indexOf(sessionId);
      if (at >= 0) this.#workers.splice(at, 1);
    });
    session.on('Target.receivedMessageFromTarget', ({ message }) => {
      const { id, result } = JSON.parse(message) as { id: number; result: object };
      this.#answers.get(id)?.(result);
      this.#answers.delete(id);
    });
  }

  static async open(page: Page): Promise<Heaps> {
    const session = await page.context().newCDPSession(page);
    const heaps = new Heaps(session);
    await session.send('Target.setAutoAttach', {
      autoAttach: true,
      waitForDebuggerOnStart: false,
      flatten: false,
    });
    return heaps;
  }

  /** Collects garbage, and returns the bytes in use: of the page first, then of each worker. */
  async usedBytes(): Promise<number[]> {
    const page = async (method: string): Promise<{ readonly usedSize?: number }> =>
      this.#session.send(method as 'Runtime.getHeapUsage');
    const places = [page, ...this.#workers.map((id) => (method: string) => this.#ask(id, method))];
    const used: number[] = [];
    for (const ask of places) {
      // Objects with a finalizer are freed by the second collection.
      for (let round = 0; round < 3; round++) await ask('HeapProfiler.collectGarbage');
      used.push((await ask('Runtime.getHeapUsage')).usedSize ?? NaN);
    }
    return used;
  }

  #ask(sessionId: string, method: string): Promise<{ readonly usedSize?: number }> {
    const id = ++this.#last;
    const answered = new Promise<{ readonly usedSize?: number }>((resolve) => this.#answers.set(id, resolve));
    void this.#session.send('Target.sendMessageToTarget', {
      sessionId,
      message: JSON.stringify({ id, method }),
    });
    return answered;
  }
}

/**
 * Growth of a series between its third and its last quarter. The smallest value of each quarter counts, because other
 * work of the browser only adds to a value.
 */
export function growthOf(series: readonly number[]): number {
  const quarter = Math.floor(series.length / 4);
  return Math.min(...series.slice(-quarter)) - Math.min(...series.slice(-2 * quarter, -quarter));
}
