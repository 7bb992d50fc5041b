// A benchmark's child process: what it measures has a process, a Dawn and a driver of its own, and waits
// while the others are measured.
import { fork } from 'node:child_process';

/** In the parent. `await child.call('time', { runs: 3 })` runs the child's method of that name. */
export class Child {
  #process;
  #waiting = new Map();
  #calls = 0;
  #over;

  /** @param file the child's module @param env variables on top of this process's */
  constructor(file, env = {}) {
    this.#process = fork(file, { env: { ...process.env, ...env }, serialization: 'advanced' });
    this.#process.on('message', ({ id, value, error }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(value);
      else reject(new Error(error));
    });
    this.#process.on('exit', (code, signal) => {
      this.#over = new Error(`${file} ended (${signal ?? `exit code ${code}`}) before it answered.`);
      for (const { reject } of this.#waiting.values()) reject(this.#over);
    });
  }

  call(method, argument) {
    if (this.#over) return Promise.reject(this.#over);
    const id = this.#calls++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#process.send({ id, method, argument });
    });
  }

  end() {
    this.#process.kill('SIGKILL'); // drivers may take long to go, and hold nothing of value
  }
}

/** In the child: answers calls with `methods`, one after the other. */
export function serve(methods) {
  let queue = Promise.resolve();
  process.on('message', ({ id, method, argument }) => {
    queue = queue.then(async () => {
      try {
        process.send({ id, value: await methods[method](argument) });
      } catch (error) {
        process.send({ id, error: error?.stack ?? String(error) });
      }
    });
  });
  process.on('disconnect', () => process.exit());
}

/**
 * Times `run` again and again: wall milliseconds, and milliseconds of all processors, which a busy machine
 * disturbs less.
 */
export async function timed(run, runs) {
  const wallMs = [];
  const cpuMs = [];
  for (let i = 0; i < runs; i++) {
    const cpu = process.cpuUsage();
    const startMs = performance.now();
    await run();
    wallMs.push(performance.now() - startMs);
    const { user, system } = process.cpuUsage(cpu);
    cpuMs.push((user + system) / 1000);
  }
  return { wallMs, cpuMs };
}

export const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
