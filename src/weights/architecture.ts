/** Derives a model's architecture from its tensors' names and shapes. */
import type { Family } from './dialects.js';
import type { Dialect } from './huggingFace.js';

/** What names and shapes alone say about a model. */
export interface Architecture {
  readonly dialect: Dialect;
  readonly embedDim: number;
  readonly depth: number;
  readonly numRegisterTokens: number;
  /** facebookresearch's and Hugging Face's published files have a mask token; timm's have none. */
  readonly hasMaskToken: boolean;
  readonly ffn: 'mlp' | 'swiglu';
  readonly hiddenFeatures: number;
  readonly patchSize: number;
  readonly numChannels: number;
  /** Patches along a side of the native image. Not a whole number where positions form no square. */
  readonly grid: number;
  /** Positions for the patches alone (timm's `no_embed_class`): the class token has its own added in. */
  readonly patchPositions: boolean;
}

/** Shapes by our names. Of parameters that are split over several tensors, any one shape. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/**
 * Whether `mlp.fc1` holds both halves of a SwiGLU, as timm's `SwiGLUPacked` has them: it has twice as many
 * rows then as `mlp.fc2` has columns.
 */
export function isPacked(shapes: Shapes): boolean {
  for (const [name, shape] of shapes) {
    if (!name.endsWith('.mlp.fc1.weight')) continue;
    const [, columns] = shapes.get(name.replace('.fc1.', '.fc2.')) ?? [];
    if (columns !== undefined) return shape[0] === 2 * columns;
  }
  return false;
}

/** A name inside a packed SwiGLU, as ours. */
export const unpackedName = (parameter: string): string =>
  parameter.replace('.mlp.fc1.', '.mlp.w12.').replace('.mlp.fc2.', '.mlp.w3.');

/** Decides between facebookresearch's and timm's dialect, which share most names. */
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
 * Reads an architecture off shapes by our names; undefined when a length that the answer needs is missing or
 * no whole number. Of split parameters it looks at none, so it does not matter if they are split. Where a
 * file lacks tensors the others are asked, and the published values taken, so that `placeTensors` can say
 * what is missing.
 * @param regToken whether registers are called `reg_token`, as in timm, whose tables have no class token then
 */
export function architectureOf(shapes: Shapes, dialect: Dialect, regToken = false): Architecture | undefined {
  const [, positions = 1 + 37 * 37, width = 0] = shapes.get('pos_embed') ?? [];
  const [proj = width, numChannels = 3, patchSize = 14] = shapes.get('patch_embed.proj.weight') ?? [];
  const [, , embedDim = proj] = shapes.get('cls_token') ?? [];
  const [, numRegisterTokens = 0] = shapes.get('register_tokens') ?? [];
  const whole = integerRoot(positions - 1);
  // Without registers the table may belong to an image that is no square: 36 is 6 × 6, or 1 + 5 × 7.
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
  // Counts blocks with at least half the tensors of the fullest block, so that a stray tensor is no block.
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

/** Our names of everything that a model of this architecture must have. */
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

/** When a file is a sound DINOv2 of another size than the configuration: a sentence that says both. */
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

/** `small (`, or `a model of another size (`. */
function sizeName({ embedDim, depth }: Architecture): string {
  const sizes: Readonly<Record<string, string>> = {
    '384x12': 'small',
    '768x12': 'base',
    '1024x24': 'large',
    '1536x40': 'giant',
  };
  return `${sizes[`${embedDim}x${depth}`] ?? 'a model of another size'} (`;
}
