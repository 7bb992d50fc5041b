/** Opens checkpoints on disk, for the commands that need no GPU. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UsageError } from './arguments.mjs';
import { tools } from './built.mjs';
import { reasonOf } from './outputs.mjs';

const WEIGHTS = 'model.safetensors';
const SHARD_INDEX = 'model.safetensors.index.json';

/** Throws if there is nothing at the path of a checkpoint. */
export async function checkInput(command, path) {
  await stat(path).catch((error) => {
    if (error.code !== 'ENOENT')
      throw new UsageError(`${command}: ${path} cannot be read (${reasonOf(error)}).`);
    const advice = /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(path)
      ? ` A checkpoint of the hub must be downloaded first: hf download ${path} --local-dir FOLDER`
      : '';
    throw new UsageError(`${command}: there is no file or folder ${path}.${advice}`);
  });
}

/** Throws if a folder has no weights that can be loaded. Returns the names of its files. */
export async function checkFolder(path) {
  const names = await readdir(path);
  if (names.includes(WEIGHTS) || names.includes(SHARD_INDEX)) return names;
  const expected = `${path}: expected ${WEIGHTS} or ${SHARD_INDEX} in it, found`;
  const other = tools.otherFormat(names);
  throw other ? new Error(`${expected} ${other}`) : new UsageError(`${expected} neither.`);
}

/**
 * Opens a checkpoint. `path` is the path of a safetensors file, or of a folder with one or several
 * safetensors files.
 */
export async function openIn(path, onProgress) {
  const folder = (await stat(path)).isDirectory();
  if (!folder) return tools.openCheckpoint([{ name: path, source: path }], { onProgress });
  const names = await checkFolder(path);
  if (names.includes(WEIGHTS))
    return tools.openCheckpoint([{ name: WEIGHTS, source: join(path, WEIGHTS) }], { onProgress });
  const index = tools.parseShardIndex(await readFile(join(path, SHARD_INDEX)));
  return tools.openCheckpoint(
    index.files.map((name) => ({ name, source: join(path, name) })),
    { index, onProgress },
  );
}

/** Reads a text file from the checkpoint's folder; undefined if the file is missing. */
export async function textBeside(path, name) {
  const folder = (await stat(path)).isDirectory() ? path : dirname(path);
  return readFile(join(folder, name), 'utf8').catch((error) => {
    if (error.code !== 'ENOENT') throw error; // an unreadable file must not be taken for a missing one
    return undefined;
  });
}

/** Parses the text of a config.json; returns an empty description if there is none. */
export function describe(text) {
  if (text === undefined) return {};
  let json;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new Error(`config.json: expected JSON, found ${JSON.stringify(text.slice(0, 40))}.`, { cause });
  }
  return tools.describedBy(json);
}
