/**
 * The names of a checkpoint's tensors: the only file that knows the dialects.
 *
 * Ours are facebookresearch's (`blocks.0.attn.qkv.weight`). Hugging Face's files have two spellings, the one
 * on the hub (`encoder.layer.0.attention.attention.query.weight`) and the one that transformers 5 has in
 * memory (`….attention.q_proj.weight`); both split query, key and value, and the second splits a SwiGLU's
 * `weights_in` into `gate_proj` and `up_proj` (its conversion_mapping.py, "Dinov2Model").
 */

import { CheckpointError } from '../errors.js';
import type { SafetensorsHeader, TensorInfo } from './safetensors.js';

/** One tensor of the model: our name, and the shape that PyTorch gives it. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
}

/**
 * A tensor of the file fills rows [rowBegin, rowBegin + rows) of the parameter's first axis: query, key,
 * value → one qkv.
 */
export interface Placement {
  /** Our name. */
  readonly parameter: string;
  readonly rowBegin: number;
  readonly rows: number;
  /** The shape that this tensor has in the file. */
  readonly shape: readonly number[];
}

/** Whose names a checkpoint has. */
export type Dialect = 'huggingface' | 'facebookresearch';

/** What placeTensors found: where every tensor of the file goes. */
export interface PlacedTensors {
  /**
   * By the name in the file, in the file's order. A parameter is whole once all its placements have been
   * filled.
   */
  readonly placements: ReadonlyMap<string, Placement>;
  /** Tensors of heads (classifier, segmentation, pre-training), which are known and not loaded. */
  readonly ignored: readonly string[];
  readonly dialect: Dialect;
}

/** What names and shapes alone say about a model. */
export interface Architecture {
  readonly dialect: Dialect;
  readonly embedDim: number;
  readonly depth: number;
  readonly numRegisterTokens: number;
  /** facebookresearch's and Hugging Face's published files all have a mask token; timm's have none. */
  readonly hasMaskToken: boolean;
  readonly ffn: 'mlp' | 'swiglu';
  readonly hiddenFeatures: number;
  readonly patchSize: number;
  readonly numChannels: number;
  /** Patches along a side of the native image. */
  readonly grid: number;
}

/** A part of a parameter: a whole one (0 of 1), or the query, key or value (0, 1, 2 of 3) of qkv. */
interface Part {
  readonly parameter: string;
  readonly part: number;
  readonly parts: number;
}

const prefixes = ['dinov2_with_registers.', 'dinov2.', 'backbone.'];
const heads = /^(classifier|linear_head|head|neck|decode_head|dino_head|ibot_head)\./;
/** Read by masked pre-training alone, and left out of some files (`use_mask_token: false`, timm). */
const optional = 'mask_token';

/** Hugging Face ↔ ours, outside the blocks. */
const huggingFaceOutside: readonly (readonly [theirs: string, ours: string])[] = [
  ['embeddings.cls_token', 'cls_token'],
  ['embeddings.mask_token', 'mask_token'],
  ['embeddings.register_tokens', 'register_tokens'],
  ['embeddings.position_embeddings', 'pos_embed'],
  ['embeddings.patch_embeddings.projection.weight', 'patch_embed.proj.weight'],
  ['embeddings.patch_embeddings.projection.bias', 'patch_embed.proj.bias'],
  ['layernorm.weight', 'norm.weight'],
  ['layernorm.bias', 'norm.bias'],
];

/**
 * Hugging Face ↔ ours, inside `encoder.layer.{i}.` and `blocks.{i}.`, as on the hub: several on the left are
 * parts, in this order.
 */
const huggingFaceInside: readonly (readonly [theirs: readonly string[], ours: string])[] = [
  [['norm1'], 'norm1'],
  [['attention.attention.query', 'attention.attention.key', 'attention.attention.value'], 'attn.qkv'],
  [['attention.output.dense'], 'attn.proj'],
  [['layer_scale1.lambda1'], 'ls1.gamma'],
  [['norm2'], 'norm2'],
  [['mlp.fc1'], 'mlp.fc1'],
  [['mlp.fc2'], 'mlp.fc2'],
  [['mlp.weights_in'], 'mlp.w12'],
  [['mlp.weights_out'], 'mlp.w3'],
  [['layer_scale2.lambda1'], 'ls2.gamma'],
];

/** The same in the spelling of transformers 5: read, never written. */
const huggingFaceInside5: typeof huggingFaceInside = [
  [['attention.q_proj', 'attention.k_proj', 'attention.v_proj'], 'attn.qkv'],
  [['attention.o_proj'], 'attn.proj'],
  [['mlp.gate_proj', 'mlp.up_proj'], 'mlp.w12'],
  [['mlp.down_proj'], 'mlp.w3'],
];

const fromOutside = new Map(huggingFaceOutside);
const toOutside = new Map(huggingFaceOutside.map(([theirs, ours]) => [ours, theirs]));
const fromInside = new Map(
  [...huggingFaceInside, ...huggingFaceInside5].flatMap(([theirs, ours]) =>
    theirs.map((name, part) => [name, { ours, part, parts: theirs.length }] as const),
  ),
);
const toInside = new Map(huggingFaceInside.map(([theirs, ours]) => [ours, theirs]));
const toInside5 = new Map(
  [...huggingFaceInside, ...huggingFaceInside5].map(([theirs, ours]) => [ours, theirs]),
);
const spelling5 = /\.(q|k|v|o|gate|up|down)_proj\.(weight|bias)$/;

/**
 * Translates a name of a file, or says undefined when neither dialect has it. The result may still be no
 * parameter of the model.
 */
function translate(name: string): (Part & { dialect: Dialect; prefix: string }) | undefined {
  const prefix = prefixes.find((candidate) => name.startsWith(candidate)) ?? '';
  const bare = name.slice(prefix.length);

  const outside = fromOutside.get(bare);
  if (outside !== undefined) return { parameter: outside, part: 0, parts: 1, dialect: 'huggingface', prefix };
  const layer = /^encoder\.layer\.(\d+)\.(.+?)(\.weight|\.bias)?$/.exec(bare);
  if (layer !== null) {
    const [, index, theirs = '', suffix = ''] = layer;
    const inside = fromInside.get(theirs);
    if (inside === undefined) return undefined;
    const { ours, part, parts } = inside;
    return { parameter: `blocks.${index}.${ours}${suffix}`, part, parts, dialect: 'huggingface', prefix };
  }

  const block = /^blocks\.(?:\d+\.)?(\d+)\.(.+)$/.exec(bare); // chunked: blocks.{chunk}.{i}, and i counts through all chunks
  const parameter = block === null ? bare : `blocks.${block[1]}.${block[2]}`;
  if (block !== null || toOutside.has(bare))
    return { parameter, part: 0, parts: 1, dialect: 'facebookresearch', prefix };
  return undefined;
}

/** The tensors that hold a parameter in a Hugging Face file, in the spelling on the hub or in another. */
function huggingFaceNames(parameter: string, inside: typeof toInside = toInside): readonly string[] {
  const block = /^blocks\.(\d+)\.(.+?)(\.weight|\.bias)?$/.exec(parameter);
  if (block === null) return [toOutside.get(parameter) ?? parameter];
  const [, index, ours = '', suffix = ''] = block;
  return (inside.get(ours) ?? [ours]).map((theirs) => `encoder.layer.${index}.${theirs}${suffix}`);
}

/**
 * The tensors of a Hugging Face file that holds these parameters: names and shapes as `save_pretrained`
 * writes them, in its order (by name: layer 0, 1, 10, 11, 2, …). The inverse of placeTensors.
 */
export function huggingFaceTensors(parameters: readonly Parameter[]): Parameter[] {
  return parameters
    .flatMap(({ name, shape: [rows = 1, ...rest] }) => {
      const names = huggingFaceNames(name);
      return names.map((theirs) => ({ name: theirs, shape: [rows / names.length, ...rest] }));
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Says where every tensor of a file belongs, in either dialect, with or without a prefix (`dinov2.`,
 * `dinov2_with_registers.`, `backbone.`). `mask_token` may be absent: it has no placement then.
 *
 * @throws {CheckpointError} CHECKPOINT_NAMING when the file mixes dialects or prefixes, or has neither
 *   dialect; CHECKPOINT_TENSORS when tensors are missing, surplus, misshapen or there twice; CHECKPOINT_DTYPE
 *   when only element types are wrong (F32, F16 and BF16 can be read). One error lists all of it.
 */
export function placeTensors(header: SafetensorsHeader, parameters: readonly Parameter[]): PlacedTensors {
  const wanted = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const placements = new Map<string, Placement>();
  const holders = new Map<string, { file: string; part: Part }[]>(); // by parameter
  const ignored: string[] = [];
  const problems = new Problems();
  let prefix: string | undefined;

  const dialect = dialectOf(header);
  for (const [file, info] of header.tensors) {
    const part = translate(file);
    const parameter = part && wanted.get(part.parameter);
    if (part === undefined || parameter === undefined) {
      if (part === undefined && heads.test(file)) ignored.push(file);
      else problems.add('surplus', `${file} ${shapeText(info.shape)}`);
      continue;
    }
    prefix ??= part.prefix;

    const held = holders.get(parameter.name) ?? [];
    holders.set(parameter.name, held);
    const other = held.find((holder) => holder.part.parts !== part.parts || holder.part.part === part.part);
    if (other !== undefined) problems.add('there twice', `${other.file} and ${file}`);
    held.push({ file, part });

    const [total = 1, ...rest] = parameter.shape;
    const rows = total / part.parts;
    const shape = [rows, ...rest];
    if (!sameShape(info.shape, shape)) {
      problems.add('misshapen', `${file}: expected ${shapeText(shape)}, found ${shapeText(info.shape)}`);
    }
    if (!loadable(info)) problems.add('of a dtype other than F32, F16, BF16', `${file}: ${info.dtype}`);
    placements.set(file, { parameter: parameter.name, rowBegin: part.part * rows, rows, shape });
  }

  const inside = [...header.tensors.keys()].some((file) => spelling5.test(file)) ? toInside5 : toInside;
  for (const { name, shape } of parameters) {
    const held = holders.get(name) ?? [];
    if (name === optional && held.length === 0) continue;
    const names = dialect === 'facebookresearch' ? [name] : huggingFaceNames(name, inside);
    const [rows = 1, ...rest] = shape;
    const parts = held[0]?.part.parts ?? names.length;
    for (let part = 0; part < parts; part++) {
      if (held.some((holder) => holder.part.part === part && holder.part.parts === parts)) continue;
      const file = names.length === parts ? names[part] : `${name} (part ${part + 1} of ${parts})`;
      problems.add('missing', `${prefix ?? ''}${file} ${shapeText([rows / parts, ...rest])}`);
    }
  }

  if (problems.any) throw problems.error(sizesDiffer(header, parameters));
  return { placements, ignored, dialect };
}

/** One dialect with one prefix, and a file's names that have both, with their translations. */
interface Model {
  readonly dialect: Dialect;
  readonly tensors: Map<string, Part>;
}

/** The models of a file, as far as names tell them apart: one, of a sound file. */
function modelsOf(header: SafetensorsHeader): Model[] {
  const models = new Map<string, Model>();
  for (const name of header.tensors.keys()) {
    const part = translate(name);
    if (part === undefined) continue;
    const { dialect, prefix } = part;
    const model = models.get(prefix + dialect) ?? { dialect, tensors: new Map() };
    models.set(prefix + dialect, model);
    model.tensors.set(name, part);
  }
  return [...models.values()];
}

/** The dialect of a file's names, or an error when there are several models' or none. */
function dialectOf(header: SafetensorsHeader): Dialect {
  const models = modelsOf(header);
  const [model] = models;
  if (models.length > 1) {
    const found = models.map(
      ({ dialect, tensors }) =>
        `${tensors.size} of ${dialect === 'huggingface' ? 'Hugging Face' : dialect} (${[...tensors.keys()][0]})`,
    );
    throw new CheckpointError(
      'CHECKPOINT_NAMING',
      `checkpoint: expected names of one dialect and one prefix, found ${found.join(' and ')}. Save the file again from one of them.`,
    );
  }
  if (model === undefined) {
    const names = [...header.tensors.keys()];
    const found =
      names.length === 0 ? 'no tensors' : `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}`;
    throw new CheckpointError(
      'CHECKPOINT_NAMING',
      `checkpoint: expected names of Hugging Face (embeddings.cls_token) or facebookresearch (cls_token), found ${found}. ` +
        'This file holds no DINOv2: take model.safetensors from a repository such as facebook/dinov2-small.',
    );
  }
  return model.dialect;
}

/**
 * Reads a model's architecture off a file's names and shapes: undefined when the file mixes dialects or
 * prefixes, lacks a tensor that the answer needs, or has no square grid of positions. Shapes are not checked
 * otherwise: placeTensors does that.
 */
export function inspectCheckpoint(header: SafetensorsHeader): Architecture | undefined {
  const [model, ...others] = modelsOf(header);
  if (!model || others.length > 0) return undefined;
  return architectureOf(
    new Map([...model.tensors].map(([name, { parameter }]) => [parameter, header.tensors.get(name)!.shape])),
    model.dialect,
  );
}

/**
 * Reads an architecture off shapes by our names. Of packed parameters it looks at none, so it does not matter
 * if they are split. Where a file lacks tensors the others are asked, and the published values taken, so that
 * `placeTensors` can say what is missing.
 */
function architectureOf(
  shapes: ReadonlyMap<string, readonly number[]>,
  dialect: Dialect,
): Architecture | undefined {
  const [, positions = 1 + 37 * 37, width = 0] = shapes.get('pos_embed') ?? [];
  const [proj = width, numChannels = 3, patchSize = 14] = shapes.get('patch_embed.proj.weight') ?? [];
  const [, , embedDim = proj] = shapes.get('cls_token') ?? [];
  const [, numRegisterTokens = 0] = shapes.get('register_tokens') ?? [];
  const grid = Math.sqrt(positions - 1);

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
  // Up to the last block that has at least half of what the fullest one has: a stray tensor makes no block.
  const fullest = Math.max(0, ...tensorsOf.values());
  const depth = Math.max(
    0,
    ...[...tensorsOf].filter(([, count]) => 2 * count >= fullest).map(([block]) => block + 1),
  );

  const all = [embedDim, depth, hiddenFeatures, patchSize, numChannels, grid];
  if (!all.every((length) => Number.isInteger(length) && length > 0)) return undefined;
  const hasMaskToken = shapes.has('mask_token');
  const ffn = swiglu === undefined ? 'mlp' : 'swiglu';
  return {
    dialect,
    embedDim,
    depth,
    numRegisterTokens,
    hasMaskToken,
    ffn,
    hiddenFeatures,
    patchSize,
    numChannels,
    grid,
  };
}

/** When the file is a sound DINOv2 of another size than the configuration: a sentence that says both. */
function sizesDiffer(header: SafetensorsHeader, parameters: readonly Parameter[]): string | undefined {
  const file = inspectCheckpoint(header);
  const expected = architectureOf(
    new Map(parameters.map(({ name, shape }) => [name, shape])),
    'facebookresearch',
  );
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

type Kind = 'missing' | 'surplus' | 'misshapen' | 'there twice' | 'of a dtype other than F32, F16, BF16';
const kinds: readonly Kind[] = [
  'missing',
  'surplus',
  'misshapen',
  'there twice',
  'of a dtype other than F32, F16, BF16',
];
const MAX_LISTED = 12;

/** All that is wrong with a file, by kind, in the file's order. */
class Problems {
  readonly #lists = new Map<Kind, string[]>();

  get any(): boolean {
    return this.#lists.size > 0;
  }

  add(kind: Kind, text: string): void {
    const list = this.#lists.get(kind);
    if (list === undefined) this.#lists.set(kind, [text]);
    else list.push(text);
  }

  /**
   * One error that lists all of it, each kind on its own lines; of long lists the beginning and the count.
   */
  error(sizes: string | undefined): CheckpointError {
    const counts: string[] = [];
    const lines: string[] = [];
    const listed = sizes === undefined ? MAX_LISTED : 3; // another size makes hundreds of offenders, which say the same
    for (const kind of kinds) {
      const list = this.#lists.get(kind) ?? [];
      if (list.length === 0) continue;
      counts.push(`${list.length} ${kind}`);
      const shown = list.length <= listed + 1 ? list : list.slice(0, listed);
      const more = list.length - shown.length;
      lines.push(
        `  ${kind}:`,
        ...shown.map((text) => `    ${text}`),
        ...(more > 0 ? [`    … and ${more} more`] : []),
      );
    }
    const next =
      sizes === undefined
        ? 'Take the file again from where it was published, or save it from the model that the configuration describes.'
        : 'Give the config.json that belongs to this file, or the file that belongs to the configuration.';
    const dtypeOnly = this.#lists.size === 1 && this.#lists.has('of a dtype other than F32, F16, BF16');
    return new CheckpointError(
      dtypeOnly ? 'CHECKPOINT_DTYPE' : 'CHECKPOINT_TENSORS',
      `checkpoint: ${sizes === undefined ? '' : `${sizes}. `}Expected the tensors of the configuration, found ${counts.join(', ')}. ` +
        `${next}\n${lines.join('\n')}`,
    );
  }
}

function loadable({ dtype }: TensorInfo): boolean {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((length, axis) => length === b[axis]);
}

function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}
