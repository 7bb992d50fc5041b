/**
 * Assigns the tensors of a checkpoint to the model's parameters. The checkpoint may follow any naming
 * convention (dialect: Hugging Face, facebookresearch, timm), have any prefix, and hold any other tensors.
 */
import { architectureOf, sizesDiffer, type Architecture } from './architecture.js';
import { chooseCandidate, hasAll, type Candidate } from './candidates.js';
import { changesModel, namesOf } from './dialects.js';
import {
  isLoadable,
  sameShape,
  type Dialect,
  type Parameter,
  type PlacedTensors,
  type Placement,
} from './huggingFace.js';
import { Problems, WRONG_DTYPE } from './problems.js';
import type { SafetensorsHeader, TensorInfo } from '../safetensors.js';
import { shorten } from '../safetensors/format.js';

export type { Architecture } from './architecture.js';

/**
 * Finds, for each tensor of the model, the tensor of the file that holds its values (its placement). Tensor names
 * may follow any supported naming convention (Hugging Face, facebookresearch or timm; a dialect in the code) and may
 * have any prefix. `mask_token` may be absent; it then has no placement. Tensors of the file that do not belong to
 * the model are listed in `setAside`.
 *
 * @param prefix prefix of the model's tensor names. Default: the only prefix with a complete model
 * @throws {CheckpointError} CHECKPOINT_NAMING if the file mixes naming conventions, follows none, or has
 *   several models; CHECKPOINT_TENSORS if tensors are missing, misshapen or duplicate, if surplus tensors
 *   of the model would change what it computes, or if an adapter is not merged; CHECKPOINT_DTYPE if the
 *   only problems are element types that cannot be read (F32, F16, BF16 and F64 can be read). One error
 *   lists all problems.
 */
export function placeTensors(
  header: SafetensorsHeader,
  parameters: readonly Parameter[],
  prefix?: string,
): PlacedTensors {
  const candidate = chooseCandidate(header, { prefix, wanted: parameters });
  const wanted = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const placements = new Map<string, Placement>();
  const setAside: string[] = [];
  const problems = new Problems();

  const seen = new Map<string, { file: string; part: number; parts: number }[]>(); // keys: parameter names
  for (const [file, info] of header.tensors) {
    const found = candidate.parts.get(file);
    const parameter = found && wanted.get(found.parameter);
    if (found === undefined || parameter === undefined) {
      const why = surplus(candidate, file, info, found !== undefined);
      if (why === undefined) setAside.push(file);
      else problems.add('surplus', `${shorten(file)} ${shapeText(info.shape)}${why}`);
      continue;
    }
    const { part, parts } = found;
    const held = seen.get(parameter.name) ?? [];
    seen.set(parameter.name, held);
    const other = held.find((holder) => holder.parts !== parts || holder.part === part);
    if (other !== undefined) problems.add('duplicate', `${shorten(other.file)} and ${shorten(file)}`);
    held.push({ file, part, parts });

    const { shape, begin } = expected(candidate, parameter, part, parts, info.shape[1]);
    if (!sameShape(info.shape, shape))
      problems.add('misshapen', `${shorten(file)}: expected ${shapeText(shape)}, found ${shapeText(info.shape)}`);
    if (!isLoadable(info.dtype)) problems.add(WRONG_DTYPE, `${shorten(file)}: ${info.dtype}`);
    placements.set(file, { parameter: parameter.name, begin, shape });
  }
  addMissing(problems, candidate, parameters);
  const dialect = candidate.architecture?.dialect ?? fallbackDialect(candidate);
  if (problems.any) {
    const own = new Map(parameters.map(({ name, shape }) => [name, shape]));
    throw problems.error(sizesDiffer(candidate.architecture, architectureOf(own, 'facebookresearch')));
  }
  return { placements, setAside, dialect, prefix: candidate.prefix };
}

const fallbackDialect = ({ family }: Candidate): Dialect =>
  family === 'huggingface' ? 'huggingface' : 'facebookresearch';

/**
 * Returns the shape that a part of a parameter must have in the file, and the index within the parameter of
 * the part's first element.
 * @param length length of the tensor's second axis
 */
function expected(
  { architecture }: Candidate,
  { name, shape }: Parameter,
  part: number,
  parts: number,
  length: number | undefined,
): { readonly shape: readonly number[]; readonly begin: number } {
  if (name === 'pos_embed') {
    const [, positions = 0, width = 0] = shape;
    // timm's `no_embed_class`. For models without registers, the configuration decides whether the class
    // token has a position (tensorConfig.ts).
    const alone =
      architecture?.patchPositions || (architecture?.dialect === 'timm' && length === positions - 1);
    if (alone) return { shape: [1, positions - 1, width], begin: width };
  }
  const [total = 1, ...rest] = shape;
  const rows = total / parts;
  return {
    shape: [rows, ...rest],
    begin: part * rows * rest.reduce((product, length) => product * length, 1),
  };
}

/**
 * Returns the reason why a tensor that fills no parameter would change what the model computes, in brackets
 * for the message. Returns undefined if the tensor would change nothing.
 */
function surplus(
  { prefix, family, parts: files }: Candidate,
  file: string,
  { shape, dtype }: TensorInfo,
  known: boolean,
): string | undefined {
  if (!file.startsWith(prefix) || shape.includes(0)) return undefined;
  if (known) return '';
  const isInteger = /^(I|U|BOOL)/.test(dtype);
  if (isInteger && !changesWeight(file, dtype, files)) return undefined;
  const why = changesModel(file.slice(prefix.length), family);
  return why && ` (${isInteger ? 'a mask or a parameter of a weight, ' : ''}${why})`;
}

/**
 * Returns whether a tensor of integers or booleans changes a weight: masks of pruned weights and heads, and zero
 * points and orders of quantized weights. Other such tensors are buffers (`position_ids`, counters).
 * @param files the tensors of the model
 */
function changesWeight(file: string, dtype: string, files: ReadonlyMap<string, unknown>): boolean {
  if (dtype === 'BOOL' || /mask|zero|quant|_idx$|perm/.test(file.split('.').at(-1)!)) return true;
  const [, owner = ''] = /^(.*\.(?:weight|bias))[._]/.exec(file) ?? [];
  return files.has(owner);
}

function addMissing(problems: Problems, candidate: Candidate, parameters: readonly Parameter[]): void {
  const { holders, parts: files, prefix } = candidate;
  const dialect = candidate.architecture?.dialect ?? fallbackDialect(candidate);
  for (const { name, shape } of parameters) {
    if (hasAll(candidate, name)) continue;
    const held = holders.get(name) ?? [];
    if (name === 'mask_token' && held.length === 0) continue; // only pre-training needs it, and some files lack it
    const names = namesOf(name, dialect, files.keys());
    const parts = held[0]?.part.parts ?? names.length;
    const [rows = 1, ...rest] = shape;
    for (let part = 0; part < parts; part++) {
      if (held.some((holder) => holder.part.part === part && holder.part.parts === parts)) continue;
      const file = names.length === parts ? names[part] : `${name} (part ${part + 1} of ${parts})`;
      problems.add('missing', `${shorten(prefix)}${file} ${shapeText([rows / parts, ...rest])}`);
    }
  }
}

/**
 * Derives a model's architecture from its tensors' names and shapes; undefined if a necessary tensor is
 * missing. Does not check the shapes further, see `placeTensors`.
 * @throws {CheckpointError} if no model can be chosen, as in `placeTensors`
 */
export function inspectCheckpoint(header: SafetensorsHeader, prefix?: string): Architecture | undefined {
  return chooseCandidate(header, { prefix }).architecture;
}

function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}
