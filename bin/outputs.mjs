/** Writes files whole or not at all, and checks before that no file would be overwritten. */
import { rmSync } from 'node:fs';
import { lstat, mkdir, open, realpath, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { UsageError } from './arguments.mjs';

/** The temporary name of a file that is being written. */
export const partOf = (path) => `${path}.part`;

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Writes a file under a temporary name, and renames the file when it is complete. So an interrupt (Ctrl-C)
 * leaves no partial file.
 */
export async function writing(path, write) {
  await mkdir(dirname(path), { recursive: true });
  const part = partOf(path);
  let file;
  const ended = (signal) => {
    rmSync(part, { force: true });
    process.kill(process.pid, signal); // ends the process, because `once` has removed this listener
  };
  for (const signal of ENDING) process.once(signal, ended); // registered before the file exists
  try {
    file = await open(part, 'w');
    await write(file);
    await file.close();
    await rename(part, path);
  } catch (error) {
    await file?.close();
    if (file) await rm(part, { force: true });
    throw error;
  } finally {
    for (const signal of ENDING) process.off(signal, ended);
  }
}

export const writeBytes = (path, bytes) => writing(path, (file) => writeAll(file, bytes, 0));
export const writeText = (path, text) => writeBytes(path, Buffer.from(text));

export async function writeAll(file, bytes, position) {
  for (let done = 0; done < bytes.length;)
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}

/** Throws if an output file would overwrite an input file, also if one path is a link to the other file. */
export async function checkApart(command, inputs, outputs) {
  // A file that does not exist has no real path, and cannot be an input.
  const real = (paths) => Promise.all(paths.map((path) => realpath(path).catch(() => undefined)));
  const taken = new Set(await real(inputs));
  const same = (await real(outputs)).findIndex((path) => path !== undefined && taken.has(path));
  if (same >= 0)
    throw new UsageError(
      `${command}: --out would overwrite an input: ${outputs[same]}. Choose another path.`,
    );
}

/** Throws if an output file exists, unless --force is given. */
export async function checkFree(command, outputs, force) {
  for (const path of force ? [] : outputs) {
    const there = await lstat(path).catch((error) => {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
      return undefined;
    });
    if (there)
      throw new UsageError(
        `${command}: ${path} exists already. Choose another path, or overwrite it with --force.`,
      );
  }
}
