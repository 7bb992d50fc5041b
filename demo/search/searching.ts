/**
 * Searches for photographs that are similar to a photograph, or to a part of it. A new search aborts the
 * previous search. The search is repeated whenever the collection changes.
 */
import {
  describeImage,
  originalOf,
  type Description,
  type EmbeddingIndex,
  type PatchBox,
} from '../../src/search.js';
import { byId, setText } from '../dom.js';
import { duration } from '../format.js';
import { Latest } from '../latest.js';
import { dismiss, showNotice } from '../notices.js';
import { collection, usableModel } from './collection.js';
import { resetDrawing, startDrawing, type Part } from './drawing.js';
import { LOOK, count, nameOf } from './photos.js';
import { urlOf } from './pictures.js';
import { text, tile, type Tile } from './tiles.js';
import { setStatus } from './views.js';

type Query = {
  /**
   * The photograph that is searched for: an item of the collection, or a file that is not in the collection.
   */
  readonly of: { readonly id: string } | { readonly file: Blob; readonly name: string };
  /** Vector and patches of the photograph. The model computes them when they are first needed. */
  description?: Promise<Description>;
};

const TOP_K = 48;
const AGAIN_MS = 700;

const section = byId('query', HTMLElement);
const results = byId('results', HTMLElement);
const image = byId('query-image', HTMLImageElement);
const work = new Latest();
let lostBy: (error: unknown) => boolean = () => false;
let query: Query | undefined;
let part: Part | undefined;
let ownUrl: string | undefined;
let stopListening: () => void = () => undefined;
let again: ReturnType<typeof setTimeout> | undefined;

/** Opens a photograph of the collection and searches for similar photographs. */
export function openItem(id: string): void {
  start({ of: { id } }, nameOf(id), id);
  void showItem(id);
}

/** Opens a photograph that is not in the collection, and searches for similar photographs. */
export function openFile(file: Blob, name: string): void {
  if (!usableModel())
    return showNotice(
      'search',
      new Error(
        'Searching with another photograph needs the model that the collection was made with. Load it first.',
      ),
    );
  start({ of: { file, name } }, name, `${name}, which is not in the collection`);
  ownUrl = URL.createObjectURL(file);
  image.src = ownUrl;
}

export function closeQuery(): void {
  work.abort();
  stopListening();
  query = undefined;
  section.hidden = true;
  showCurrent();
  if (ownUrl) URL.revokeObjectURL(ownUrl);
  ownUrl = undefined;
}

function start(next: Query, name: string, caption: string): void {
  closeQuery();
  query = next;
  part = undefined;
  const index = collection();
  section.hidden = false;
  image.removeAttribute('src');
  image.alt = `Photograph: ${name}`;
  setText('query-heading', 'id' in next.of ? 'Photograph' : 'Your photograph');
  setText('query-caption', caption);
  byId('query-remove', HTMLElement).hidden = !('id' in next.of);
  const byParts = index !== undefined && index.header.patches !== 'none' && usableModel() !== undefined;
  resetDrawing(byParts);
  setText(
    'query-help',
    byParts
      ? 'Draw a box to search for a part. By keyboard: arrow keys move the box, with Shift they resize it, Escape removes it.'
      : index?.header.patches === 'none'
        ? 'This collection stores no parts of photographs, so only whole photographs can be searched for.'
        : 'To search for a part, load the model that the collection was made with.',
  );
  results.replaceChildren();
  setText('results-time', '');
  section.scrollIntoView({
    block: 'nearest',
    behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth',
  });
  showCurrent();
  stopListening =
    index?.on('change', ({ removed }) => {
      if ('id' in next.of && removed.includes(next.of.id)) return closeQuery();
      clearTimeout(again);
      again = setTimeout(() => void ask(), AGAIN_MS);
    }) ?? (() => undefined);
  void ask();
}

/** Shows the thumbnail of an item, and then its original file if the page may read the folder of the file. */
async function showItem(id: string): Promise<void> {
  const index = collection();
  const asked = query;
  const small = await urlOf(id).catch(() => undefined);
  if (query !== asked) return;
  if (small) image.src = small;
  const original = index && (await originalOf(index, id).catch(() => undefined));
  if (!original || query !== asked) return;
  const url = URL.createObjectURL(original);
  const large = new Image();
  large.src = url;
  const decoded = await large.decode().then(
    () => true,
    () => false,
  );
  if (!decoded || query !== asked) return URL.revokeObjectURL(url);
  ownUrl = url;
  image.src = url;
}

/** Marks the tile of the opened photograph. */
function showCurrent(): void {
  const id = query && 'id' in query.of ? query.of.id : undefined;
  for (const marked of document.querySelectorAll('[aria-current="true"]'))
    marked.removeAttribute('aria-current');
  if (id === undefined) return;
  for (const each of document.querySelectorAll<HTMLImageElement>('#view .tiles img')) {
    if (each.dataset['id'] === id) each.closest('button')?.setAttribute('aria-current', 'true');
  }
}

async function ask(): Promise<void> {
  clearTimeout(again);
  const [now, index, region] = [query, collection(), part];
  if (!now || !index) return;
  byId('query-whole', HTMLButtonElement).disabled = !region;
  results.setAttribute('aria-busy', 'true');
  try {
    const found = await work.start((signal) => search(index, now, region, signal));
    if (found) present(index, now, found);
  } catch (error) {
    results.replaceChildren();
    setText('results-time', '');
    if (!lostBy(error)) showNotice('search', error, { text: 'Try again', run: () => void ask() });
  } finally {
    if (!work.busy) results.setAttribute('aria-busy', 'false');
  }
}

interface Answer {
  readonly tiles: readonly Tile[];
  readonly ms: number;
  readonly byPart: boolean;
}

async function search(
  index: EmbeddingIndex,
  { of }: Query,
  region: Part | undefined,
  signal: AbortSignal,
): Promise<Answer> {
  const now = query!;
  if (!region && 'id' in of) {
    const startMs = performance.now();
    const hits = await index.neighbours(of.id, { topK: TOP_K, signal });
    return { tiles: hits, ms: performance.now() - startMs, byPart: false };
  }
  now.description ??= describe(index, of, signal);
  now.description.catch(() => delete now.description); // the next search tries again
  const { vector, patches } = await now.description;
  signal.throwIfAborted();
  const startMs = performance.now();
  if (!region || !patches) {
    const hits = await index.search(vector, { topK: TOP_K, signal });
    return { tiles: hits, ms: performance.now() - startMs, byPart: false };
  }
  const hits = await index.searchByPart(
    { ...patches, region: boxOf(region, patches) },
    { topK: TOP_K, signal },
  );
  const tiles = hits
    .filter(({ id }) => !('id' in of) || id !== of.id)
    .map(({ box, grid, ...hit }) => ({ ...hit, part: { box, grid } }));
  return { tiles, ms: performance.now() - startMs, byPart: true };
}

/**
 * Computes vector and patches of the opened photograph: from the original file if it can be read, otherwise
 * from its thumbnail.
 */
async function describe(index: EmbeddingIndex, of: Query['of'], signal: AbortSignal): Promise<Description> {
  const model = usableModel();
  const file = 'file' in of ? of.file : ((await originalOf(index, of.id)) ?? (await index.thumbnail(of.id)));
  if (!model || !file)
    throw new Error(
      'Searching for a part needs the photograph and the model that the collection was made with. Load the model first.',
    );
  return describeImage(model, file, { ...LOOK, patches: index.header.patches !== 'none', signal });
}

/** Converts a box on the photograph to whole patches, at least one in each direction. */
function boxOf(
  { left, top, width, height }: Part,
  { rows, cols }: { readonly rows: number; readonly cols: number },
): PatchBox {
  const span = (from: number, length: number, patches: number): readonly [first: number, size: number] => {
    const first = Math.min(patches - 1, Math.round(from * patches));
    return [first, Math.max(1, Math.min(patches, Math.round((from + length) * patches)) - first)];
  };
  const [[row, boxRows], [col, boxCols]] = [span(top, height, rows), span(left, width, cols)];
  return { row, col, rows: boxRows, cols: boxCols };
}

function present(index: EmbeddingIndex, now: Query, { tiles, ms, byPart }: Answer): void {
  dismiss('search');
  const there = tiles.filter(({ id }) => index.has(id));
  results.replaceChildren(
    ...(there.length > 0
      ? there.map((each) => tile(each, openItem))
      : [text('li', 'The collection contains no other photographs.', 'none')]),
  );
  setText('results-heading', byPart ? 'Where that part is' : 'Similar photographs');
  setText('results-time', `${count(index.size)} in ${duration(ms)}`);
  setText('backend', index.backend.kind === 'gpu' ? 'the GPU' : 'the processor');
  byId('backend', HTMLElement).title = index.backend.reason;
  const name = 'id' in now.of ? nameOf(now.of.id) : now.of.name;
  const [best] = there;
  setStatus(
    `Found ${count(there.length)} for ${byPart ? 'that part of ' : ''}${name}${best?.score === undefined ? '' : `, the best with ${best.score.toFixed(2)}`}.`,
  );
}

/**
 * @param lost function that discards the model if an error shows that its GPU or worker is lost, and then
 *   returns true
 */
export function startSearching(lost: (error: unknown) => boolean): void {
  lostBy = lost;
  startDrawing((drawn) => {
    part = drawn;
    void ask();
  });
  byId('query-close', HTMLButtonElement).addEventListener('click', closeQuery);
  byId('query-whole', HTMLButtonElement).addEventListener('click', () => {
    part = undefined;
    resetDrawing(true);
    void ask();
  });
  byId('query-remove', HTMLButtonElement).addEventListener('click', () => void remove());
  image.addEventListener('error', () => void image.removeAttribute('src'));
}

async function remove(): Promise<void> {
  const index = collection();
  if (!index || !query || !('id' in query.of)) return;
  try {
    await index.remove(query.of.id);
  } catch (error) {
    showNotice('collection', error);
  }
}
