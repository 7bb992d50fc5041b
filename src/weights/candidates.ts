/**
 * Finds the model among a file's tensors. Training code and other models store a DINOv2 behind a prefix
 * (`module.`, `teacher.backbone.`, `vision_encoder.`), beside other tensors. Any prefix is accepted: the
 * model is found where all of its tensors share one prefix.
 */
import { CheckpointError } from '../errors.js';
import {
  architectureOf,
  dialectOf,
  isPacked,
  requiredNames,
  unpackedName,
  type Architecture,
  type Shapes,
} from './architecture.js';
import { adapterName, isDinov3, translate, type Family, type Part } from './dialects.js';
import type { Parameter } from './huggingFace.js';
import type { SafetensorsHeader } from '../safetensors.js';
import { quote, shorten } from '../safetensors/format.js';

/**
 * A possible model in a file: the tensors that share a prefix and a family of names (`Family` in
 * dialects.ts).
 */
export interface Candidate {
  /** Prefix of the tensor names; ends with a dot, or is empty. */
  readonly prefix: string;
  readonly family: Family;
  /**
   * For each tensor name, in the file's order: the parameter, or the part of a parameter, that the tensor
   * holds.
   */
  readonly parts: ReadonlyMap<string, Part>;
  /** For each of our parameter names: the tensors of the file that hold the parameter or its parts. */
  readonly holders: ReadonlyMap<string, readonly { readonly file: string; readonly part: Part }[]>;
  /** Undefined if dimensions that the architecture needs are missing. */
  readonly architecture: Architecture | undefined;
  /** Whether the file has every tensor that the architecture needs. */
  readonly whole: boolean;
}

/** Finds the possible models (candidates) in a file: one for every prefix with a block or a class token. */
export function candidatesOf(header: SafetensorsHeader): Candidate[] {
  const groups = new Map<string, { prefix: string; family: Family; parts: Map<string, Part> }>();
  for (const file of header.tensors.keys()) {
    const found = translate(file);
    if (!found) continue;
    const { prefix, family, ...part } = found;
    const key = `${family} ${prefix}`;
    const group = groups.get(key) ?? { prefix, family, parts: new Map<string, Part>() };
    groups.set(key, group);
    group.parts.set(file, part);
  }
  return [...groups.values()]
    .map(({ prefix, family, parts }) => candidateOf(header, prefix, family, parts))
    .filter(({ holders }) =>
      [...holders.keys()].some((name) => name === 'cls_token' || name.startsWith('blocks.')),
    );
}

function candidateOf(
  header: SafetensorsHeader,
  prefix: string,
  family: Family,
  named: ReadonlyMap<string, Part>,
): Candidate {
  const shapesOf = (parts: ReadonlyMap<string, Part>): Shapes =>
    new Map([...parts].map(([file, { parameter }]) => [parameter, header.tensors.get(file)!.shape]));
  const packed = family === 'original' && isPacked(shapesOf(named));
  const parts = packed
    ? new Map(
        [...named].map(
          ([file, part]) => [file, { ...part, parameter: unpackedName(part.parameter) }] as const,
        ),
      )
    : named;
  const holders = new Map<string, { file: string; part: Part }[]>();
  for (const [file, part] of parts) {
    const held = holders.get(part.parameter);
    if (held) held.push({ file, part });
    else holders.set(part.parameter, [{ file, part }]);
  }
  const shapes = shapesOf(parts);
  const regToken = [...parts.keys()].some((file) => /(^|\.)reg_token$/.test(file));
  const architecture = architectureOf(shapes, dialectOf(family, shapes, { regToken, packed }), regToken);
  const candidate = { prefix, family, parts, holders, architecture };
  return {
    ...candidate,
    whole: architecture !== undefined && requiredNames(architecture).every((name) => hasAll(candidate, name)),
  };
}

/** Returns whether the file has all parts of a parameter. */
export function hasAll({ holders }: Pick<Candidate, 'holders'>, parameter: string): boolean {
  const held = holders.get(parameter) ?? [];
  const parts = held[0]?.part.parts;
  return parts !== undefined && new Set(held.map(({ part }) => part.part)).size >= parts;
}

export interface ChooseOptions {
  /** Prefix of the model, chosen by the caller. Default: the only prefix with a complete model. */
  readonly prefix?: string | undefined;
  /** The parameters that the model must have. Default: a model of any size is accepted. */
  readonly wanted?: readonly Parameter[] | undefined;
}

/**
 * Chooses the model to load among the possible models (candidates) in a file. If no candidate is complete,
 * returns an incomplete candidate, so that an error message can list its missing tensors.
 * @throws {CheckpointError} CHECKPOINT_NAMING if there is no candidate, if several are complete, or if
 *   tensors with one prefix follow two naming conventions (dialects: Hugging Face, facebookresearch, timm);
 *   CHECKPOINT_TENSORS if the file holds a PEFT adapter that is not merged into the weights
 */
export function chooseCandidate(
  header: SafetensorsHeader,
  { prefix, wanted }: ChooseOptions = {},
): Candidate {
  const all = candidatesOf(header);
  const chosen = prefix === undefined ? theWholeOne(header, all, wanted) : behind(all, prefix);
  if (!chosen?.whole && isDinov3(header.tensors.keys())) throw dinov3();
  if (chosen === undefined) throw adapterAlone(header) ?? noModel(header);
  const mixed = all.filter((candidate) => candidate.prefix === chosen.prefix);
  if (mixed.length > 1) throw several(mixed);
  const adapter = [...header.tensors.keys()].find(
    (file) => adapterName.test(file) && adapts(file, chosen, all),
  );
  if (adapter !== undefined)
    throw new CheckpointError(
      'CHECKPOINT_TENSORS',
      `checkpoint: expected plain weights, found an adapter that is not merged into them (${adapter}). ` +
        'Merge the adapter in Python, and save the result: model = model.merge_and_unload(); model.save_pretrained("merged").',
    );
  return chosen;
}

/**
 * Returns whether an adapter's tensor may belong to a model: its name has the model's prefix, or it is the name
 * of a layer of a DINOv2 behind a prefix under which the file has no model.
 */
function adapts(adapter: string, { prefix }: Candidate, all: readonly Candidate[]): boolean {
  if (adapter.startsWith(prefix)) return true;
  const layer = translate(`${adapter.slice(0, adapter.search(adapterName))}.weight`);
  return layer !== undefined && !all.some((candidate) => candidate.prefix === layer.prefix);
}

function theWholeOne(
  header: SafetensorsHeader,
  all: readonly Candidate[],
  wanted: readonly Parameter[] | undefined,
): Candidate | undefined {
  const required = wanted?.filter(({ name }) => name !== 'mask_token');
  const fitting =
    required && all.filter((candidate) => required.every(({ name }) => hasAll(candidate, name)));
  const whole = fitting?.length ? fitting : all.filter((candidate) => candidate.whole);
  if (whole.length <= 1) return whole[0] ?? theFullest(header, all);
  // If the caller gave a configuration, candidates (possible models) with other shapes are ruled out.
  const sized = required && whole.filter((candidate) => isOfSize(header, candidate, required));
  if (sized?.length === 1) return sized[0];
  throw ambiguous(whole);
}

function isOfSize(
  header: SafetensorsHeader,
  { holders }: Candidate,
  required: readonly Parameter[],
): boolean {
  return required.every(({ name, shape }) => {
    const held = holders.get(name) ?? [];
    const elements = held.reduce(
      (sum, { file }) =>
        sum + header.tensors.get(file)!.shape.reduce((product, length) => product * length, 1),
      0,
    );
    const expected = shape.reduce((product, length) => product * length, 1);
    return elements === expected || (name === 'pos_embed' && elements === expected - shape.at(-1)!);
  });
}

/**
 * Chooses among the possible models (candidates) if none is complete: returns the candidate with the most
 * tensors. Throws if a second candidate has at least a quarter as many tensors, because it is then unclear
 * which candidate is the model.
 */
function theFullest(header: SafetensorsHeader, all: readonly Candidate[]): Candidate | undefined {
  const [fullest, ...others] = all.toSorted((a, b) => b.parts.size - a.parts.size);
  if (!fullest) return undefined;
  const adapter = adapterAlone(header);
  if (adapter) throw adapter;
  const rivals = others.filter(({ parts }) => 4 * parts.size >= fullest.parts.size);
  if (rivals.length > 0) throw several(all.filter((each) => each === fullest || rivals.includes(each)));
  return fullest;
}

function behind(all: readonly Candidate[], prefix: string): Candidate {
  const wanted = prefix === '' || prefix.endsWith('.') ? prefix : `${prefix}.`;
  const found = all.find((candidate) => candidate.prefix === wanted);
  if (found) return found;
  const there = (all.some(({ whole }) => whole) ? all.filter(({ whole }) => whole) : all)
    .slice(0, 8)
    .map((candidate) => quote(candidate.prefix));
  throw new CheckpointError(
    'CHECKPOINT_NAMING',
    `prefix: expected the prefix of a DINOv2 model's tensor names, found ${JSON.stringify(prefix)}. ` +
      (there.length === 0 ? 'This file holds no DINOv2 model.' : `The file has models with the prefix ${there.join(', ')}.`),
  );
}

function ambiguous(whole: readonly Candidate[]): CheckpointError {
  const list = whole
    .slice(0, 8)
    .map(({ prefix, architecture }) => {
      const { embedDim, depth } = architecture ?? { embedDim: '?', depth: '?' };
      return `${quote(prefix)} (embed_dim ${embedDim}, ${depth} blocks)`;
    })
    .join(' and ');
  return new CheckpointError(
    'CHECKPOINT_NAMING',
    `checkpoint: expected one model, found ${whole.length}: ${list}. ` +
      `Choose one with the option prefix, such as prefix: ${quote(whole.at(-1)!.prefix)}.`,
  );
}

function several(candidates: readonly Candidate[]): CheckpointError {
  const found = candidates.map(
    ({ family, parts }) =>
      `${parts.size} tensor names of ${family === 'huggingface' ? 'Hugging Face' : 'facebookresearch'} (${shorten([...parts.keys()][0]!)})`,
  );
  return new CheckpointError(
    'CHECKPOINT_NAMING',
    `checkpoint: expected tensor names in one naming convention and with one prefix, found ${found.join(' and ')}. The file seems to mix two models: save the file again with one model only.`,
  );
}

/**
 * Creates the error for a file that holds an adapter's tensors without the layers that the adapter changes.
 */
function adapterAlone(header: SafetensorsHeader): CheckpointError | undefined {
  const names = [...header.tensors.keys()];
  const adapter = names.find((file) => adapterName.test(file));
  if (adapter === undefined) return undefined;
  return new CheckpointError(
    'CHECKPOINT_TENSORS',
    `checkpoint: expected a model, found an adapter alone (${shorten(adapter)}), which needs its base model. ` +
      'Merge the adapter and its base model in Python, and save the result: ' +
      'PeftModel.from_pretrained(base_model, adapter).merge_and_unload().save_pretrained("merged").',
  );
}

function dinov3(): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_NAMING',
    'checkpoint: expected a DINOv2 model, found tensor names of a DINOv3 model. ' +
      'DINOv3 has rotary position embeddings, which this library cannot compute: load a DINOv2 model.',
  );
}

function noModel(header: SafetensorsHeader): CheckpointError {
  const names = [...header.tensors.keys()];
  const found =
    names.length === 0 ? 'no tensors' : `${names.slice(0, 3).map(shorten).join(', ')}${names.length > 3 ? ', …' : ''}`;
  return new CheckpointError(
    'CHECKPOINT_NAMING',
    `checkpoint: expected tensor names of Hugging Face (embeddings.cls_token), facebookresearch or timm (cls_token), found ${found}. ` +
      'This file holds no DINOv2 model: take model.safetensors from a repository such as facebook/dinov2-small.',
  );
}
