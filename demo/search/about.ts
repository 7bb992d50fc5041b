/** The dialog about the collection: what it contains, export, import and deletion. */
import { DINOv2Error } from '../../src/index.js';
import { EmbeddingIndex } from '../../src/search.js';
import { byId, setText } from '../shared/dom.js';
import { adapterName, megabytes } from '../shared/format.js';
import { dismiss, showError, showMessage } from '../shared/toasts.js';
import {
  collection,
  deleteCollection,
  deletionEnded,
  isBlocked,
  isForgetful,
  loadedModel,
  makeCollection,
  whenCollection,
} from './collection.js';
import { choiceInWords, madeByInWords } from './modelWords.js';
import { count } from './photos.js';

const NAME = 'photographs';
/** A collection with more photographs is not exported just to find out how large the file would be. */
const MOST_MEASURED = 1000;

const about = byId('about', HTMLDialogElement);
const sure = byId('sure', HTMLDialogElement);
const withThumbnails = byId('export-thumbnails', HTMLInputElement);

/**
 * Exports photographs with their thumbnails. If a thumbnail is damaged, exports without thumbnails.
 * @param ids the photographs; undefined for all
 */
export async function exported(
  index: EmbeddingIndex,
  ids: readonly string[] | undefined,
): Promise<{ readonly file: Blob; readonly complete: boolean }> {
  try {
    return { file: await index.export({ ids }), complete: true };
  } catch (error) {
    if (!(error instanceof DINOv2Error && error.code === 'INDEX_DAMAGED')) throw error;
    return { file: await index.export({ ids, thumbnails: false }), complete: false };
  }
}

async function exportCollection(ids?: readonly string[]): Promise<void> {
  const index = collection();
  if (!index) return;
  try {
    const { file, complete } = withThumbnails.checked
      ? await exported(index, ids)
      : { file: await index.export({ ids, thumbnails: false }), complete: true };
    save(file, `${NAME}.safetensors`);
    if (!complete)
      showMessage(
        'export',
        'The collection was exported without thumbnails.',
        'A stored thumbnail is damaged. Add the same folders again to restore the thumbnails.',
      );
  } catch (error) {
    showError('export', 'The collection could not be exported.', error);
  }
}

/** Saves some photographs of the collection as a file that can be imported. */
export const exportSome = (ids: readonly string[]): Promise<void> => exportCollection(ids);

async function exportNpy(): Promise<void> {
  try {
    const { npy, ids } = await collection()!.exportNpy();
    save(npy, `${NAME}.npy`);
    save(ids, `${NAME}-ids.json`);
  } catch (error) {
    showError('export', 'The vectors could not be exported.', error);
  }
}

/** Imports a collection from a file that was exported earlier. If this fails, the collection is unchanged. */
export async function importCollection(file: Blob): Promise<void> {
  await deletionEnded();
  try {
    const found = await EmbeddingIndex.import(file, { device: 'cpu' });
    const { header, size } = found;
    found.dispose();
    const index = collection() ?? (await makeCollection(header));
    if (index.header.model?.fingerprint !== header.model?.fingerprint)
      throw new DINOv2Error(
        'INDEX_MODEL',
        `The file was made with ${madeByInWords(header)}, this collection with ${madeByInWords(index.header)}. Vectors of different models cannot be compared. Delete this collection first, or import the file in another browser profile.`,
      );
    await index.importFrom(file);
    dismiss('import');
    about.close();
    showMessage('import', `${count(size)} imported.`, 'The photographs themselves are not in the file.');
  } catch (error) {
    showError('import', 'The file could not be imported.', error);
  }
  show();
}

/** True if a safetensors file is an exported collection, as its metadata shows. */
export async function isCollection(file: Blob): Promise<boolean> {
  const length = new DataView(await file.slice(0, 8).arrayBuffer());
  if (length.byteLength < 8) return false;
  return (await file.slice(8, 8 + Math.min(length.getUint32(0, true), 1 << 20)).text()).includes(
    '"dinov2-webgpu/index"',
  );
}

function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  const url = URL.createObjectURL(blob);
  link.download = name;
  link.href = url;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function show(): void {
  const index = collection();
  const size = index?.size ?? 0;
  const loaded = loadedModel();
  setText('count', size.toLocaleString('en'));
  setText('made-by', index ? madeByInWords(index.header) : '–');
  setText('running', loaded ? choiceInWords(loaded.choice) : 'none');
  setText('adapter-name', loaded ? adapterName(loaded.model.adapter) : '–');
  for (const id of ['export', 'export-npy']) byId(id, HTMLButtonElement).disabled = size === 0;
  withThumbnails.disabled = size === 0;
  byId('delete', HTMLButtonElement).disabled = !index && !isBlocked();
  byId('kinds', HTMLFieldSetElement).disabled = index !== undefined;
  const parts = byId('parts', HTMLInputElement);
  if (index) parts.checked = index.header.patches !== 'none';
  setText(
    'parts-hint',
    !index
      ? '75 kB a photograph'
      : parts.checked
        ? 'stored in this collection'
        : 'not stored in this collection',
  );
  void showUsage();
}

/**
 * Shows the size of the vectors, and of all data that this origin stores, including thumbnails and the model.
 */
async function showUsage(): Promise<void> {
  const from = collection();
  if (!from || isForgetful()) return setText('kept', from ? 'nothing' : '–');
  const { usage } = (await navigator.storage.estimate().catch(() => undefined)) ?? {};
  const kept = await from.usage().catch(() => undefined); // another tab may just have deleted the collection
  if (collection() === from)
    setText(
      'kept',
      `${megabytes(kept?.bytes ?? 0)}${usage ? `; ${megabytes(usage)} with thumbnails and model` : ''}`,
    );
}

/** Asks whether the collection is to be deleted, and says how large an export of it would be. */
async function askToDelete(): Promise<void> {
  const index = collection();
  const size = index?.size ?? 0;
  const bytes = async (): Promise<number | undefined> =>
    index && size <= MOST_MEASURED ? (await exported(index, undefined)).file.size : undefined;
  setText('sure-what', `${count(size)} with vectors and thumbnails. Your files are not changed.`);
  setText('sure-export', 'Export it first');
  byId('sure-export', HTMLButtonElement).hidden = size === 0;
  about.close();
  sure.showModal();
  const found = await bytes().catch(() => undefined);
  if (found !== undefined) setText('sure-export', `Export it first (${megabytes(found)} with thumbnails)`);
}

export function startAbout(): void {
  const click = (id: string, run: () => void): void =>
    byId(id, HTMLButtonElement).addEventListener('click', run);
  whenCollection(show);
  click('about-open', () => about.showModal());
  click('about-close', () => about.close());
  click('export', () => void exportCollection());
  click('export-npy', () => void exportNpy());
  click('delete', () => void askToDelete());
  click('sure-no', () => sure.close());
  click('sure-export', () => void exportCollection());
  click('sure-yes', () => {
    sure.close();
    void deleteCollection();
  });
  for (const dialog of [about, sure])
    dialog.addEventListener('click', ({ target }) => {
      if (target === dialog) dialog.close(); // a click beside the dialog
    });
}
