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
import { DINOv2Error } from '../../src/index.js';
import { byId, setText } from '../shared/dom.js';
import { duration, shortName } from '../shared/format.js';
import { Latest } from '../shared/latest.js';
import { changeAddress, type Address } from './address.js';
import { collection, usableModel } from './collection.js';
import { setDrawing, startDrawing, type Part } from './drawing.js';
import { fileLines } from './duplicates.js';
import { lostBy, model, whenModel } from './model.js';
import { loadText, rightModel } from './modelBar.js';
import { LOOK, count, nameOf } from './photos.js';
import { urlOf } from './pictures.js';
import { removePhotographs } from './removal.js';
import {
  clearResults,
  setThreshold,
  shownResults,
  showNoResults,
  showResults,
  startResults,
} from './results.js';
import { setStatus } from './status.js';
import type { Tile } from './tiles.js';

type Query = {
  /**
   * The photograph that is searched for: an item of the collection, or a file that is not in the collection.
   */
  readonly of: { readonly id: string } | { readonly file: Blob; readonly name: string };
  /** Vector and patches of the photograph. The model computes them when they are first needed. */
  description?: Promise<Description>;
};

/** Maximum number of results. The page hides those below a threshold (results.ts). */
const TOP_K = 240;
const AGAIN_MS = 700;
const NEEDS_MODEL = 'MODEL_MISSING';

const section = byId('query', HTMLElement);
const results = byId('results', HTMLElement);
const stage = byId('query-stage', HTMLElement);
const image = byId('query-image', HTMLImageElement);
const work = new Latest();
let query: Query | undefined;
let part: Part | undefined;
let ownUrl: string | undefined;
let stopListening: () => void = () => undefined;
let again: ReturnType<typeof setTimeout> | undefined;

/** Opens a photograph of the collection and searches for similar photographs. */
export function openItem(id: string): void {
  changeAddress({ q: id, box: undefined, from: undefined }, true);
  showPhotograph(id, {});
}

/** Shows the search of an address. */
export function applySearch({ q, box, from }: Address): void {
  if (q === undefined) return leave();
  if (collection()?.has(q)) return showPhotograph(q, { box, from });
  start({ of: { id: q } }, nameOf(q), q, {});
  work.abort();
  showNoResults(`The collection in this browser has no photograph ${q}.`);
}

function showPhotograph(id: string, { box, from }: Pick<Address, 'box' | 'from'>): void {
  const lines = fileLines(collection()?.metadata(id));
  start({ of: { id } }, nameOf(id), [id, ...lines].join(' · '), { box, from });
  void showItem(id);
}

/** Opens a photograph that is not in the collection, and searches for similar photographs. */
export function openFile(file: Blob, name: string): void {
  changeAddress({ q: undefined, box: undefined, from: undefined }, true);
  start({ of: { file, name } }, name, `${name}, which is not in the collection`, {});
  ownUrl = URL.createObjectURL(file);
  image.src = ownUrl;
}

/** Ends the search. */
export function closeQuery(): void {
  if (query) changeAddress({ q: undefined, box: undefined, from: undefined }, true);
  leave();
}

/** Ends the search without changing the address. */
function leave(): void {
  work.abort();
  stopListening();
  query = undefined;
  section.hidden = true;
  clearResults();
  showCurrent();
  if (ownUrl) URL.revokeObjectURL(ownUrl);
  ownUrl = undefined;
}

/** Ends the search because another collection is opened. Keeps the address, which may be of that collection. */
export const forgetQuery = leave;

function start(
  next: Query,
  name: string,
  caption: string,
  { box, from }: Pick<Address, 'box' | 'from'>,
): void {
  leave();
  query = next;
  part = box;
  setThreshold(from);
  const index = collection();
  section.hidden = false;
  image.removeAttribute('src');
  image.alt = `Photograph: ${name}`;
  setText('query-heading', 'id' in next.of ? shortName(nameOf(next.of.id)) : 'Your photograph');
  setText('query-caption', caption);
  byId('query-remove', HTMLElement).hidden = !('id' in next.of && index?.has(next.of.id));
  allowDrawing();
  setText('results-time', '');
  section.scrollIntoView({
    block: 'start',
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

/** True if boxes can be searched for: the collection stores parts, and its model is loaded. */
const byParts = (): boolean => collection()?.header.patches !== 'none' && usableModel() !== undefined;

function allowDrawing(): void {
  setDrawing(byParts(), part);
  const wanted = rightModel();
  setText(
    'query-help',
    byParts()
      ? 'Draw a box to search for a part.'
      : collection()?.header.patches === 'none'
        ? 'This collection stores no parts of photographs, so only whole photographs can be searched for.'
        : `To search for a part, load the model of the collection${wanted ? '' : ', which was in a file of yours'}.`,
  );
  byId('query-keys', HTMLElement).hidden = !byParts();
  const load = byId('query-load', HTMLButtonElement);
  load.hidden = byParts() || collection()?.header.patches === 'none' || !wanted;
  if (wanted) load.textContent = loadText(wanted);
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
  const [now, index] = [query, collection()];
  const region = byParts() ? part : undefined;
  if (!now || !index) return;
  byId('query-whole', HTMLButtonElement).disabled = !part;
  results.setAttribute('aria-busy', 'true');
  results.setAttribute('aria-label', 'Results');
  const name = shortName('id' in now.of ? nameOf(now.of.id) : now.of.name);
  setText('results-heading', region ? 'Where that part is' : 'Similar photographs');
  try {
    const found = await work.start((signal) => search(index, now, region, signal));
    if (found) present(index, name, found);
  } catch (error) {
    fail(error, name);
  } finally {
    if (!work.busy) results.setAttribute('aria-busy', 'false');
  }
}

/** Says in the place of the results why there are none. */
function fail(error: unknown, name: string): void {
  setText('results-heading', 'No results');
  setText('results-time', '');
  setStatus(`The search for ${name} failed.`);
  const reason = error instanceof Error ? error.message : String(error);
  const wanted = rightModel();
  if (error instanceof DINOv2Error && error.code === NEEDS_MODEL && wanted)
    return showNoResults(reason, { text: loadText(wanted), run: () => void model.load(wanted) });
  const isLost = lostBy(error);
  showNoResults(
    isLost ? 'The model was lost during the search.' : `The search failed. ${reason}`,
    isLost ? undefined : { text: 'Try again', run: () => void ask() },
  );
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
    throw new DINOv2Error(
      NEEDS_MODEL,
      'Searching with another photograph or with a part needs the model of the collection.',
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

function present(index: EmbeddingIndex, name: string, { tiles, ms, byPart }: Answer): void {
  const there = tiles.filter(({ id }) => index.has(id));
  const others = index.size - (query && 'id' in query.of ? 1 : 0);
  showResults(there, others, openItem);
  setText('results-time', `${count(index.size)} in ${duration(ms)}`);
  setText('backend', index.backend.kind === 'gpu' ? 'the GPU' : 'the processor');
  byId('backend', HTMLElement).title = index.backend.reason;
  const [best] = there;
  const of = `${byPart ? 'that part of ' : ''}${name}`;
  results.setAttribute('aria-label', `Results for ${of}`);
  const score = best?.score === undefined ? '' : `, the best with ${best.score.toFixed(2)}`;
  setStatus(`Found ${count(shownResults())} for ${of}${score}.`);
}

export function startSearching(): void {
  startResults();
  startDrawing((drawn) => {
    part = drawn;
    setThreshold(undefined);
    changeAddress({ box: part, from: undefined });
    void ask();
  });
  whenModel(() => {
    if (!query) return;
    allowDrawing();
    void ask(); // a search that needed the model
  });
  byId('query-close', HTMLButtonElement).addEventListener('click', closeQuery);
  byId('query-whole', HTMLButtonElement).addEventListener('click', () => {
    part = undefined;
    setThreshold(undefined);
    changeAddress({ box: undefined, from: undefined });
    allowDrawing();
    void ask();
  });
  byId('query-load', HTMLButtonElement).addEventListener('click', () => {
    const wanted = rightModel();
    if (wanted) void model.load(wanted);
  });
  byId('query-remove', HTMLButtonElement).addEventListener('click', () => {
    if (query && 'id' in query.of) void removePhotographs([query.of.id]);
  });
  image.addEventListener('error', () => void image.removeAttribute('src'));
  image.addEventListener('load', () =>
    stage.style.setProperty('--shape', String(image.naturalWidth / image.naturalHeight)),
  );
}
