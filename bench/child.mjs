// Runs each engine or setting of a benchmark in a child process with its own Dawn and driver. A child process
// waits while the other child processes are measured.
import { fork } from 'node:child_process';

/**
 * The parent's side of a child process. `await child.call('time', { runs: 3 })` runs the child's method
 * `time`.
 */
export class Child {
  #process;
  #waiting = new Map();
  #calls = 0;
  #over;

  /**
   * @param file the child's module
   * @param env environment variables in addition to those of this process
   */
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
    this.#process.kill('SIGKILL'); // some drivers take long to exit normally
  }
}

/** The child's side: runs the methods that the parent calls, one at a time. */
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
 * Times `run` several times: wall time, and CPU time of all threads, in milliseconds. CPU time depends less
 * on other programs.
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
