/**
 * Builds DINOv2's forward pass as a graph. Follows `DinoVisionTransformer.forward_features` and
 * `Block.forward` of facebookresearch/dinov2 (dinov2/models/vision_transformer.py, dinov2/layers/block.py).
 */
import { GraphBuilder, type Graph, type Value } from '../graph/graph.js';
import type { DINOv2Config } from './config.js';

/** The size of a batch in patches, which determines the shapes in a forward pass. */
export interface Grid {
  /** Number of images. */
  readonly batch: number;
  /** Patch rows of an image. */
  readonly rows: number;
  /** Patch columns of an image. */
  readonly cols: number;
}

/** Variants of a forward pass: additional outputs, and masking. */
export interface ForwardVariant {
  /**
   * Hidden states to store. 0 is the input of the first block; `i` is the output of the `i`-th block, at most
   * `depth`.
   */
  readonly layers?: readonly number[] | undefined;
  /** Blocks, 0 to `depth` - 1, whose queries and keys are stored, for `Features.attention`. */
  readonly attentions?: readonly number[] | undefined;
  /**
   * True if patches are masked. The graph then has one more input, `mask`: (batch · rows · cols) of u32.
   */
  readonly masked?: boolean | undefined;
}

/** The graph of a forward pass and its outputs. */
export interface Forward {
  readonly graph: Graph;
  /** The last hidden state, after the final norm: (batch · numTokens, embedDim). */
  readonly lastHiddenState: Value;
  /** Requested hidden states by layer, before the final norm: (batch · numTokens, embedDim) each. */
  readonly hiddenStates: ReadonlyMap<number, Value>;
  /** Requested queries, keys and values by block: (batch · numTokens, 3 · embedDim) each. */
  readonly qkv: ReadonlyMap<number, Value>;
}

/** Returns the number of tokens of one image: cls, registers and patches. */
export function countTokens(config: DINOv2Config, { rows, cols }: Grid): number {
  return 1 + config.numRegisterTokens + rows * cols;
}

/** Builds the graph of the forward pass for one input size. */
export function buildForward(
  config: DINOv2Config,
  grid: Grid,
  { layers = [], attentions = [], masked = false }: ForwardVariant = {},
): Forward {
  const { embedDim, depth, patchSize, numRegisterTokens, layerNormEps } = config;
  const { batch, rows, cols } = grid;
  const graph = new GraphBuilder();
  const weight = (name: string, ...shape: number[]): Value => graph.weight(name, shape);
  const vector = (name: string): Value => weight(name, embedDim);
  const norm = (name: string, x: Value): Value =>
    graph.layerNorm(name, x, vector(`${name}.weight`), vector(`${name}.bias`), layerNormEps);

  const pixels = graph.input('pixels', [batch, 3, rows * patchSize, cols * patchSize]);
  const positions = graph.input('positions', [1 + rows * cols, embedDim]);
  let patches = graph.patchEmbed(
    'patch_embed.proj',
    pixels,
    weight('patch_embed.proj.weight', embedDim, 3, patchSize, patchSize),
    vector('patch_embed.proj.bias'),
  );
  if (masked)
    patches = graph.maskPatches(
      'masked',
      patches,
      graph.input('mask', [batch * rows * cols]),
      weight('mask_token', 1, embedDim),
    );
  const registers =
    numRegisterTokens > 0 ? weight('register_tokens', 1, numRegisterTokens, embedDim) : undefined;
  const tokens = graph.assembleTokens(
    'tokens',
    batch,
    patches,
    weight('cls_token', 1, 1, embedDim),
    positions,
    registers,
  );

  const hiddenStates = new Map<number, Value>();
  const qkv = new Map<number, Value>();
  let x = tokens;
  for (let layer = 0; layer <= depth; layer++) {
    if (layers.includes(layer)) hiddenStates.set(layer, x);
    if (layer === depth) break;
    const output = block(graph, config, `blocks.${layer}`, x);
    if (attentions.includes(layer)) qkv.set(layer, output.qkv);
    x = output.x;
  }
  const lastHiddenState = norm('norm', x);
  return {
    graph: graph.build([lastHiddenState, ...hiddenStates.values(), ...qkv.values()]),
    lastHiddenState,
    hiddenStates,
    qkv,
  };
}

/**
 * Adds one transformer block to the graph, in seven operations: x + ls1(attn(norm1(x))), then x +
 * ls2(mlp(norm2(x))).
 */
function block(
  graph: GraphBuilder,
  { embedDim, numHeads, hiddenFeatures, ffn, layerNormEps }: DINOv2Config,
  name: string,
  x: Value,
): { x: Value; qkv: Value } {
  const weight = (part: string, ...shape: number[]): Value => graph.weight(`${name}.${part}`, shape);
  const norm = (part: string, input: Value): Value =>
    graph.layerNorm(
      `${name}.${part}`,
      input,
      weight(`${part}.weight`, embedDim),
      weight(`${part}.bias`, embedDim),
      layerNormEps,
    );
  const matrix = (part: string, outFeatures: number, inFeatures: number): [Value, Value] => [
    weight(`${part}.weight`, outFeatures, inFeatures),
    weight(`${part}.bias`, outFeatures),
  ];

  const qkv = graph.linear(
    `${name}.attn.qkv`,
    norm('norm1', x),
    ...matrix('attn.qkv', 3 * embedDim, embedDim),
  );
  const context = graph.attention(`${name}.attn`, qkv, numHeads);
  x = graph.linearScaleResidual(
    `${name}.attn.proj`,
    context,
    ...matrix('attn.proj', embedDim, embedDim),
    weight('ls1.gamma', embedDim),
    x,
  );

  const normed = norm('norm2', x);
  const gamma = weight('ls2.gamma', embedDim);
  if (ffn === 'swiglu') {
    const hidden = graph.linearSwiglu(
      `${name}.mlp.w12`,
      normed,
      ...matrix('mlp.w12', 2 * hiddenFeatures, embedDim),
    );
    return {
      x: graph.linearScaleResidual(
        `${name}.mlp.w3`,
        hidden,
        ...matrix('mlp.w3', embedDim, hiddenFeatures),
        gamma,
        x,
      ),
      qkv,
    };
  }
  const hidden = graph.linearGelu(`${name}.mlp.fc1`, normed, ...matrix('mlp.fc1', hiddenFeatures, embedDim));
  return {
    x: graph.linearScaleResidual(
      `${name}.mlp.fc2`,
      hidden,
      ...matrix('mlp.fc2', embedDim, hiddenFeatures),
      gamma,
      x,
    ),
    qkv,
  };
}
