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
import { byId, setText } from '../shared/dom.js';
import type { Loaded } from '../shared/modelChoice.js';
import { dismiss, showError } from '../shared/toasts.js';
import { modelIdOf } from './modelWords.js';
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
/** Functions that are called when the collection, its size or the model has changed. */
const listeners: (() => void)[] = [];

const OPEN = 'The collection could not be opened.';
const LOST = 'Part of the collection was lost.';

/**
 * Notifies other tabs when the collection is created or deleted. The library itself notifies other tabs when
 * items change.
 */
const tabs = new BroadcastChannel('photograph search');

export const collection = (): EmbeddingIndex | undefined => index;

/** True if the stored collection cannot be opened, so that no other collection can take its place. */
export const isBlocked = (): boolean => blocked;

/** True if the collection is not stored, so that it is lost when the page closes. */
export const isForgetful = (): boolean => forgetful !== undefined;

/** The loaded model, in use or not. */
export const loadedModel = (): Loaded<DINOv2> | undefined => loaded;

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

/** The identity of the loaded model, if it cannot be used with the collection; otherwise undefined. */
export const otherModel = (): ModelIdentity | undefined =>
  identity && index && !sameModel(index.header.model) ? identity : undefined;

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
      showError(
        'damaged',
        LOST,
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
      return showError('collection', OPEN, error, ...(canGoOn ? [goOn, begin] : [begin]));
    }
    noStorage(error);
  }
  show();
}

/** Shows a notice that names the damaged photographs, which were removed from the collection. */
function tellDropped(ids: readonly string[]): void {
  if (ids.length === 0) return;
  const names = `${ids.slice(0, NAMED).join(', ')}${ids.length > NAMED ? ', …' : ''}`;
  showError(
    'damaged',
    LOST,
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

/** Makes an index the collection, or none. */
function become(next: EmbeddingIndex | undefined): void {
  index?.dispose();
  index = next;
  takeFrom(next);
  next?.on('change', showSoon);
  onOpened(next);
}

/** Makes a new, empty collection with the properties of an imported one. */
export async function makeCollection(header: IndexHeader): Promise<EmbeddingIndex> {
  become(
    forgetful
      ? new EmbeddingIndex(optionsOf(header))
      : await EmbeddingIndex.open(NAME, { ...optionsOf(header), persist: true }),
  );
  tabs.postMessage('made');
  return index!;
}

/** Resolves when a deletion in progress has ended. */
export const deletionEnded = (): Promise<void> => deletion;

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
  if (next) {
    const made = await modelIdentity(next.model, { ...LOOK, id: modelIdOf(next.choice) });
    if (loaded !== next) return;
    identity = made;
  }
  show();
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
  } catch (error) {
    showError('collection', 'The collection could not be deleted.', error);
  }
  show();
}

let soon: ReturnType<typeof setTimeout> | undefined;
function showSoon(): void {
  soon ??= setTimeout(show, 500);
}

/** Calls the functions that show the collection. */
function show(): void {
  clearTimeout(soon);
  soon = undefined;
  for (const listener of listeners) listener();
}

/** Calls `listener` when the collection, the number of its photographs or the model has changed. */
export function whenCollection(listener: () => void): void {
  listeners.push(listener);
}

export function startCollection(opened: (index: EmbeddingIndex | undefined) => void): void {
  onOpened = opened;
  tabs.addEventListener('message', ({ data }) => {
    if (data === 'deleted') become(undefined);
    if (!index) void openCollection();
  });
}
