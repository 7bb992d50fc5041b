/** Derives a model's architecture from the names and shapes of its tensors. */
import type { Family } from './dialects.js';
import type { Dialect } from './huggingFace.js';

/** The properties of a model that follow from its tensors' names and shapes alone. */
export interface Architecture {
  readonly dialect: Dialect;
  readonly embedDim: number;
  readonly depth: number;
  readonly numRegisterTokens: number;
  /**
   * Whether the file has a mask token. Files published by facebookresearch and Hugging Face have one; timm's
   * have none.
   */
  readonly hasMaskToken: boolean;
  readonly ffn: 'mlp' | 'swiglu';
  readonly hiddenFeatures: number;
  readonly patchSize: number;
  readonly numChannels: number;
  /**
   * Patches along a side of the image size for which the model was trained. Not a whole number if the
   * position embeddings form no square.
   */
  readonly grid: number;
  /**
   * Whether only patches have position embeddings (timm's `no_embed_class`). The class token's position
   * embedding is then already added to the class token.
   */
  readonly patchPositions: boolean;
}

/**
 * Shapes of tensors by our tensor names. For a parameter that is split over several tensors, the shape of any
 * one of these tensors.
 */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/**
 * Returns whether `mlp.fc1` holds both halves of a SwiGLU, as in timm's `SwiGLUPacked`. If so, `mlp.fc1` has
 * twice as many rows as `mlp.fc2` has columns.
 */
export function isPacked(shapes: Shapes): boolean {
  for (const [name, shape] of shapes) {
    if (!name.endsWith('.mlp.fc1.weight')) continue;
    const [, columns] = shapes.get(name.replace('.fc1.', '.fc2.')) ?? [];
    if (columns !== undefined) return shape[0] === 2 * columns;
  }
  return false;
}

/** Translates the name of a tensor of a packed SwiGLU into our name. */
export const unpackedName = (parameter: string): string =>
  parameter.replace('.mlp.fc1.', '.mlp.w12.').replace('.mlp.fc2.', '.mlp.w3.');

/**
 * Decides which naming convention (dialect: Hugging Face, facebookresearch or timm) a file follows.
 * facebookresearch and timm share most names.
 */
export function dialectOf(
  family: Family,
  shapes: Shapes,
  timmsOwn: { readonly regToken: boolean; readonly packed: boolean },
): Dialect {
  if (family === 'huggingface') return 'huggingface';
  const facebooks =
    shapes.has('mask_token') ||
    (shapes.has('register_tokens') && !timmsOwn.regToken) ||
    [...shapes.keys()].some((name) => name.endsWith('.mlp.w3.weight'));
  return timmsOwn.regToken || timmsOwn.packed || !facebooks ? 'timm' : 'facebookresearch';
}

const integerRoot = (square: number): number | undefined => {
  const root = Math.sqrt(square);
  return Number.isInteger(root) && root > 0 ? root : undefined;
};

/**
 * Derives an architecture from the shapes of tensors, which are given by our tensor names. Returns
 * undefined if a necessary dimension is missing or is not a whole number. Shapes of split parameters are
 * not used, so the result is the same whether they are split or not. If tensors are missing, the dimension
 * is taken from other tensors or from the published models, so that `placeTensors` can list the missing
 * tensors.
 * @param regToken whether the register tokens are called `reg_token`, as in timm. timm's position embeddings
 *   then have no row for the class token
 */
export function architectureOf(shapes: Shapes, dialect: Dialect, regToken = false): Architecture | undefined {
  const [, positions = 1 + 37 * 37, width = 0] = shapes.get('pos_embed') ?? [];
  const [proj = width, numChannels = 3, patchSize = 14] = shapes.get('patch_embed.proj.weight') ?? [];
  const [, , embedDim = proj] = shapes.get('cls_token') ?? [];
  const [, numRegisterTokens = 0] = shapes.get('register_tokens') ?? [];
  const whole = integerRoot(positions - 1);
  // Without registers the position embeddings may belong to an image that is no square: 36 rows are 6 × 6,
  // or 1 + 5 × 7.
  const patchesAlone = regToken && whole === undefined ? integerRoot(positions) : undefined;
  const grid = whole ?? patchesAlone ?? Math.sqrt(positions - 1);

  const tensorsOf = new Map<number, number>();
  let swiglu: readonly number[] | undefined;
  let mlp: readonly number[] | undefined;
  for (const [name, shape] of shapes) {
    const [, block, part] = /^blocks\.(\d+)\.(.*)$/.exec(name) ?? [];
    if (block === undefined) continue;
    tensorsOf.set(Number(block), (tensorsOf.get(Number(block)) ?? 0) + 1);
    if (part === 'mlp.w3.weight') swiglu ??= shape;
    if (part === 'mlp.fc2.weight') mlp ??= shape;
  }
  const [, hiddenFeatures = 0] = swiglu ?? mlp ?? [];
  // Only blocks that have at least half as many tensors as the fullest block count, so that a stray tensor
  // does not count as a block.
  const fullest = Math.max(0, ...tensorsOf.values());
  const depth = Math.max(
    0,
    ...[...tensorsOf].filter(([, count]) => 2 * count >= fullest).map(([block]) => block + 1),
  );

  const all = [embedDim, depth, hiddenFeatures, patchSize, numChannels];
  if (!all.every((length) => Number.isInteger(length) && length > 0)) return undefined;
  return {
    dialect,
    embedDim,
    depth,
    numRegisterTokens,
    hasMaskToken: shapes.has('mask_token'),
    ffn: swiglu === undefined ? 'mlp' : 'swiglu',
    hiddenFeatures,
    patchSize,
    numChannels,
    grid,
    patchPositions: patchesAlone !== undefined,
  };
}

/** Returns the names (in our own naming) of all tensors that a model of this architecture must have. */
export function requiredNames({ depth, ffn, numRegisterTokens }: Architecture): string[] {
  const affine = (name: string): string[] => [`${name}.weight`, `${name}.bias`];
  const layers = ['norm1', 'attn.qkv', 'attn.proj', 'norm2'].concat(
    ffn === 'mlp' ? ['mlp.fc1', 'mlp.fc2'] : ['mlp.w12', 'mlp.w3'],
  );
  const names = ['cls_token', 'pos_embed', ...affine('patch_embed.proj'), ...affine('norm')];
  if (numRegisterTokens > 0) names.push('register_tokens');
  for (let i = 0; i < depth; i++) {
    const block = `blocks.${i}`;
    names.push(`${block}.ls1.gamma`, `${block}.ls2.gamma`);
    for (const layer of layers) names.push(...affine(`${block}.${layer}`));
  }
  return names;
}

/**
 * If the file is a valid DINOv2 of a different size than the configuration, returns a sentence that names
 * both sizes; otherwise undefined.
 */
export function sizesDiffer(
  file: Architecture | undefined,
  expected: Architecture | undefined,
): string | undefined {
  if (file === undefined || expected === undefined) return undefined;

  const differs = (key: keyof Architecture) => file[key] !== expected[key];
  const further: string[] = [];
  const mine: string[] = [];
  const compare = (key: keyof Architecture, text: (architecture: Architecture) => string) => {
    if (!differs(key)) return;
    further.push(text(file));
    mine.push(text(expected));
  };
  compare('numRegisterTokens', ({ numRegisterTokens }) => `${numRegisterTokens} register tokens`);
  if (Number.isInteger(file.grid))
    compare('grid', ({ grid, patchSize }) => `image_size ${grid * patchSize} (${grid} × ${grid} positions)`);
  compare('patchSize', ({ patchSize }) => `patch_size ${patchSize}`);
  compare('numChannels', ({ numChannels }) => `${numChannels} channels`);
  compare('ffn', ({ ffn }) => (ffn === 'mlp' ? 'an MLP' : 'a SwiGLU'));
  if (!differs('ffn') && !differs('embedDim'))
    compare('hiddenFeatures', ({ hiddenFeatures }) => `a hidden layer of ${hiddenFeatures}`);
  if (!differs('embedDim') && !differs('depth') && further.length === 0) return undefined;

  const describe = (architecture: Architecture, more: string[]) =>
    `${sizeName(architecture)}embed_dim ${architecture.embedDim}, ${architecture.depth} blocks${more.map((text) => `, ${text}`).join('')})`;
  return `this file looks like ${describe(file, further)}; the configuration says ${describe(expected, mine)}`;
}

/**
 * Returns how the description of a model size in a message begins: `small (`, or `a model of an unusual
 * size (`.
 */
function sizeName({ embedDim, depth }: Architecture): string {
  const sizes: Readonly<Record<string, string>> = {
    '384x12': 'small',
    '768x12': 'base',
    '1024x24': 'large',
    '1536x40': 'giant',
  };
  return `${sizes[`${embedDim}x${depth}`] ?? 'a model of an unusual size'} (`;
}
