// Runs a call of the library again and again; each time another call of WebGPU fails.
import { acquireGpu } from '../../src/gpu/device.ts';
import { DINOv2Error } from '../../src/errors.ts';
import { settled } from '../gpu/tiny.ts';
import { FailingDevice, type Call, type Fault } from './failingDevice.ts';

/** What is tested: a call that gives the same values each time. */
export interface Subject {
  /** The call, with everything that it makes disposed of. */
  run(): Promise<readonly ArrayLike<number>[]>;
  /** True if the last run used other kernels than usual, because one did not compile. Default: false. */
  usedOtherKernels?(): boolean;
  /** Frees what `run` needs. */
  dispose(): void;
}

export interface Findings {
  /** Number of failures that were tried. */
  readonly tried: number;
  /** Number of these after which the call rejected. After the others, the result was right. */
  readonly rejected: number;
  /** One line for each failure after which something was wrong. */
  readonly problems: readonly string[];
}

/** Other kernels round differently. Relative to the largest value; the bound of docs/guide/parity.md for fp32. */
const OTHER_KERNELS = 2e-5;

const CODES = ['DEVICE_MEMORY', 'DEVICE_FAILED', 'KERNEL_COMPILE'];
const textOf = (values: readonly ArrayLike<number>[]): string =>
  values.map((each) => Array.from(each).join()).join('|');

function areClose(values: readonly ArrayLike<number>[], expected: readonly ArrayLike<number>[]): boolean {
  const [a, b] = [values, expected].map((each) => each.flatMap((one) => Array.from(one)));
  const largest = Math.max(...b!.map(Math.abs));
  return a!.length === b!.length && a!.every((one, i) => Math.abs(one - b![i]!) <= OTHER_KERNELS * largest);
}

/** All failures that the calls can have: the method, the number of the call, and how it fails. */
const casesOf = (calls: readonly Call[]): readonly (readonly [string, number, Fault])[] =>
  calls.flatMap(({ method, at, faults }) => faults.map((fault) => [method, at, fault] as const));

/**
 * Makes each call of WebGPU fail that `run` of a new subject makes, and checks: the error is one of the library's,
 * with a code that fits; every buffer and user of the device is released; the next run gives the right values.
 *
 * @param every 1 tries all failures, 2 each second one, and so on
 */
export async function everyFault(
  real: GPUDevice,
  make: (device: GPUDevice) => Promise<Subject>,
  every = 1,
): Promise<Findings> {
  const first = await Trial.start(real, make);
  const usual = await first.subject.run();
  const expected = textOf(usual);
  await settled();
  const cases = casesOf(first.failing.calls);
  const held = first.gpu.memory.bytes;
  const problems = [...(await first.end())];
  let rejected = 0;
  let tried = 0;
  for (let i = 0; i < cases.length; i += every) {
    const [method, at, fault] = cases[i]!;
    tried += 1;
    const found = (problem: string): void => void problems.push(`${method} ${at}, ${fault}: ${problem}`);
    const trial = await Trial.start(real, make);
    trial.failing.fail(method, at, fault);
    const error = await trial.subject.run().then(
      (values) => {
        if (trial.subject.usedOtherKernels?.() ? !areClose(values, usual) : textOf(values) !== expected)
          found('wrong values');
        return undefined;
      },
      (reason: unknown) => reason ?? 'undefined',
    );
    if (!trial.failing.failed) found('not reached');
    if (error !== undefined) {
      rejected += 1;
      if (!(error instanceof DINOv2Error)) found(`untyped error ${describe(error)}`);
      else if (!CODES.includes(error.code) || (fault === 'memory') !== (error.code === 'DEVICE_MEMORY'))
        found(`code ${error.code} (${error.message})`);
    }
    trial.failing.watch();
    await trial.subject.run().then(
      (values) => textOf(values) !== expected && found('wrong values afterwards'),
      (reason: unknown) => found(`afterwards: ${describe(reason)}`),
    );
    await settled();
    if (trial.gpu.memory.bytes !== held) found(`holds ${trial.gpu.memory.bytes} bytes, not ${held}`);
    for (const problem of await trial.end()) found(problem);
  }
  return { tried, rejected, problems };
}

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? '') : String(error));

/** A subject on a device of its own, which shares the real device with all others. */
class Trial {
  readonly failing: FailingDevice;
  readonly gpu: Awaited<ReturnType<typeof acquireGpu>>;
  readonly subject: Subject;
  /** Number of users of the device, besides this object. */
  readonly users: () => number;

  private constructor(
    failing: FailingDevice,
    gpu: Awaited<ReturnType<typeof acquireGpu>>,
    subject: Subject,
    users: () => number,
  ) {
    this.failing = failing;
    this.gpu = gpu;
    this.subject = subject;
    this.users = users;
  }

  static async start(real: GPUDevice, make: (device: GPUDevice) => Promise<Subject>): Promise<Trial> {
    const failing = new FailingDevice(real);
    const gpu = await acquireGpu(failing.device);
    let users = 0;
    const [retain, release] = [gpu.retain.bind(gpu), gpu.release.bind(gpu)];
    gpu.retain = () => {
      users += 1;
      retain();
    };
    gpu.release = () => {
      users -= 1;
      release();
    };
    const subject = await make(failing.device);
    failing.watch();
    return new Trial(failing, gpu, subject, () => users);
  }

  /** Disposes of the subject. Returns what was not released. */
  async end(): Promise<string[]> {
    this.subject.dispose();
    for (let turn = 0; turn < 50 && (this.gpu.memory.buffers > 0 || this.users() > 0); turn++)
      await new Promise((resolve) => setTimeout(resolve, turn));
    const problems = this.failing.uncaught.map((each) => `uncaught error ${each}`);
    if (this.gpu.memory.buffers > 0)
      problems.push(`${this.gpu.memory.buffers} buffers of ${this.gpu.memory.bytes} bytes are left`);
    if (this.users() !== 0) problems.push(`${this.users()} users of the device are left`);
    return problems;
  }
}
