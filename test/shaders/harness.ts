// Runs one node of a graph with the kernel that `lower` selects, on the adapter of test/setup-dawn.ts, and checks
// guard words around the output.
import { PanelPacker, packedBytes } from '../../src/weights/packing.ts';
import type { Gpu } from '../../src/gpu/device.ts';
import type { WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { alternatives, lower, sizeWords, type ForwardSize, type Target } from '../../src/gpu/lowering.ts';
import { flopsOf } from '../../src/gpu/program.ts';
import { cutIntoRanges, type Range } from '../../src/gpu/submits.ts';
import { elementCount, GraphBuilder, type Node, type Value } from '../../src/graph/graph.ts';
import { throughF16 } from '../random.ts';

/** Source of a binding's bytes. */
export type Data = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** The weight storages that this device supports. */
export function storagesOf(gpu: Gpu): WeightStorage[] {
  return gpu.device.features.has('shader-f16') ? ['f32', 'f16-packed', 'f16'] : ['f32', 'f16-packed'];
}

/** The families of kernels that this device supports: tiled kernels, and lane kernels for its subgroup size. */
export function familiesOf(gpu: Gpu): (readonly [family: string, target: Omit<Target, 'weights'>])[] {
  const { laneKernels } = gpu;
  return [
    ['tiled', { software: false }],
    ...(laneKernels ? [[`lanes${laneKernels.lanes}`, { software: true, laneKernels }] as const] : []),
  ];
}

/** A weight after storage: `packed` for the kernel on the GPU, `values` for the CPU reference. */
export interface PackedWeight {
  readonly values: Float32Array<ArrayBuffer>;
  readonly packed: Uint32Array<ArrayBuffer>;
}

export function packWeight(
  rows: number,
  columns: number,
  weight: Float32Array<ArrayBuffer>,
  storage: WeightStorage,
): PackedWeight {
  const bytes = new Uint8Array(packedBytes(rows, columns, storage));
  const packer = new PanelPacker(rows, columns, storage, (offset, data) => bytes.set(data, offset));
  packer.add(weight, 0);
  return { values: storage === 'f32' ? weight : throughF16(weight), packed: new Uint32Array(bytes.buffer) };
}

const GUARD = 0xdeadbeef;
/** A NaN with a distinct payload that fills outputs before a run. An element that still holds it was not written. */
const UNWRITTEN = 0x7fc0dead;
/** NaN as an f32 and as two f16. It follows every input, so that a kernel that reads too far gives NaN. */
const POISON = 0x7fc07fc0;
const POISON_WORDS = 4096;
/** Guard words before an output. 256 bytes, because a binding's offset must be a multiple of that. */
const GUARD_WORDS = 64;

/** The only node of a graph that `describe` builds from inputs and one operation. */
export function nodeOf(describe: (graph: GraphBuilder) => Value): Node {
  const graph = new GraphBuilder();
  return graph.build([describe(graph)]).nodes[0]!;
}

export type Workgroups = readonly [number, number, number];

export interface RunOptions {
  readonly target: Target;
  readonly size: ForwardSize;
  /** The node's inputs by name. */
  readonly data: Readonly<Record<string, Data>>;
  /** Workgroup counts. Default: those that `lower` computes. */
  readonly workgroups?: Workgroups | undefined;
  /** Index of the kernel among the node's alternatives. Default: the kernel that `lower` selects. */
  readonly alternative?: number | undefined;
}

/** Numbers of ranges into which successive dispatches are cut. Infinity: one range per workgroup, if these are few. */
const CUTS = [2, Infinity, 3, 5, 17];
const FEW_WORKGROUPS = 200;
let turn = 0;

/**
 * Runs a node twice into two buffers, in one dispatch and cut into ranges as on a slow adapter, and returns the
 * first result.
 * @throws Error if a word outside the output was written, an element was not written, or the two results
 *   differ in a bit
 */
export async function runNode(
  gpu: Gpu,
  node: Node,
  { target, size, data, workgroups, alternative }: RunOptions,
): Promise<Float32Array<ArrayBuffer>> {
  const {
    variant,
    workgroups: usual,
    cuts = [],
  } = alternative === undefined ? lower(node, target, size) : alternatives(node, target)[alternative]!;
  const compiled = await gpu.pipelines.compile(variant);
  const made: GPUBuffer[] = [];
  const keep = (buffer: GPUBuffer): GPUBuffer => {
    made.push(buffer);
    return buffer;
  };
  try {
    const whole: Range = { first: [0, 0, 0], workgroups: workgroups ?? usual(size), flops: 0 };
    const count = whole.workgroups.reduce((product, each) => product * each);
    const parts = Math.min(CUTS[turn++ % CUTS.length]!, count <= FEW_WORKGROUPS ? count : 7);
    const ranges = cutIntoRanges(whole.workgroups, cuts, flopsOf(node, size), flopsOf(node, size) / parts);
    const inputs = node.inputs.map(({ name }) => {
      const values = data[name]!;
      const words = new Uint32Array(values.length + POISON_WORDS).fill(POISON);
      words.set(new Uint32Array(values.buffer, values.byteOffset, values.length));
      return keep(gpu.memory.storageOf(name, words));
    });

    // The binding includes the guards, so that the GPU's bounds checks do not hide a kernel that writes too far.
    const elements = elementCount(node.output.shape);
    const after = GUARD_WORDS + 64 * node.output.shape[1]!;
    const prepared = new Uint32Array(GUARD_WORDS + elements + after).fill(GUARD);
    prepared.fill(UNWRITTEN, GUARD_WORDS, GUARD_WORDS + elements);
    const outputs = ['first', 'second'].map((name) => keep(gpu.memory.storageOf(name, prepared)));

    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(compiled.pipeline);
    for (const [output, dispatches] of [
      [outputs[0]!, [whole]],
      [outputs[1]!, ranges],
    ] as const) {
      const bound = { buffer: output, offset: 4 * GUARD_WORDS };
      for (const range of dispatches) {
        const uniform = keep(gpu.memory.uniformOf('size', sizeWords(size, range.first)));
        pass.setBindGroup(
          0,
          gpu.pipelines.bind(compiled, [{ buffer: uniform }, ...inputs.map((buffer) => ({ buffer })), bound]),
        );
        pass.dispatchWorkgroups(...range.workgroups);
      }
    }
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    const [first, second] = (
      await Promise.all(outputs.map((output) => gpu.read(output, 0, 4 * prepared.length)))
    ).map((bytes) => new Uint32Array(bytes));

    const { entryPoint } = variant.kernel;
    for (let i = 0; i < prepared.length; i++) {
      const at = i - GUARD_WORDS;
      if (at < 0 || at >= elements) {
        if (first![i] !== GUARD)
          throw new Error(`${entryPoint}: wrote word ${at} of an output of ${elements} elements`);
      } else if (first![i] === UNWRITTEN) {
        throw new Error(`${entryPoint}: left element ${at} of ${elements} unwritten`);
      }
      if (first![i] !== second![i])
        throw new Error(
          `${entryPoint}: gave other bits for element ${at} when run again in ${ranges.length} ranges`,
        );
    }
    return new Float32Array(first!.buffer, 4 * GUARD_WORDS, elements).slice();
  } finally {
    for (const buffer of made) gpu.memory.destroy(buffer);
  }
}

/** The bits of floats, for exact comparisons. */
export const bitsOf = (values: Float32Array): Uint32Array =>
  new Uint32Array(values.buffer, values.byteOffset, values.length);

/** A forward size for kernels that depend only on the number of token rows. */
export const tokenRows = (batch: number, numTokens: number): ForwardSize => ({
  batch,
  rows: 1,
  cols: 1,
  numTokens,
});
