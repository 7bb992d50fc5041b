/**
 * Loads the model of the search page. The model runs in a worker, so that the page stays responsive while
 * photographs are added. On the next visit, the last model is loaded automatically if this needs no download.
 */
import { checkSupport, DINOv2Error, listCached } from '../../src/index.js';
import { DINOv2 } from '../../src/worker.js';
import { byId } from '../dom.js';
import { loadModel } from '../engine.js';
import { setForm, setLoaded, setUnusable } from '../form.js';
import { Latest } from '../latest.js';
import { dismiss, showNotice } from '../notices.js';
import { hubId, modelName, type Loaded, type ModelChoice } from '../state.js';
import { hideLoading, showAdapter, showLoading, showProgress, showUnsupported } from '../view.js';
import { setModel } from './collection.js';
import { setStatus } from './views.js';

const KEY = 'search model';
export const firstChoice: ModelChoice = { size: 'small', registers: false, weights: 'hub', dtype: 'fp32' };

const loads = new Latest();
let loaded: Loaded<DINOv2> | undefined;
let onModel: () => void = () => undefined;

export const currentChoice = (): ModelChoice => loaded?.choice ?? firstChoice;

export async function load(choice: ModelChoice): Promise<void> {
  setForm(choice);
  setLoaded(loaded?.choice, choice);
  showLoading(choice);
  try {
    const next = await loads.start((signal) =>
      loadModel(DINOv2, choice, signal, (progress) => void (signal.aborted || showProgress(progress))),
    );
    if (next) await become(next);
    else if (loads.busy) return; // a newer load shows its progress instead
  } catch (error) {
    showNotice('model', error, { text: 'Try again', run: () => void load(choice) });
  }
  hideLoading(loaded);
  setLoaded(loaded?.choice, undefined);
  if (loaded) setForm(loaded.choice);
}

export function cancelLoad(): void {
  loads.abort();
}

async function become(next: Loaded<DINOv2>): Promise<void> {
  const before = loaded;
  loaded = next;
  dismiss('model');
  showAdapter(next.model.adapter);
  remember(next.choice);
  await setModel(next);
  before?.model.dispose();
  setStatus(`${modelName(next.choice)} is loaded.`);
  onModel();
}

/**
 * If an error shows that the GPU or the worker of the model is lost, discards the model and returns true;
 * otherwise returns false.
 */
export function lostBy(error: unknown): boolean {
  if (!(error instanceof DINOv2Error) || !['DEVICE_LOST', 'WORKER_LOST', 'DISPOSED'].includes(error.code))
    return false;
  // DISPOSED means that a newer model has already replaced the model of this error.
  if (loaded && error.code !== 'DISPOSED') void lose(loaded, error);
  return true;
}

async function lose({ choice, model }: Loaded<DINOv2>, error: unknown): Promise<void> {
  model.dispose();
  loaded = undefined;
  await setModel(undefined);
  setLoaded(undefined, undefined);
  hideLoading(undefined);
  showNotice('model', error, { text: 'Load the model again', run: () => void load(choice) });
}

/**
 * Stores the visitor's choice of a model for the next visit. Weights in a file of the visitor cannot be
 * stored.
 */
function remember({ size, registers, weights, dtype }: ModelChoice): void {
  try {
    if (weights === 'file') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, JSON.stringify({ size, registers, weights, dtype }));
  } catch {
    // If the browser allows this page no storage, the choice is not stored.
  }
}

function remembered(): ModelChoice | undefined {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? 'null') as ModelChoice | null;
    const known =
      kept &&
      ['small', 'base', 'large'].includes(kept.size) &&
      ['synthetic', 'hub'].includes(kept.weights) &&
      ['fp32', 'fp16'].includes(kept.dtype);
    return known
      ? { size: kept.size, registers: kept.registers === true, weights: kept.weights, dtype: kept.dtype }
      : undefined;
  } catch {
    return undefined; // the stored value was not written by this page
  }
}

/**
 * When the page starts, loads the model that was used last, or shows which feature that the library requires
 * is missing in the browser. Nothing is downloaded unless the visitor loads a model.
 */
export async function startModel(onLoaded: () => void): Promise<void> {
  onModel = onLoaded;
  const choice = remembered();
  setForm(choice ?? firstChoice);
  const support = await checkSupport();
  if (support.adapter) showAdapter(support.adapter);
  if (!support.ok) {
    showUnsupported(support);
    setUnusable();
    for (const id of ['add-folder', 'add-files']) byId(id, HTMLButtonElement).disabled = true;
    return;
  }
  if (
    choice &&
    (choice.weights === 'synthetic' || (await listCached()).some(({ id }) => id === hubId(choice)))
  )
    await load(choice);
}
