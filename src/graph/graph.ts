/**
 * Describes a forward pass as plain data: values (tensors with a name and a shape), and nodes (operations
 * with inputs and one output) in the order in which they run. `planner.ts` assigns memory to the values, and
 * `gpu/program.ts` runs the nodes.
 */
import { DINOv2Error } from '../errors.js';

/** Sizes of a tensor's axes, the outermost first. */
export type Shape = readonly number[];

/** The origin of a tensor: the caller, the checkpoint, or a node of the graph. All activations are f32. */
export type ValueKind = 'input' | 'weight' | 'activation';

/** A tensor of a graph: its name, shape and origin. */
export interface Value {
  /** Name of the tensor, unique in its graph. */
  readonly name: string;
  /** Sizes of the tensor's axes, the outermost first. */
  readonly shape: Shape;
  /** The origin of the tensor. */
  readonly kind: ValueKind;
}

/** The operation that a node computes. Shapes are (rows, columns). `gpu/lowering.ts` chooses the kernels. */
export type Operation =
  /**
   * pixels (batch, 3, H, W) → patch embeddings (batch · rows · cols, embed_dim). Inputs: pixels, weight,
   * bias.
   */
  | { readonly kind: 'patchEmbed'; readonly patchSize: number }
  /**
   * Replaces masked patches by the mask token. Inputs: patches, mask (batch · rows · cols words; a patch is
   * masked if its word is not 0), mask_token.
   */
  | { readonly kind: 'maskPatches' }
  /**
   * Joins cls, registers and patches, and adds position embeddings → tokens (batch · numTokens, embed_dim).
   * Inputs: patches, cls, positions, and registers if the model has registers.
   */
  | { readonly kind: 'assembleTokens'; readonly numRegisterTokens: number }
  /** Layer normalisation of every row. Inputs: x, weight, bias. */
  | { readonly kind: 'layerNorm'; readonly eps: number }
  /** x · weightᵀ + bias. Inputs: x, weight, bias. */
  | { readonly kind: 'linear' }
  /** gelu(x · weightᵀ + bias), the exact GELU. Inputs: x, weight, bias. */
  | { readonly kind: 'linearGelu' }
  /** silu(gate) · up, where gate and up are the two halves of x · weightᵀ + bias. Inputs: x, weight, bias. */
  | { readonly kind: 'linearSwiglu' }
  /** residual + gamma · (x · weightᵀ + bias). Inputs: x, weight, bias, gamma, residual. */
  | { readonly kind: 'linearScaleResidual' }
  /** Multi-head attention within each image. Input: qkv (batch · numTokens, 3 · embed_dim). */
  | { readonly kind: 'attention'; readonly numHeads: number };

/** An operation with its inputs and its output. */
export interface Node {
  /** Name of the node in messages and profiles, such as `blocks.0.attn.qkv`. */
  readonly label: string;
  /** The operation that the node computes. */
  readonly operation: Operation;
  /** The node's inputs, in the order that `Operation` documents. */
  readonly inputs: readonly Value[];
  /** The tensor that the node computes. */
  readonly output: Value;
}

/** A forward pass: its operations and its outputs. */
export interface Graph {
  /** The operations in the order in which they run. */
  readonly nodes: readonly Node[];
  /** The tensors that are needed after the last node has run. */
  readonly outputs: readonly Value[];
}

/** Returns the number of elements of a tensor. */
export const elementCount = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

/**
 * Builds a graph. Nodes run in the order in which they are added. Each method that adds a node checks the
 * shapes of its arguments.
 *
 * @throws DINOv2Error GRAPH_SHAPE
 */
export class GraphBuilder {
  readonly #nodes: Node[] = [];
  readonly #names = new Set<string>();

  /** Adds a tensor that the caller provides for each run of the graph. */
  input(name: string, shape: Shape): Value {
    return this.#value(name, shape, 'input');
  }

  /** Adds a tensor of the checkpoint. */
  weight(name: string, shape: Shape): Value {
    return this.#value(name, shape, 'weight');
  }

  patchEmbed(name: string, pixels: Value, weight: Value, bias: Value): Value {
    const [batch, , height, width] = expectRank(name, pixels, 4);
    const [embedDim, , patchSize] = expectRank(name, weight, 4);
    const rows = height! / patchSize!;
    const cols = width! / patchSize!;
    expect(
      Number.isInteger(rows) && Number.isInteger(cols),
      name,
      `height and width that are multiples of ${patchSize}`,
      describe(pixels),
    );
    expectShape(name, bias, [embedDim!]);
    const operation: Operation = { kind: 'patchEmbed', patchSize: patchSize! };
    return this.#node(name, operation, [pixels, weight, bias], [batch! * rows * cols, embedDim!]);
  }

  maskPatches(name: string, patches: Value, mask: Value, maskToken: Value): Value {
    const [patchRows, embedDim] = expectRank(name, patches, 2);
    expectShape(name, mask, [patchRows!]);
    expectShape(name, maskToken, [1, embedDim!]);
    return this.#node(name, { kind: 'maskPatches' }, [patches, mask, maskToken], patches.shape);
  }

  assembleTokens(
    name: string,
    batch: number,
    patches: Value,
    cls: Value,
    positions: Value,
    registers?: Value,
  ): Value {
    const [patchRows, embedDim] = expectRank(name, patches, 2);
    const numRegisterTokens = registers ? registers.shape[1]! : 0;
    const numPatches = patchRows! / batch;
    expectShape(name, positions, [1 + numPatches, embedDim!]);
    expectShape(name, cls, [1, 1, embedDim!]);
    if (registers) expectShape(name, registers, [1, numRegisterTokens, embedDim!]);
    const inputs = registers ? [patches, cls, positions, registers] : [patches, cls, positions];
    const numTokens = 1 + numRegisterTokens + numPatches;
    return this.#node(name, { kind: 'assembleTokens', numRegisterTokens }, inputs, [
      batch * numTokens,
      embedDim!,
    ]);
  }

  layerNorm(name: string, x: Value, weight: Value, bias: Value, eps: number): Value {
    const [, columns] = expectRank(name, x, 2);
    expectShape(name, weight, [columns!]);
    expectShape(name, bias, [columns!]);
    return this.#node(name, { kind: 'layerNorm', eps }, [x, weight, bias], x.shape);
  }

  linear(name: string, x: Value, weight: Value, bias: Value): Value {
    return this.#node(name, { kind: 'linear' }, [x, weight, bias], linearShape(name, x, weight, bias));
  }

  linearGelu(name: string, x: Value, weight: Value, bias: Value): Value {
    return this.#node(name, { kind: 'linearGelu' }, [x, weight, bias], linearShape(name, x, weight, bias));
  }

  linearSwiglu(name: string, x: Value, weight: Value, bias: Value): Value {
    const [rows, both] = linearShape(name, x, weight, bias);
    expect(both! % 2 === 0, name, 'gate and up of equal width', describe(weight));
    return this.#node(name, { kind: 'linearSwiglu' }, [x, weight, bias], [rows!, both! / 2]);
  }

  linearScaleResidual(
    name: string,
    x: Value,
    weight: Value,
    bias: Value,
    gamma: Value,
    residual: Value,
  ): Value {
    const shape = linearShape(name, x, weight, bias);
    expectShape(name, gamma, [shape[1]!]);
    expectShape(name, residual, shape);
    return this.#node(name, { kind: 'linearScaleResidual' }, [x, weight, bias, gamma, residual], shape);
  }

  attention(name: string, qkv: Value, numHeads: number): Value {
    const [rows, columns] = expectRank(name, qkv, 2);
    expect(columns! % (3 * numHeads) === 0, name, `3 × ${numHeads} heads of equal width`, describe(qkv));
    return this.#node(name, { kind: 'attention', numHeads }, [qkv], [rows!, columns! / 3]);
  }

  /** Returns the graph. The memory of the tensors in `outputs` is not reused before the forward pass ends. */
  build(outputs: readonly Value[]): Graph {
    return { nodes: [...this.#nodes], outputs };
  }

  #node(name: string, operation: Operation, inputs: readonly Value[], shape: Shape): Value {
    const output = this.#value(name, shape, 'activation');
    this.#nodes.push({ label: name, operation, inputs, output });
    return output;
  }

  #value(name: string, shape: Shape, kind: ValueKind): Value {
    expect(!this.#names.has(name), name, 'a unique tensor name', 'a second tensor with this name');
    this.#names.add(name);
    return { name, shape, kind };
  }
}

function linearShape(name: string, x: Value, weight: Value, bias: Value): Shape {
  const [rows, inFeatures] = expectRank(name, x, 2);
  const [outFeatures, weightIn] = expectRank(name, weight, 2);
  expect(weightIn === inFeatures, name, `a weight with ${inFeatures} columns`, describe(weight));
  expectShape(name, bias, [outFeatures!]);
  return [rows!, outFeatures!];
}

const describe = ({ name, shape }: Value): string => `${name} (${shape.join(', ')})`;

function expectRank(where: string, value: Value, rank: number): Shape {
  expect(value.shape.length === rank, where, `${rank} axes`, describe(value));
  return value.shape;
}

function expectShape(where: string, value: Value, shape: Shape): void {
  expect(value.shape.join() === shape.join(), where, `(${shape.join(', ')})`, describe(value));
}

function expect(holds: boolean, where: string, expected: string, found: string): void {
  if (!holds)
    throw new DINOv2Error(
      'GRAPH_SHAPE',
      `${where}: expected ${expected}, found ${found}. This is a bug in the model's graph.`,
    );
}
