/**
 * Finds weights in formats other than safetensors in a folder, and explains how to convert them. Used only
 * after a load has failed because the folder has no model.safetensors.
 */
import { SourceError } from '../errors.js';
import { release } from '../io/chunks.js';
import { isUrl, openSource, type SourceOptions } from '../io/sources.js';
import { resolveUrl } from '../io/url.js';

const pickle = (file: string): string =>
  `${file}, which is in PyTorch's own format: it holds code, and is not read here. Convert it once in Python (pip install torch safetensors), in that folder: ` +
  `python -c "import torch, safetensors.torch as s; d = torch.load('${file}', map_location='cpu', weights_only=True); ` +
  "d = d.get('model', d.get('state_dict', d)); s.save_file({k: v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, " +
  `'model.safetensors', metadata={'format': 'pt'})". Then load the folder with model.safetensors and config.json in it.`;

const reexport =
  'ONNX has lost the names of the weights. Take model.safetensors of the model that it was exported from, or save it in Python: ' +
  `python -c "from transformers import AutoModel; AutoModel.from_pretrained('facebook/dinov2-small').save_pretrained('folder')" ` +
  '(with the id of that model). Then load that folder.';

/** File names to look for, in this order, each with the message for a folder that has this file. */
const others: readonly (readonly [file: string, says: string])[] = [
  ['pytorch_model.bin', pickle('pytorch_model.bin')],
  [
    'pytorch_model.bin.index.json',
    "pytorch_model.bin.index.json, a checkpoint of several files in PyTorch's own format, which is not read here. Save it in Python: " +
      `python -c "from transformers import AutoModel; AutoModel.from_pretrained('.').save_pretrained('folder', safe_serialization=True)". Then load that folder.`,
  ],
  [
    'adapter_model.safetensors',
    'adapter_model.safetensors, an adapter of PEFT, which needs its base model. Merge the two in Python: ' +
      `PeftModel.from_pretrained(base_model, adapter).merge_and_unload().save_pretrained('folder'). Then load that folder.`,
  ],
  ['onnx/model.onnx', `onnx/model.onnx, which is not read here: ${reexport}`],
  ['model.onnx', `model.onnx, which is not read here: ${reexport}`],
];

/**
 * Returns a text that names the weights that a folder has instead of model.safetensors, and gives advice.
 * Returns undefined if the folder has no weights in a known format.
 *
 * @param names names of the files in the folder
 */
export function otherFormat(names: readonly string[]): string | undefined {
  const known = others.find(([file]) => names.includes(file.split('/')[0]!));
  if (known) return known[1];
  const pickled = names.find((name) => /^[\w.-]+\.(bin|pth?|ckpt)$/.test(name));
  return pickled && pickle(pickled);
}

/**
 * Returns the error for a folder without model.safetensors. If the folder has weights in a known format, the
 * error names them; otherwise the given error is returned.
 */
export async function explainMissing(
  folder: string,
  missing: SourceError,
  { signal, fetch }: Pick<SourceOptions, 'signal' | 'fetch'>,
): Promise<SourceError> {
  const ask = (file: string): Promise<boolean> => exists(`${folder}${file}`, { signal, fetch });
  const [weights, index, ...there] = await Promise.all(
    ['model.safetensors', 'model.safetensors.index.json', ...others.map(([file]) => file)].map(ask),
  );
  signal?.throwIfAborted();
  const found = others.find((_, i) => there[i]);
  if (weights || index || !found) return missing;
  return new SourceError(
    missing.code,
    `${folder}: expected model.safetensors or model.safetensors.index.json, found ${found[1]}`,
    { status: missing.status, cause: missing },
  );
}

/** Returns whether a file exists; false if the request gives no clear answer. */
async function exists(
  file: string,
  { signal, fetch = globalThis.fetch }: Pick<SourceOptions, 'signal' | 'fetch'>,
): Promise<boolean> {
  try {
    if (!isUrl(file)) {
      await (await openSource(file, { signal })).cancel();
      return true;
    }
    const response = await fetch(resolveUrl(file), { method: 'HEAD', ...(signal && { signal }) });
    release(response.body, undefined);
    return response.ok && !/text\/html/i.test(response.headers.get('content-type') ?? '');
  } catch {
    return false; // the result affects only the advice in the message
  }
}
