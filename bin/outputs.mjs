/** Writes files whole or not at all, and checks before a command starts that they can be written. */
import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { lstat, mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { UsageError } from './arguments.mjs';

/**
 * Returns a temporary name in a folder. It is new each time, so that two processes never write into one file; and
 * short, so that the file itself may have a name of any length that the disk allows.
 */
const partIn = (folder) => join(folder, `.dinov2-webgpu-${randomUUID().slice(0, 8)}.part`);

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Writes a file under a temporary name, and renames the file when it is complete. So an interrupt (Ctrl-C)
 * leaves no partial file.
 * @param write called with the open file and its temporary path
 */
export async function writing(path, write) {
  const folder = dirname(path);
  const part = partIn(folder);
  let file;
  const ended = (signal) => {
    rmSync(part, { force: true });
    process.kill(process.pid, signal); // ends the process, because `once` has removed this listener
  };
  for (const signal of ENDING) process.once(signal, ended); // registered before the file exists
  try {
    await mkdir(folder, { recursive: true });
    file = await open(part, 'wx');
    await write(file, part);
    await file.close();
    await rename(part, path);
  } catch (error) {
    await file?.close();
    if (file) await rm(part, { force: true });
    throw error.syscall
      ? new Error(`${path}: it cannot be written (${reasonOf(error)}).`, { cause: error })
      : error;
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

/** An error of the file system without the names of its call: `EACCES: permission denied`. */
export const reasonOf = ({ message, syscall }) => (syscall ? message.split(', ')[0] : message);

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

/**
 * Throws if an output file cannot be written: something that is no file is in its place, its name is too long, its
 * folder cannot be made or written to; or it exists, and --force is not given. Leaves nothing on the disk.
 */
export async function checkOutputs(command, outputs, force) {
  for (const path of outputs) {
    const there = await entryAt(path).catch((error) => {
      throw new UsageError(
        `${command}: ${path} cannot be written (${reasonOf(error)}). Choose another path.`,
      );
    });
    if (there && !there.isFile() && !there.isSymbolicLink())
      throw new UsageError(
        `${command}: ${path} is ${there.isDirectory() ? 'a folder' : 'a device'}, expected the path of a file. Choose another path.`,
      );
    if (there && !force)
      throw new UsageError(
        `${command}: ${path} exists already. Choose another path, or overwrite it with --force.`,
      );
  }
  for (const folder of new Set(outputs.map(dirname))) await checkFolderFor(command, folder);
}

/**
 * Throws if no file can be written into a folder. The folder may be missing, and can then be made. Writes and
 * removes an empty file, because permissions alone do not tell.
 */
export async function checkFolderFor(command, folder) {
  const missing = [];
  let at = resolve(folder);
  try {
    while (!(await entryAt(at))) {
      missing.unshift(basename(at));
      at = dirname(at);
    }
    if (!(await stat(at)).isDirectory()) throw new Error(`${at} is not a folder`);
    for (const name of missing) await entryAt(join(at, name)); // throws if the name is too long
    const probe = partIn(at);
    await (await open(probe, 'wx')).close();
    await rm(probe);
  } catch (error) {
    throw new UsageError(
      `${command}: no file can be written into ${folder} (${reasonOf(error)}). Choose another folder.`,
    );
  }
}

/** What is at a path, links not followed; undefined for nothing. */
const entryAt = (path) =>
  lstat(path).catch((error) => {
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
    return undefined;
  });
