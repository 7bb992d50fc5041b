// GPU tasks on a simulated device: it has a real stack of error scopes, and the test chooses the order in which its
// promises settle.
import { describe, expect, it, vi } from 'vitest';
import { Gpu } from '../../src/gpu/device.js';
import { OwnedBuffers } from '../../src/gpu/lease.js';
import type { Task } from '../../src/gpu/task.js';
import { Random } from '../random.js';
import { codeOf } from './codeOf.js';

type Filter = 'validation' | 'out-of-memory' | 'internal';

class GPUValidationError {
  readonly message: string;
  constructor(message: string) {
    this.message = message;
  }
}
class GPUOutOfMemoryError {
  readonly message: string;
  constructor(message: string) {
    this.message = message;
  }
}

/** A simulated device. Its promises stay pending until the test runs a function of `waiting`. */
class PlayedDevice {
  readonly limits = {
    maxStorageBufferBindingSize: 2 ** 27,
    maxBufferSize: 2 ** 28,
    maxUniformBufferBindingSize: 65_536,
  };
  readonly features = new Set<string>();
  readonly uncaptured: string[] = [];
  readonly waiting: (() => void)[] = [];
  readonly scopes: { readonly filter: Filter; error: object | null }[] = [];
  readonly buffers = new Set<object>();
  submits = 0;
  lose!: () => void;
  readonly lost = new Promise<{ reason: string; message: string }>((resolve) => {
    this.lose = () => resolve({ reason: 'unknown', message: 'simulated loss' });
  });

  later<T>(make: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.waiting.push(() => {
        try {
          resolve(make());
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  }

  pushErrorScope(filter: Filter): void {
    this.scopes.push({ filter, error: null });
  }

  popErrorScope(): Promise<object | null> {
    const scope = this.scopes.pop();
    if (!scope) throw new Error('no error scope is open');
    return this.later(() => scope.error);
  }

  /** Reports an error as a real device does: to the innermost scope for it, else as uncaptured. */
  fail(filter: Filter, message: string): void {
    const scope = this.scopes.findLast((each) => each.filter === filter);
    const error =
      filter === 'validation' ? new GPUValidationError(message) : new GPUOutOfMemoryError(message);
    if (scope) scope.error ??= error;
    else this.uncaptured.push(message);
  }

  createBuffer({ label, size }: { label: string; size: number }): object {
    const buffer = {
      label,
      size,
      destroy: () => this.buffers.delete(buffer),
      mapAsync: () => this.later(() => undefined),
      getMappedRange: () => new ArrayBuffer(size),
    };
    this.buffers.add(buffer);
    return buffer;
  }

  createCommandEncoder(): object {
    return { copyBufferToBuffer: () => undefined, finish: () => ({}) };
  }

  readonly queue = {
    submit: () => void (this.submits += 1),
    writeBuffer: () => undefined,
    onSubmittedWorkDone: () => this.later(() => undefined),
  };

  addEventListener(): void {
    // `fail` records uncaptured errors in `uncaptured`, so no event is needed.
  }
}

const description = {
  vendor: '',
  architecture: '',
  description: 'played',
  isFallbackAdapter: false,
  software: false,
};

function played(): { device: PlayedDevice; gpu: Gpu } {
  const device = new PlayedDevice();
  return { device, gpu: new Gpu(device as unknown as GPUDevice, description, false) };
}

/** Settles the pending promises in random order until none is left, and calls `between` after each. */
async function playOut(device: PlayedDevice, random: Random, between?: () => void): Promise<void> {
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  await turn();
  while (device.waiting.length > 0) {
    device.waiting.splice(random.integer(0, device.waiting.length - 1), 1)[0]!();
    await turn();
    between?.();
  }
}

/** Runs six bursts, each followed by a read or a wait. With a `filter`, the fourth burst fails. */
async function work(
  task: Task,
  device: PlayedDevice,
  filter: Filter | undefined,
  name: string,
): Promise<string> {
  for (let step = 0; step < 6; step++) {
    const buffer = task.burst((burst) => {
      const made = burst.storage(`${name} ${step}`, 16);
      if (step === 3 && filter) device.fail(filter, `of ${name}`);
      burst.copy(made, 0, made, 0, 4);
      return made;
    });
    if (step % 3 === 0) await task.read(buffer, 0, 4);
    else if (step % 3 === 1) await task.settled();
    else await task.computed();
  }
  return name;
}

describe('tasks that run at the same time', () => {
  it('each get their own errors, and the page gets its own, in 300 random orders', async () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed);
      const { device, gpu } = played();
      const run = (name: string, filter?: Filter): Promise<unknown> =>
        gpu
          .task(name, undefined, (task) => work(task, device, filter, name))
          .catch((error: Error & { code: string }) => `${error.code} ${error.message}`);
      const results = Promise.all([run('one', 'validation'), run('two', 'out-of-memory'), run('three')]);
      let ofThePage = 0;
      await playOut(device, random, () => {
        expect(device.scopes).toEqual([]); // no scope stays open while other code can run
        if (random.integer(0, 3) === 0) device.fail('validation', `of the page ${ofThePage++}`);
      });
      const [one, two, three] = await results;
      expect(one).toBe('DEVICE_FAILED one: the GPU rejected an operation: of one');
      expect(two).toMatch(/^DEVICE_MEMORY two: the GPU ran out of memory .*\(of two\)$/);
      expect(three).toBe('three');
      expect(device.uncaptured).toEqual(Array.from({ length: ofThePage }, (_, i) => `of the page ${i}`));
      expect(device.buffers.size).toBe(0);
    }
  });

  it('submit two bursts each before any error scope has resolved, and get their own errors', async () => {
    const filters: readonly (Filter | undefined)[] = [undefined, 'validation', 'out-of-memory'];
    for (let seed = 0; seed < 200; seed++) {
      const random = new Random(seed);
      const { device, gpu } = played();
      const frame = (name: string, failing: readonly (Filter | undefined)[]): Promise<string> =>
        gpu
          .task(name, undefined, (task) => {
            for (const [i, filter] of failing.entries())
              task.burst((burst) => {
                const made = burst.storage(`${name} ${i}`, 16);
                if (filter) device.fail(filter, `burst ${i} of ${name}`);
                burst.copy(made, 0, made, 0, 4);
              });
            return 'done';
          })
          .catch((error: Error & { code: string }) => `${error.code} ${error.message}`);
      const failing = Array.from({ length: 3 }, () =>
        [0, 1].map(() => filters[random.integer(0, filters.length - 1)]),
      );
      const results = Promise.all(failing.map((each, i) => frame(`frame ${i}`, each)));
      expect(device.submits).toBe(6); // no promise of the device has settled yet
      await playOut(device, random);
      for (const [i, result] of (await results).entries()) {
        if (failing[i]!.every((filter) => !filter)) expect(result).toBe('done');
        else
          expect(result).toMatch(
            new RegExp(`^DEVICE_(FAILED|MEMORY) frame ${i}: .*burst [01] of frame ${i}`),
          );
      }
      expect(device.scopes).toEqual([]);
      expect(device.uncaptured).toEqual([]);
      expect(device.buffers.size).toBe(0);
    }
  });

  it('free their buffers if they fail, are aborted, or throw', async () => {
    const random = new Random(1);
    const { device, gpu } = played();
    const controller = new AbortController();
    const aborted = gpu.task('aborted', controller.signal, (task) => work(task, device, undefined, 'a'));
    const threw = gpu.task('threw', undefined, async (task) => {
      task.burst((burst) => task.keep(burst.storage('kept', 16)));
      await task.settled();
      throw new Error('mine');
    });
    const outcomes = Promise.allSettled([aborted, threw]);
    let turns = 0;
    await playOut(device, random, () => ++turns === 4 && controller.abort(new Error('enough')));
    expect((await outcomes).map((each) => String((each as PromiseRejectedResult).reason))).toEqual([
      'Error: enough',
      'Error: mine',
    ]);
    expect(device.buffers.size).toBe(0);
    expect(gpu.memory.bytes).toBe(0);
  });

  it('end if the device is lost, even during an endless wait', async () => {
    const { device, gpu } = played();
    const never = gpu.task('waiting', undefined, async (task) => {
      task.burst((burst) => burst.storage('made', 16));
      await new Promise(() => undefined);
    });
    const outcome = codeOf(never);
    device.lose();
    expect(await outcome).toBe('DEVICE_LOST');
    expect(device.buffers.size).toBe(0);
    expect(await codeOf(gpu.task('later', undefined, () => 1))).toBe('DEVICE_LOST');
  });

  it('fail by a loss that the browser reports only when the work on the GPU has ended, as Firefox does', async () => {
    const { device, gpu } = played();
    const outcome = codeOf(
      gpu.task('t', undefined, async (task) => {
        task.burst((burst) => {
          burst.storage('made', 16);
          device.fail('validation', 'of a lost device');
        });
        await task.settled();
      }),
    );
    for (const answer of device.waiting.splice(0)) answer(); // the error scopes
    await new Promise((resolve) => setTimeout(resolve, 200)); // the work goes on
    device.lose();
    expect(await outcome).toBe('DEVICE_LOST');
    expect(device.buffers.size).toBe(0);
  });
});

describe('a burst', () => {
  it('submits once, or never if it has no commands', async () => {
    const { device, gpu } = played();
    const done = gpu.task('t', undefined, (task) => {
      task.burst((burst) => burst.storage('a', 4));
      expect(device.submits).toBe(0);
      task.burst((burst) => {
        const [a, b] = [burst.storage('a', 4), burst.storage('b', 4)];
        burst.copy(a, 0, b, 0, 4);
        burst.copy(b, 0, a, 0, 4);
      });
      expect(device.submits).toBe(1);
    });
    await playOut(device, new Random(2));
    await done;
  });

  it('closes its error scopes if it throws', async () => {
    const { device, gpu } = played();
    const done = gpu.task('t', undefined, (task) => {
      expect(() =>
        task.burst(() => {
          throw new Error('mine');
        }),
      ).toThrow('mine');
      expect(device.scopes).toEqual([]);
    });
    await playOut(device, new Random(3));
    await done;
  });

  it('of a task that has ended is rejected', async () => {
    const { gpu } = played();
    let escaped: Task | undefined;
    await gpu.task('t', undefined, (task) => void (escaped = task));
    expect(() => escaped!.burst(() => undefined)).toThrow(/^t: the task has ended/);
  });
});

describe('a buffer that a task keeps', () => {
  it('is returned without a wait, and its readers get the error of its burst', async () => {
    const random = new Random(4);
    const { device, gpu } = played();
    const kept = await gpu.task('maker', undefined, (task) =>
      task.burst((burst) => {
        device.fail('validation', 'of the maker');
        return task.keep(burst.storage('kept', 16));
      }),
    );
    expect(device.waiting.length).toBeGreaterThan(0); // the task did not wait for the device
    const reading = codeOf(gpu.task('reader', undefined, (task) => task.read(kept, 0, 16)));
    const using = codeOf(
      gpu.task('user', undefined, async (task) => {
        task.burst((burst) => burst.copy(kept, 0, burst.storage('copy', 16), 0, 16));
        await task.settled();
      }),
    );
    await playOut(device, random);
    expect(await reading).toBe('DEVICE_FAILED');
    expect(await using).toBe('DEVICE_FAILED');
    gpu.memory.destroy(kept);
    expect(device.buffers.size).toBe(0);
  });

  it('and that `make` returns is known to be valid: an error is thrown, and no buffer remains', async () => {
    const { device, gpu } = played();
    const made = codeOf(
      gpu.make('buffers', (burst) => {
        device.fail('out-of-memory', 'no room');
        return burst.storage('kept', 16);
      }),
    );
    await playOut(device, new Random(5));
    expect(await made).toBe('DEVICE_MEMORY');
    expect(device.buffers.size).toBe(0);
  });
});

describe('leased buffers', () => {
  it('exist until the task ends; a task that begins after dispose() is rejected', async () => {
    const random = new Random(6);
    const { device, gpu } = played();
    const making = gpu.make('owner', (burst) => burst.storage('owned', 16));
    await playOut(device, random);
    const buffer = await making;
    const owner = new OwnedBuffers(() => gpu.memory.destroy(buffer), 'The owner was disposed of.');
    const submitted = gpu.task('reader', undefined, (task) => {
      task.use(owner);
      return task.read(buffer, 0, 16);
    });
    const late = codeOf(
      gpu.task('late', undefined, async (task) => {
        task.use(owner);
        await task.computed();
        return task.read(buffer, 0, 16);
      }),
    );
    owner.dispose();
    expect(gpu.memory.bytes).toBeGreaterThan(0);
    expect(await codeOf(gpu.task('after', undefined, (task) => task.use(owner)))).toBe('DISPOSED');
    await playOut(device, random);
    expect(await submitted).toHaveProperty('byteLength', 16);
    expect(await late).toBe('DISPOSED');
    expect(gpu.memory.bytes).toBe(0);
  });
});

describe('measured work', () => {
  /** For each of `answersMs`, advances the clock by that time and settles the device's pending promises. */
  async function playWith(device: PlayedDevice, answersMs: readonly number[]): Promise<void> {
    let nowMs = 1000;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    for (const ms of answersMs) {
      await turn();
      nowMs += ms;
      for (const answer of device.waiting.splice(0)) answer();
    }
    await turn();
    clock.mockRestore();
  }

  function measured(fails: boolean): { device: PlayedDevice; gpu: Gpu; work: () => Promise<unknown> } {
    const { device, gpu } = played();
    const work = (): Promise<unknown> =>
      codeOf(
        gpu.task('work', undefined, (task) => {
          task.burst((burst) => {
            const made = burst.storage('made', 16);
            if (fails) device.fail('validation', 'refused');
            burst.copy(made, 0, made, 0, 4);
          });
          task.measure(1e12, 1000, 1);
        }),
      );
    return { device, gpu, work };
  }

  it('raises the estimate, and the task does not wait for the measurement', async () => {
    const { device, gpu, work } = measured(false);
    const ended = work();
    await playWith(device, [100, 0]); // 10¹² operations in 100 ms, reported at once
    await ended;
    expect(gpu.flopsPerSecond).toBeCloseTo(1e13, -9);
  });

  it('does not count if the device rejected it', async () => {
    const { device, gpu, work } = measured(true);
    const before = gpu.flopsPerSecond;
    const ended = work();
    await playWith(device, [1, 0]);
    expect(await ended).toBe('DEVICE_FAILED');
    expect(gpu.flopsPerSecond).toBe(before);
  });

  it('lowers the estimate after three slow runs, but not if only the notification of the end was late', async () => {
    for (const [lateMs, expected] of [
      [0, 1e11],
      [9900, 5e11], // the initial estimate
    ] as const) {
      const { device, gpu, work } = measured(false);
      for (let i = 0; i < 3; i++) {
        gpu.measuredUntilMs = 0; // the measurements do not overlap
        const ended = work();
        await playWith(device, [10_000, lateMs]);
        await ended;
      }
      expect(gpu.flopsPerSecond).toBeCloseTo(expected, -7);
    }
  });

  it('counts from the end of other measured work', async () => {
    const { device, gpu, work } = measured(false);
    for (let i = 0; i < 3; i++) {
      gpu.measuredUntilMs = 1000 + 9000; // 9 of the 10 s belong to other work
      const ended = work();
      await playWith(device, [10_000, 0]);
      await ended;
    }
    expect(gpu.flopsPerSecond).toBeCloseTo(5e11, -7); // between 1e11 and 1e12
  });
});
