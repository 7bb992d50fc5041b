/**
 * What needs no model: asked of the worker all the same, so that a page holds no second copy of the library.
 */
import type { CachedModel } from '../cache/cachedModels.js';
import type { SourceState } from '../cache/revalidate.js';
import { DeviceError } from '../errors.js';
import type { Support } from '../support.js';
import { Connection } from './connection.js';
import { toSend } from './requests.js';
import type { WorkerOptions } from './start.js';

/** Whether models can run in a worker here. Never throws. */
export async function checkSupport(options: WorkerOptions = {}): Promise<Support> {
  try {
    return await Connection.open(options).call('checkSupport', {});
  } catch (error) {
    if (error instanceof DeviceError) return { ok: false, reason: error.message, code: error.code };
    return { ok: false, reason: `The worker failed: ${String(error)}. Reload the page.` };
  }
}

/** As in 'dinov2-webgpu', whose models it lists too. @throws DeviceError WORKER_LOST */
export async function listCached(options: WorkerOptions = {}): Promise<CachedModel[]> {
  const { options: sent } = toSend('listCached', options);
  return Connection.open(options).call('listCached', { options: sent });
}

/** As in 'dinov2-webgpu', with the worker's own `fetch`. @throws what that throws; DeviceError WORKER_LOST */
export async function checkForUpdate(id: string | URL, options: WorkerOptions = {}): Promise<SourceState> {
  const { options: sent, signal } = toSend('checkForUpdate', options);
  return Connection.open(options).call('checkForUpdate', { id: String(id), options: sent }, { signal });
}

/** As in 'dinov2-webgpu'. @throws DeviceError WORKER_LOST */
export async function removeCached(id?: string, options: WorkerOptions = {}): Promise<number> {
  const { options: sent } = toSend('removeCached', options);
  return Connection.open(options).call('removeCached', { id, options: sent });
}
