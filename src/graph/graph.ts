/**
 * A forward as plain data: values (tensors with a name and a shape) and nodes (operations with their inputs
 * and one output), in the order in which they run. Nothing here knows a GPU; `planner.ts` gives the values
 * memory, `gpu/program.ts` carries the nodes out.
 */
import { DINOv2Error } from '../errors.js';

export type Shape = readonly number[];

/**
 * Where the bytes of a value come from: the caller, the checkpoint, or a node of the graph. All activations
 * are f32.
 */
export type ValueKind = 'input' | 'weight' | 'activation';

export interface Value {
  readonly name: string;
  readonly shape: Shape;
  readonly kind: ValueKind;
}

/** What a node computes. Shapes are written (rows, columns); `gpu/lowering.ts` says which kernels do it. */
export type Operation =
  /**
   * pixels (batch, 3, H, W) → patch embeddings (batch · rows · cols, embed_dim). Inputs: pixels, weight,
   * bias.
   */
  | { readonly kind: 'patchEmbed'; readonly patchSize: number }
  /**
   * The mask token in place of masked patches. Inputs: patches, mask (batch · rows · cols words, 0 or not),
   * mask_token.
   */
  | { readonly kind: 'maskPatches' }
  /**
   * cls + registers + patches, with positions → tokens (batch · numTokens, embed_dim). Inputs: patches, cls,
   * positions, registers?.
   */
  | { readonly kind: 'assembleTokens'; readonly numRegisterTokens: number }
  /** Normalises every row. Inputs: x, weight, bias. */
  | { readonly kind: 'layerNorm'; readonly eps: number }
  /** x · weightᵀ + bias. Inputs: x, weight, bias. */
  | { readonly kind: 'linear' }
  /** gelu(x · weightᵀ + bias), the exact GELU. Inputs: x, weight, bias. */
  | { readonly kind: 'linearGelu' }
  /** silu(gate) · up, where gate and up are the halves of x · weightᵀ + bias. Inputs: x, weight, bias. */
  | { readonly kind: 'linearSwiglu' }
  /** residual + gamma · (x · weightᵀ + bias). Inputs: x, weight, bias, gamma, residual. */
  | { readonly kind: 'linearScaleResidual' }
  /** Multi-head attention of every image with itself. Input: qkv (batch · numTokens, 3 · embed_dim). */
  | { readonly kind: 'attention'; readonly numHeads: number };

export interface Node {
  readonly label: string;
  readonly operation: Operation;
  readonly inputs: readonly Value[];
  readonly output: Value;
}

export interface Graph {
  readonly nodes: readonly Node[];
  /** Values that must still hold their contents when the last node has run. */
  readonly outputs: readonly Value[];
}

export const elementCount = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

/** Collects nodes in the order in which they run. Every method checks the shapes that it is given. */
export class GraphBuilder {
  readonly #nodes: Node[] = [];
  readonly #names = new Set<string>();

  input(name: string, shape: Shape): Value {
    return this.#value(name, shape, 'input');
  }

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
      `an image of whole patches of ${patchSize}`,
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

  /** The graph as data. `outputs` are kept alive to its end. */
  build(outputs: readonly Value[]): Graph {
    return { nodes: [...this.#nodes], outputs };
  }

  #node(name: string, operation: Operation, inputs: readonly Value[], shape: Shape): Value {
    const output = this.#value(name, shape, 'activation');
    this.#nodes.push({ label: name, operation, inputs, output });
    return output;
  }

  #value(name: string, shape: Shape, kind: ValueKind): Value {
    expect(!this.#names.has(name), name, 'a name that is not taken', 'it used twice');
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
