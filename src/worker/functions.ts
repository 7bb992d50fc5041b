/**
 * What needs no model: asked of the worker all the same, so that a page holds no second copy of the library.
 */
import type { CachedModel } from '../cache/cachedModels.js';
import type { SourceState } from '../cache/revalidate.js';
import type { DeviceError } from '../errors.js';
import { expectOptions } from '../optionObject.js';
import type { Support } from '../support.js';
import { Call, options, value, type Pack } from './call.js';
import { Connection } from './connection.js';
import { classOf } from './remote.js';
import type { WorkerOptions } from './start.js';

/** Calls a function with the options last. */
async function run(name: string, packs: Pack[], args: unknown[], given: WorkerOptions): Promise<unknown> {
  expectOptions(name, given);
  const call = new Call(name, Connection.open(given));
  return call.send(classOf('functions'), name, [...packs, options], [...args, given]);
}

/** Whether models can run in a worker here. Never throws. */
export async function checkSupport(given: WorkerOptions = {}): Promise<Support> {
  try {
    return (await run('checkSupport', [], [], given)) as Support;
  } catch (error) {
    const { message: reason, code } = error as DeviceError;
    return { ok: false, reason, code };
  }
}

/** As in 'dinov2-webgpu', whose models it lists too. @throws DeviceError WORKER_LOST */
export async function listCached(given: WorkerOptions = {}): Promise<CachedModel[]> {
  return (await run('listCached', [], [], given)) as CachedModel[];
}

/** As in 'dinov2-webgpu', with the worker's own `fetch`. @throws what that throws; DeviceError WORKER_LOST */
export async function checkForUpdate(id: string | URL, given: WorkerOptions = {}): Promise<SourceState> {
  return (await run('checkForUpdate', [value], [id], given)) as SourceState;
}

/** As in 'dinov2-webgpu'. @throws DeviceError WORKER_LOST */
export async function removeCached(id?: string, given: WorkerOptions = {}): Promise<number> {
  return (await run('removeCached', [value], [id], given)) as number;
}
