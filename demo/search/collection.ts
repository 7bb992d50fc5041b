/**
 * The collection of photographs: one index that is stored in this browser. It can be opened without a model.
 * To add photographs, the visitor must load the model with which the collection was made.
 */
import { DINOv2Error } from '../../src/index.js';
import {
  EmbeddingIndex,
  deleteIndex,
  listIndexes,
  modelIdentity,
  type IndexHeader,
  type ModelIdentity,
} from '../../src/search.js';
import type { DINOv2 } from '../../src/worker.js';
import { byId, setText } from '../dom.js';
import { megabytes } from '../format.js';
import { dismiss, showNotice } from '../notices.js';
import { modelName, weightsName, type Loaded } from '../state.js';
import { LOOK, count } from './photos.js';
import { takeFrom } from './pictures.js';

const NAME = 'photographs';
/** Maximum number of photographs that a notice names. */
const NAMED = 10;

let index: EmbeddingIndex | undefined;
let loaded: Loaded<DINOv2> | undefined;
/** Identity of the loaded model together with the preprocessing of this page. */
let identity: ModelIdentity | undefined;
/** The error that says why this browser cannot store the collection; undefined if it can. */
let forgetful: unknown;
/** True if the stored collection cannot be opened. No new collection is made until the visitor deletes it. */
let blocked = false;
/** A promise that settles when the most recent deletion of the collection has ended. */
let deletion: Promise<void> = Promise.resolve();
let onOpened: (index: EmbeddingIndex | undefined) => void = () => undefined;

/**
 * Notifies other tabs when the collection is created or deleted. The library itself notifies other tabs when
 * items change.
 */
const tabs = new BroadcastChannel('photograph search');

export const collection = (): EmbeddingIndex | undefined => index;

/**
 * Returns the loaded model if it can add photographs to the collection: the collection was made with this
 * model or does not exist yet. Otherwise returns undefined.
 */
export function usableModel(): DINOv2 | undefined {
  return loaded && identity && (!index || sameModel(index.header.model)) ? loaded.model : undefined;
}

function sameModel(of: ModelIdentity | undefined): boolean {
  return (
    of === undefined ||
    (of.fingerprint === identity?.fingerprint && of.preprocessing === identity.preprocessing)
  );
}

/**
 * Opens the stored collection.
 * @param repair 'drop' opens a damaged collection without its damaged photographs
 */
export async function openCollection(repair?: 'drop'): Promise<void> {
  let known = false;
  try {
    const kept = (await listIndexes()).find(({ name }) => name === NAME);
    blocked = kept !== undefined;
    if (kept?.condition === 'newer')
      throw new DINOv2Error(
        'INDEX_NEWER',
        'A newer version of this page made the stored collection. Connect to the network and reload this page.',
      );
    if (kept && !kept.header)
      throw new DINOv2Error(
        'INDEX_DAMAGED',
        'The stored collection is damaged, and its model is not known. Delete it, and add the photographs again.',
      );
    known = kept?.header !== undefined;
    if (kept?.header) become(await EmbeddingIndex.open(NAME, { ...optionsOf(kept.header), repair }));
    blocked = false;
    if (index?.restored)
      showNotice(
        'damaged',
        new DINOv2Error(
          'INDEX_DAMAGED',
          'The browser lost part of the collection. All photographs are still in the collection, but their thumbnails are lost. Add the same folders again to restore the thumbnails.',
        ),
      );
    tellDropped(index?.dropped ?? []);
  } catch (error) {
    if (blocked) {
      const goOn = { text: 'Continue without the damaged part', run: () => void openCollection('drop') };
      const begin = { text: 'Delete it and start again', run: () => void deleteCollection() };
      const canGoOn =
        known && repair === undefined && error instanceof DINOv2Error && error.code === 'INDEX_DAMAGED';
      return showNotice('collection', error, ...(canGoOn ? [goOn, begin] : [begin]));
    }
    noStorage(error);
  }
  show();
}

/** Shows a notice that names the damaged photographs, which were removed from the collection. */
function tellDropped(ids: readonly string[]): void {
  if (ids.length === 0) return;
  const names = `${ids.slice(0, NAMED).join(', ')}${ids.length > NAMED ? ', …' : ''}`;
  showNotice(
    'damaged',
    new DINOv2Error(
      'INDEX_DAMAGED',
      `The entries of ${count(ids.length)} were damaged and have been removed: ${names}. Your files are unchanged. Add the photographs again.`,
    ),
  );
}

function optionsOf({
  dim,
  metric,
  storage,
  patches,
  model,
}: IndexHeader): Pick<IndexHeader, 'dim' | 'metric' | 'storage' | 'patches' | 'model'> {
  return { dim, metric, storage, patches, model };
}

function noStorage(error: unknown): void {
  forgetful = error;
  byId('forgetful', HTMLElement).hidden = false;
  setText('forgetful-reason', error instanceof Error ? error.message : String(error));
}

function become(next: EmbeddingIndex | undefined): void {
  index?.dispose();
  index = next;
  takeFrom(next);
  next?.on('change', showSoon);
  onOpened(next);
  checkModel();
}

/** Returns the collection to which photographs are added. Creates it if it does not exist. */
export async function collectionToAdd(): Promise<EmbeddingIndex> {
  await deletion;
  if (blocked)
    throw new DINOv2Error(
      'INDEX_FILE',
      'The stored collection cannot be opened and is not overwritten. Delete it first.',
    );
  if (!loaded || !identity)
    throw new DINOv2Error('MODEL_MISSING', 'Adding photographs needs a model. Load one first.');
  if (index) return index;
  const patches = byId('parts', HTMLInputElement).checked ? 'int8' : 'none';
  const options = { dim: loaded.model.config.embedDim, patches, model: identity } as const;
  if (!forgetful) {
    try {
      become(await EmbeddingIndex.open(NAME, { ...options, persist: true }));
      tabs.postMessage('made');
    } catch (error) {
      if ((await listIndexes().catch(() => [])).some(({ name }) => name === NAME)) throw error;
      noStorage(error);
    }
  }
  if (!index) become(new EmbeddingIndex(options));
  show();
  return index!;
}

export async function setModel(next: Loaded<DINOv2> | undefined): Promise<void> {
  loaded = next;
  identity = undefined;
  setText(
    'running',
    next
      ? next.choice.weights === 'file'
        ? modelName(next.choice)
        : `${modelName(next.choice)}, ${weightsName(next.choice)}`
      : 'none',
  );
  if (next) {
    const made = await modelIdentity(next.model, { ...LOOK, id: weightsName(next.choice) });
    if (loaded !== next) return;
    identity = made;
  }
  checkModel();
  show();
}

/** Shows a notice if the collection was made with a different model than the loaded one. */
function checkModel(): void {
  const of = index?.header.model;
  if (!identity || !of || sameModel(of)) return dismiss('other');
  const found =
    of.fingerprint === identity.fingerprint
      ? `${of.id}, with different preprocessing (${of.preprocessing})`
      : of.id;
  showNotice(
    'other',
    new DINOv2Error(
      'INDEX_MODEL',
      `Vectors made by different models cannot be compared. This collection was made by ${found}, but ${identity.id} is loaded. To add photographs or to search with new photographs, load the model that made the collection. Searching with photographs of the collection needs no model.`,
    ),
  );
}

export function deleteCollection(): Promise<void> {
  deletion = deletion.then(deleteNow);
  return deletion;
}

/** Deletes the collection. If this fails, shows the error; never rejects. */
async function deleteNow(): Promise<void> {
  try {
    become(undefined);
    if (!forgetful) await deleteIndex(NAME);
    tabs.postMessage('deleted');
    blocked = false;
    dismiss('collection');
    dismiss('other');
  } catch (error) {
    showNotice('collection', error);
  }
  show();
}

export async function exportCollection(kind: 'safetensors' | 'npy'): Promise<void> {
  if (!index) return;
  try {
    if (kind === 'safetensors') return save(await index.export(), `${NAME}.safetensors`);
    const { npy, ids } = await index.exportNpy();
    save(npy, `${NAME}.npy`);
    save(ids, `${NAME}-ids.json`);
  } catch (error) {
    showNotice('collection', error);
  }
}

/** Imports a collection from a file that was exported earlier. */
export async function importCollection(file: Blob): Promise<void> {
  await deletion;
  try {
    if (!index) {
      const { header } = await EmbeddingIndex.import(file);
      become(
        forgetful
          ? new EmbeddingIndex(optionsOf(header))
          : await EmbeddingIndex.open(NAME, { ...optionsOf(header), persist: true }),
      );
      tabs.postMessage('made');
    }
    await index!.importFrom(file);
    dismiss('collection');
  } catch (error) {
    showNotice('collection', error);
  }
  show();
}

function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  const url = URL.createObjectURL(blob);
  link.download = name;
  link.href = url;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

let soon: ReturnType<typeof setTimeout> | undefined;
function showSoon(): void {
  soon ??= setTimeout(show, 500);
}

/** Updates the numbers and buttons that concern the collection. */
function show(): void {
  clearTimeout(soon);
  soon = undefined;
  const size = index?.size ?? 0;
  setText('count', size.toLocaleString('en'));
  setText('made-by', index ? (index.header.model?.id ?? 'unknown') : '–');
  for (const id of ['export', 'export-npy']) byId(id, HTMLButtonElement).disabled = size === 0;
  byId('delete', HTMLButtonElement).disabled = !index && !blocked;
  byId('search-file', HTMLButtonElement).disabled = size === 0 || !usableModel();
  byId('kinds', HTMLFieldSetElement).disabled = index !== undefined;
  if (index) byId('parts', HTMLInputElement).checked = index.header.patches !== 'none';
  setText(
    'parts-hint',
    index
      ? index.header.patches === 'none'
        ? 'not stored in this collection'
        : 'stored in this collection'
      : '75 kB a photograph',
  );
  setText('sure-what', `${count(size)}: their vectors and thumbnails. The files themselves are not copied.`);
  void showUsage();
}

/**
 * Shows the size of the vectors, and of all data that this origin stores, including thumbnails and the model.
 */
async function showUsage(): Promise<void> {
  const from = index;
  if (!from || forgetful) return setText('kept', forgetful ? 'nothing' : '–');
  const { usage } = (await navigator.storage.estimate().catch(() => undefined)) ?? {};
  const kept = await from.usage().catch(() => undefined); // another tab may just have deleted the collection
  if (index === from)
    setText(
      'kept',
      `${megabytes(kept?.bytes ?? 0)}${usage ? `; ${megabytes(usage)} with thumbnails and model` : ''}`,
    );
}

/** True if a safetensors file is an exported collection, as its metadata shows. */
export async function isCollection(file: Blob): Promise<boolean> {
  const length = new DataView(await file.slice(0, 8).arrayBuffer());
  if (length.byteLength < 8) return false;
  return (await file.slice(8, 8 + Math.min(length.getUint32(0, true), 1 << 20)).text()).includes(
    '"dinov2-webgpu/index"',
  );
}

export function startCollection(opened: (index: EmbeddingIndex | undefined) => void): void {
  onOpened = opened;
  tabs.addEventListener('message', ({ data }) => {
    if (data === 'deleted') become(undefined);
    if (!index) void openCollection();
  });
}
