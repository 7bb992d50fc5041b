/**
 * A graph, ready to run at one input size: pipelines, bind groups and buffers are made once; a run only
 * encodes and submits. The programs of a model share its slots (`SlotPool`), so that a second image size
 * costs bind groups, not memory.
 */
import type { Graph, Node, Value } from '../graph/graph.js';
import { elementCount } from '../graph/graph.js';
import { planMemory, type Plan } from '../graph/planner.js';
import { DINOv2Error } from '../errors.js';
import type { Gpu } from './device.js';
import { alternatives, lower, type ForwardSize, type Target } from './lowering.js';
import { kernelName } from './kernels/kernel.js';
import type { CompiledKernel } from './pipelines.js';
import type { Task } from './task.js';

const F32_BYTES = 4;

/**
 * The shared buffers of one model's programs: the planner's slots by number, and inputs by name. They grow to
 * the largest program's needs; whoever holds bind groups watches `generation`.
 */
export class SlotPool {
  readonly #gpu: Gpu;
  readonly #slots = new Map<number | string, { buffer: GPUBuffer; bytes: number }>();
  /** Changes whenever a buffer was replaced. */
  generation = 0;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  get bytes(): number {
    return [...this.#slots.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Makes every slot at least as large as asked. Where that fails, all are what they were. */
  async reserve(wanted: Iterable<readonly [key: number | string, bytes: number]>): Promise<void> {
    const larger = [...wanted].filter(([key, bytes]) => (this.#slots.get(key)?.bytes ?? -1) < bytes);
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

  get(key: number | string): GPUBuffer | undefined {
    return this.#slots.get(key)?.buffer;
  }

  dispose(): void {
    for (const { buffer } of this.#slots.values()) this.#gpu.memory.destroy(buffer);
    this.#slots.clear();
  }
}

/** One dispatch of a program, as it is printed and profiled. */
export interface ProgramStep {
  readonly node: Node;
  readonly kernel: CompiledKernel;
  readonly workgroups: readonly [number, number, number];
  readonly flops: number;
  /** Every input read once and the output written once, weights as they are stored. */
  readonly bytes: number;
}

export class Program {
  readonly plan: Plan;
  readonly steps: readonly ProgramStep[];
  readonly #gpu: Gpu;
  readonly #graph: Graph;
  readonly #pool: SlotPool;
  readonly #size: GPUBuffer;
  readonly #fixed: ReadonlyMap<Value, GPUBuffer>;
  #groups: GPUBindGroup[] = [];
  #generation = -1;

  private constructor(
    gpu: Gpu,
    graph: Graph,
    plan: Plan,
    steps: readonly ProgramStep[],
    pool: SlotPool,
    size: GPUBuffer,
    fixed: ReadonlyMap<Value, GPUBuffer>,
  ) {
    this.#gpu = gpu;
    this.#graph = graph;
    this.plan = plan;
    this.steps = steps;
    this.#pool = pool;
    this.#size = size;
    this.#fixed = fixed;
  }

  /**
   * Compiles the kernels that the nodes of a graph need. None of them depends on the size of the input: any graph
   * of the model will do.
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
   * @param fixed the caller's own buffer for an input or weight of the graph; an input that it has none for
   *   gets a slot of its name, to be filled before every run
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
        const { variant, workgroups } = lower(node, target, size);
        const bytes = [...node.inputs, node.output].reduce((sum, value) => sum + bytesOf(value), 0);
        return {
          node,
          kernel: await gpu.pipelines.compile(variant),
          workgroups: workgroups(size),
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
    const sizeBuffer = await gpu.make('forward', (burst) =>
      burst.uniformOf('forward size', [size.batch, size.rows, size.cols, size.numTokens]),
    );
    return new Program(gpu, graph, plan, steps, pool, sizeBuffer, buffers);
  }

  /**
   * Runs the forward and copies each of the graph's outputs into the buffer that `destination` gives for it.
   * One encoder, one pass, one submit, unless that would keep the GPU busy for longer than SUBMIT_MS: then
   * several, so that the screen is still drawn meanwhile, and an abort is heeded between them. Two of them are
   * under way at a time: the GPU has work while the end of the first is noticed and the third is encoded.
   */
  async run(task: Task, destination: (output: Value) => GPUBuffer): Promise<void> {
    const batches = splitByWork(this.steps, this.#gpu.flopsPerSecond * (SUBMIT_MS / 1000));
    const startMs = performance.now();
    let previous: Promise<void> | undefined;
    for (const [index, { begin, end }] of batches.entries()) {
      const isLast = index === batches.length - 1;
      task.burst((burst) => {
        this.encode(burst.pass(), begin, end);
        if (!isLast) return;
        for (const output of this.#graph.outputs) {
          const bytes = elementCount(output.shape) * F32_BYTES;
          burst.copy(this.#bufferOf(output), 0, destination(output), 0, bytes);
        }
      });
      if (batches.length === 1) return;
      const done = task.computed(!isLast);
      done.catch(() => undefined); // nobody awaits it where this run ends before
      await previous;
      previous = done;
    }
    await previous;
    const flops = this.steps.reduce((sum, step) => sum + step.flops, 0);
    this.#gpu.sawThroughput(flops / ((performance.now() - startMs) / 1000));
  }

  /**
   * Encodes the dispatches `begin` to `end` - 1. A dispatch reads nothing that it writes, so it may be
   * encoded again: it gives the same.
   */
  encode(pass: GPUComputePassEncoder, begin: number, end: number): void {
    this.#bind();
    for (let i = begin; i < end; i++) {
      const { kernel, workgroups } = this.steps[i]!;
      pass.setPipeline(kernel.pipeline);
      pass.setBindGroup(0, this.#groups[i]!);
      pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
    }
  }

  /** One line a dispatch, and the bytes with and without sharing. */
  describe(): string {
    const name = (value: Value): string =>
      `${value.name} (${value.shape.join(', ')})${value.kind === 'activation' ? ` @${this.plan.slotOf.get(value)}` : ''}`;
    const lines = this.steps.map(({ node, kernel, workgroups }) => {
      const activations = node.inputs
        .filter(({ kind }) => kind !== 'weight')
        .map(name)
        .join(' + ');
      return `${kernelName(kernel.variant.kernel).padEnd(36)} ${workgroups.join('×').padEnd(12)} ${activations} → ${name(node.output)}`;
    });
    const { slots, unsharedBytes, plannedBytes } = this.plan;
    const summary = `${this.steps.length} dispatches; activations ${megabytes(unsharedBytes)} → ${megabytes(plannedBytes)} in ${slots.length} buffers`;
    return [...lines, summary].join('\n');
  }

  dispose(): void {
    this.#gpu.memory.destroy(this.#size);
    this.#groups = [];
  }

  #bufferOf(value: Value): GPUBuffer {
    const buffer = this.#fixed.get(value) ?? this.#pool.get(this.plan.slotOf.get(value) ?? value.name);
    if (!buffer)
      throw new DINOv2Error(
        'GRAPH_SHAPE',
        `${value.name}: has no buffer. This is a bug in the model's graph.`,
      );
    return buffer;
  }

  #bind(): void {
    if (this.#generation === this.#pool.generation) return;
    this.#groups = this.steps.map(({ node, kernel }) => {
      const buffers = [
        this.#size,
        ...node.inputs.map((value) => this.#bufferOf(value)),
        this.#bufferOf(node.output),
      ];
      return this.#gpu.pipelines.bind(
        kernel,
        buffers.map((buffer) => ({ buffer })),
      );
    });
    this.#generation = this.#pool.generation;
  }
}

/**
 * How long a submit may keep the GPU busy. Above this, pages stutter; at two seconds, Windows resets the
 * driver.
 */
export const SUBMIT_MS = 100;

/** Consecutive steps in batches of at most `flops` each, or of one step where that alone is more. */
export function splitByWork(
  steps: readonly { readonly flops: number }[],
  flops: number,
): { begin: number; end: number }[] {
  const batches: { begin: number; end: number }[] = [];
  let begin = 0;
  let sum = 0;
  steps.forEach((step, index) => {
    if (index > begin && sum + step.flops > flops) {
      batches.push({ begin, end: index });
      begin = index;
      sum = 0;
    }
    sum += step.flops;
  });
  batches.push({ begin, end: steps.length });
  return batches;
}

/**
 * Multiplications and additions of a node's matrix products, each counted as one. What is not a product
 * counts nothing.
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

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
