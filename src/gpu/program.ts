/**
 * Provides `Program`: a graph with compiled kernels, buffers and bind groups for one input size. Running a
 * program only encodes and submits commands. The programs of a model share their activation buffers
 * (`SlotPool`), so a second image size needs new bind groups but hardly any memory.
 */
import { F32_BYTES } from '../graph/constants.js';
import { elementCount, type Graph, type Node, type Value } from '../graph/graph.js';
import { planMemory, type Plan } from '../graph/planner.js';
import { DINOv2Error } from '../errors.js';
import type { Gpu } from './device.js';
import { alternatives, lower, sizeWords, type ForwardSize, type Target } from './lowering.js';
import type { CompiledKernel } from './pipelines.js';
import { cutIntoRanges, splitByWork, SUBMIT_MS, type Axis, type Workgroups } from './submits.js';
import type { Burst, Task } from './task.js';

/**
 * A forward pass that is a single submit is timed if its estimated time exceeds `SUBMIT_MS / MEASURED_PART`.
 */
const MEASURED_PART = 8;

/**
 * The buffers that the programs of one model share: the planner's slots (shared activation buffers) by
 * number, and the buffers of the graph's inputs by name. Each buffer grows to the size that the largest
 * program needs.
 */
export class SlotPool {
  readonly #gpu: Gpu;
  readonly #slots = new Map<number | string, { buffer: GPUBuffer; bytes: number }>();
  /** Increases when a buffer is replaced. Bind groups that were made before that are invalid. */
  generation = 0;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Total bytes of the pool's buffers. */
  get bytes(): number {
    return [...this.#slots.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * Makes the buffer of each slot or input at least as large as required. If an allocation fails, no buffer
   * changes.
   *
   * @throws DeviceError DEVICE_MEMORY, DEVICE_LIMIT
   */
  async reserve(required: Iterable<readonly [key: number | string, bytes: number]>): Promise<void> {
    const larger = [...required].filter(([key, bytes]) => (this.#slots.get(key)?.bytes ?? -1) < bytes);
    if (larger.length === 0) return;
    const grown = await this.#gpu.make('activations', (burst) =>
      larger.map(([key, bytes]) => {
        const buffer = burst.storage(typeof key === 'number' ? `slot ${key}` : key, bytes);
        return [key, { buffer, bytes }] as const;
      }),
    );
    for (const [key, slot] of grown) {
      const old = this.#slots.get(key);
      if (old) this.#gpu.memory.destroy(old.buffer);
      this.#slots.set(key, slot);
      this.generation += 1;
    }
  }

  /** Returns the buffer of a slot, given its number, or of an input, given its name. */
  get(key: number | string): GPUBuffer | undefined {
    return this.#slots.get(key)?.buffer;
  }

  /** Destroys all buffers of the pool. */
  dispose(): void {
    for (const { buffer } of this.#slots.values()) this.#gpu.memory.destroy(buffer);
    this.#slots.clear();
  }
}

/** One operation of a program. The operation is one dispatch, or several dispatches on a slow adapter. */
export interface ProgramStep {
  readonly node: Node;
  readonly kernel: CompiledKernel;
  /** Number of workgroups of the whole operation, along x, y and z. */
  readonly workgroups: Workgroups;
  /** Axes along which the operation can be cut into ranges of workgroups; see `Dispatch.cuts`. */
  readonly cuts: readonly Axis[];
  readonly flops: number;
  /**
   * Bytes moved if every input is read once and the output is written once. Weights count with the bytes that
   * they take on the GPU.
   */
  readonly bytes: number;
}

/**
 * A dispatch with its bind group. The dispatch computes a whole step of a program, or a range of the step's
 * workgroups.
 */
export interface ReadyDispatch {
  readonly step: ProgramStep;
  readonly group: GPUBindGroup;
  readonly workgroups: Workgroups;
  readonly flops: number;
}

/** A `Gpu` of a model with the option `debug: 'check'`, whose forward passes run through `inspect`. */
export interface InspectedGpu extends Gpu {
  /** Runs a forward pass in place of `Program.run`. */
  readonly inspect?:
    ((...args: readonly [Program, ...Parameters<Program['run']>]) => Promise<void>) | undefined;
}

/** A graph that is ready to run at one input size. */
export class Program {
  /** The assignment of activations to slots (shared buffers). */
  readonly plan: Plan;
  /** The graph that the program computes. */
  readonly graph: Graph;
  /** The program's operations in the order in which they run. */
  readonly steps: readonly ProgramStep[];
  readonly #gpu: Gpu;
  readonly #pool: SlotPool;
  readonly #size: ForwardSize;
  readonly #sizeBuffer: GPUBuffer;
  readonly #fixed: ReadonlyMap<Value, GPUBuffer>;
  readonly #flops: number;
  #whole: readonly ReadyDispatch[] = [];
  #generation = -1;

  private constructor(
    gpu: Gpu,
    graph: Graph,
    plan: Plan,
    steps: readonly ProgramStep[],
    pool: SlotPool,
    size: ForwardSize,
    sizeBuffer: GPUBuffer,
    fixed: ReadonlyMap<Value, GPUBuffer>,
  ) {
    this.#gpu = gpu;
    this.graph = graph;
    this.plan = plan;
    this.steps = steps;
    this.#pool = pool;
    this.#size = size;
    this.#sizeBuffer = sizeBuffer;
    this.#fixed = fixed;
    this.#flops = steps.reduce((sum, { flops }) => sum + flops, 0);
  }

  /**
   * Compiles the kernels of a graph's nodes. The kernels are the same for every input size, so the graph may
   * have any size.
   *
   * @throws DeviceError KERNEL_COMPILE, DEVICE_LOST
   */
  static async warmUp(gpu: Gpu, nodes: readonly Node[], target: Target): Promise<void> {
    await Promise.all(
      nodes.flatMap((node) =>
        alternatives(node, target).map(({ variant }) => gpu.pipelines.compile(variant)),
      ),
    );
    gpu.check();
  }

  /**
   * Compiles a graph's kernels and allocates its buffers.
   *
   * @param fixed a function that returns the caller's buffer for an input or weight, or undefined. An input
   *   without a buffer from the caller gets a buffer in the pool under its name. The caller fills this
   *   buffer before each run
   * @throws DeviceError
   */
  static async create(
    gpu: Gpu,
    graph: Graph,
    target: Target,
    size: ForwardSize,
    pool: SlotPool,
    fixed: (value: Value) => GPUBuffer | undefined,
  ): Promise<Program> {
    const plan = planMemory(graph);
    const bytesOf = (value: Value): number =>
      (value.kind === 'activation' ? undefined : fixed(value))?.size ?? elementCount(value.shape) * F32_BYTES;
    const steps = await Promise.all(
      graph.nodes.map(async (node): Promise<ProgramStep> => {
        const { variant, workgroups, cuts = [] } = lower(node, target, size);
        const bytes = [...node.inputs, node.output].reduce((sum, value) => sum + bytesOf(value), 0);
        return {
          node,
          kernel: await gpu.pipelines.compile(variant),
          workgroups: workgroups(size),
          cuts,
          flops: flopsOf(node, size),
          bytes,
        };
      }),
    );
    const buffers = new Map<Value, GPUBuffer>();
    const inputs: Value[] = [];
    for (const value of graph.nodes.flatMap((node) => node.inputs)) {
      const buffer = value.kind === 'activation' ? undefined : fixed(value);
      if (buffer) buffers.set(value, buffer);
      else if (value.kind === 'input') inputs.push(value);
    }
    await pool.reserve([
      ...plan.slots.map(({ bytes }, index) => [index, bytes] as const),
      ...inputs.map(({ name, shape }) => [name, elementCount(shape) * F32_BYTES] as const),
    ]);
    const sizeBuffer = await gpu.make('forward', (burst) => burst.uniformOf('forward size', sizeWords(size)));
    return new Program(gpu, graph, plan, steps, pool, size, sizeBuffer, buffers);
  }

  /**
   * Runs the forward pass and copies each output of the graph into the buffer that `destination` returns for
   * it. The forward pass is one submit, or several if one submit would keep the GPU busy for longer than
   * `SUBMIT_MS`. Between submits, the screen is drawn and an abort takes effect. Two submits are queued at a
   * time, so that the GPU has work while the browser reports the end of the first submit and the third submit
   * is encoded.
   *
   * @throws DeviceError; the signal's reason
   */
  async run(task: Task, destination: (output: Value) => GPUBuffer): Promise<void> {
    const { inspect } = this.#gpu as InspectedGpu;
    if (inspect) return inspect(this, task, destination);
    const most = this.#gpu.flopsPerSecond * (SUBMIT_MS / 1000);
    const startMs = performance.now();
    const submit = (dispatches: readonly ReadyDispatch[], isLast: boolean): void =>
      task.burst((burst) => {
        this.encode(burst.pass(), dispatches);
        if (!isLast) return;
        for (const output of this.graph.outputs) {
          const bytes = elementCount(output.shape) * F32_BYTES;
          burst.copy(this.bufferOf(output), 0, destination(output), 0, bytes);
        }
      });
    await this.bind(task);
    if (this.#flops <= most) {
      submit(this.#whole, true);
      // A shorter forward pass is not measured: it takes less than `SUBMIT_MS` even if the adapter becomes
      // slower by a factor of `MEASURED_PART`.
      if (this.#flops * MEASURED_PART > most) task.measure(this.#flops, startMs, 1);
      return;
    }
    const dispatches = task.burst((burst) => this.cut(burst, most));
    const submits = splitByWork(dispatches, most);
    let previous: Promise<void> | undefined;
    for (const [index, { begin, end }] of submits.entries()) {
      const isLast = index === submits.length - 1;
      submit(dispatches.slice(begin, end), isLast);
      if (isLast) task.measure(this.#flops, startMs, submits.length);
      const done = task.computed(!isLast);
      done.catch(() => undefined); // if a later burst throws, nothing awaits `done`
      await previous;
      previous = done;
    }
    await previous;
  }

  /**
   * Makes the bind groups, unless they exist. They are valid until a buffer of the pool is replaced. If one of
   * them is not valid, the next call makes all of them again.
   *
   * @throws DeviceError
   */
  async bind(task: Task): Promise<void> {
    const { generation } = this.#pool;
    if (this.#generation === generation) return;
    const whole = task.burst(() =>
      this.steps.map((step) => ({
        step,
        group: this.#bind(step, this.#sizeBuffer),
        workgroups: step.workgroups,
        flops: step.flops,
      })),
    );
    await task.settled();
    this.#whole = whole;
    this.#generation = generation;
  }

  /**
   * Returns the dispatches of all steps. A step of more than `most` FLOPs is cut into several dispatches if
   * its kernel allows that. The dispatches are valid until the burst's task ends. Call `bind` first.
   */
  cut(burst: Burst, most: number): ReadyDispatch[] {
    const sizes = new Map<string, GPUBuffer>();
    const sizeAt = (first: Workgroups): GPUBuffer => {
      const key = first.join();
      let buffer = sizes.get(key);
      if (!buffer) sizes.set(key, (buffer = burst.uniformOf('range', sizeWords(this.#size, first))));
      return buffer;
    };
    return this.#whole.flatMap((dispatch) => {
      const { step } = dispatch;
      const ranges = cutIntoRanges(step.workgroups, step.cuts, step.flops, most);
      if (ranges.length === 1) return [dispatch];
      return ranges.map(({ first, workgroups, flops }): ReadyDispatch => ({
        step,
        group: this.#bind(step, sizeAt(first)),
        workgroups,
        flops,
      }));
    });
  }

  /** Encodes dispatches. No dispatch reads its own output, so repeating a dispatch gives the same result. */
  encode(pass: GPUComputePassEncoder, dispatches: readonly ReadyDispatch[]): void {
    for (const { step, group, workgroups } of dispatches) {
      pass.setPipeline(step.kernel.pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
    }
  }

  /** Destroys the program's own buffer. Does not destroy the pool's or the caller's buffers. */
  dispose(): void {
    this.#gpu.memory.destroy(this.#sizeBuffer);
    this.#whole = [];
  }

  /** Returns the buffer of a tensor of the graph. */
  bufferOf(value: Value): GPUBuffer {
    const buffer = this.#fixed.get(value) ?? this.#pool.get(this.plan.slotOf.get(value) ?? value.name);
    if (!buffer)
      throw new DINOv2Error(
        'GRAPH_SHAPE',
        `${value.name}: this tensor of the graph has no buffer. This is a bug in the model's graph.`,
      );
    return buffer;
  }

  #bind({ node, kernel }: ProgramStep, size: GPUBuffer): GPUBindGroup {
    const buffers = [size, ...node.inputs.map((value) => this.bufferOf(value)), this.bufferOf(node.output)];
    return this.#gpu.pipelines.bind(
      kernel,
      buffers.map((buffer) => ({ buffer })),
    );
  }
}

/**
 * Returns the number of floating-point operations in a node's matrix products. A multiplication and an
 * addition count one each; all other operations count 0.
 */
export function flopsOf({ operation, inputs, output }: Node, { numTokens }: ForwardSize): number {
  switch (operation.kind) {
    case 'attention':
      return 4 * elementCount(output.shape) * numTokens;
    case 'patchEmbed':
    case 'linear':
    case 'linearGelu':
    case 'linearSwiglu':
    case 'linearScaleResidual':
      return 2 * output.shape[0]! * elementCount(inputs[1]!.shape);
    default:
      return 0;
  }
}
