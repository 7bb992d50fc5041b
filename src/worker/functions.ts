/**
 * Functions that need no model. They run in the worker, so that the page itself does not load the library a
 * second time.
 */
import type { CachedModel } from '../cache/cachedModels.js';
import type { SourceState } from '../cache/revalidate.js';
import type { DeviceError } from '../errors.js';
import { expectOptions } from '../optionObject.js';
import type { Support } from '../support.js';
import { Call } from './call.js';
import { Connection } from './connection.js';
import { options, send, value } from './packs.js';
import { classOf } from './remote.js';
import type { WorkerOptions } from './start.js';

async function run(name: string, given: WorkerOptions, ...args: unknown[]): Promise<unknown> {
  expectOptions(name, given);
  const call = new Call(name, Connection.open(given));
  return send(call, classOf('functions'), name, [...args.map(() => value), options], [...args, given]);
}

/** Returns whether models can run in a worker in this browser. Never throws. */
export async function checkSupport(given: WorkerOptions = {}): Promise<Support> {
  try {
    return (await run('checkSupport', given)) as Support;
  } catch (error) {
    const { message: reason, code } = error as DeviceError;
    return { ok: false, reason, code };
  }
}

/**
 * Lists the cached models, including the models that 'dinov2-webgpu' has cached without a worker.
 * @throws DeviceError WORKER_LOST
 */
export async function listCached(given: WorkerOptions = {}): Promise<CachedModel[]> {
  return (await run('listCached', given)) as CachedModel[];
}

/**
 * Asks the server whether it has a newer version of a cached model. Uses the worker's own `fetch`.
 * @throws the errors of `checkForUpdate` of 'dinov2-webgpu'; DeviceError WORKER_LOST
 */
export async function checkForUpdate(id: string | URL, given: WorkerOptions = {}): Promise<SourceState> {
  return (await run('checkForUpdate', given, id)) as SourceState;
}

/**
 * Deletes the cached weights of a model, or of all models. Returns the number of deleted models.
 * @throws the errors of `removeCached` of 'dinov2-webgpu'; DeviceError WORKER_LOST
 */
export async function removeCached(id?: string, given: WorkerOptions = {}): Promise<number> {
  return (await run('removeCached', given, id)) as number;
}
