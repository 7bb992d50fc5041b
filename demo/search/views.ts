/**
 * The views of the collection: all photographs, near-duplicates, groups of similar photographs, or the map.
 */
import type { EmbeddingIndex, IndexChange } from '../../src/search.js';
import { byId, choose, chosen, setText } from '../shared/dom.js';
import { Latest } from '../shared/latest.js';
import { dismiss, showError } from '../shared/toasts.js';
import { changeAddress, views, type Address, type ViewName } from './address.js';
import { AllView } from './all.js';
import { duplicateGroups } from './duplicates.js';
import { groupSections } from './groups.js';
import { MapView } from './map.js';
import { count } from './photos.js';
import { forget } from './pictures.js';
import { allowSelection, unselect } from './selection.js';
import { setStatus } from './status.js';

const into = byId('view', HTMLElement);
const more = byId('more', HTMLButtonElement);
const threshold = byId('threshold', HTMLInputElement);
const clusters = byId('clusters', HTMLInputElement);
/**
 * Delay in ms between a change of the collection and the new computation of the view, because changes often
 * come in quick succession.
 */
const AGAIN_MS = 1500;

const work = new Latest();
let index: EmbeddingIndex | undefined;
let open: (id: string) => void = () => undefined;
let all: AllView | undefined;
let map: MapView | undefined;
let again: ReturnType<typeof setTimeout> | undefined;

export function showCollection(next: EmbeddingIndex | undefined): void {
  index = next;
  next?.on('change', (change) => void (index === next && changed(change)));
  show();
}

function changed(change: IndexChange): void {
  forget([...change.put, ...change.removed]);
  unselect(change.removed);
  const size = index?.size ?? 0;
  if (into.childElementCount === 0 || size === 0) return show();
  allowViews(size);
  if (chosen('view') === 'all') {
    all?.change(change);
    setStatus(count(size));
  } else if (change.removed.length > 0) {
    show();
  } else {
    again ??= setTimeout(show, AGAIN_MS);
  }
}

/** Disables the views that have nothing to show, and says why. */
function allowViews(size: number): void {
  const allowed = size > 1;
  for (const view of views) {
    const radio = document.querySelector<HTMLInputElement>(`input[name="view"][value="${view}"]`)!;
    radio.disabled = view === 'all' ? size === 0 : !allowed;
  }
  byId('views', HTMLElement).hidden = size === 0;
  byId('views-why', HTMLElement).hidden = allowed || size === 0;
}

function show(): void {
  clearTimeout(again);
  again = undefined;
  const size = index?.size ?? 0;
  allowViews(size);
  const view = size > 1 ? (chosen('view') as ViewName) : 'all';
  document.body.dataset['view'] = view;
  document.body.classList.toggle('used', size > 0); // after the first use, the page has no introduction
  byId('empty', HTMLElement).hidden = size > 0;
  byId('threshold-label', HTMLElement).hidden = view !== 'duplicates' || size === 0;
  byId('clusters-label', HTMLElement).hidden = view !== 'groups' || size === 0;
  allowSelection(size > 0 && view !== 'map');
  more.hidden = true;
  all = undefined;
  map?.dispose();
  map = undefined;
  work.abort();
  if (!index || size === 0) {
    into.replaceChildren();
    setStatus('');
  } else if (view === 'all') {
    all = new AllView(index, into, open);
    setStatus(count(size));
  } else {
    void compute(index, view);
  }
}

async function compute(from: EmbeddingIndex, view: ViewName): Promise<void> {
  setStatus('Looking.');
  try {
    await work.start(async (signal) => {
      if (view === 'duplicates') await showDuplicates(from, signal);
      else if (view === 'groups') await showGroups(from, signal);
      else await showMap(from, signal);
    });
    dismiss('view');
  } catch (error) {
    into.replaceChildren();
    setStatus('The view could not be computed.');
    showError('view', 'The view could not be computed.', error, { text: 'Try again', run: show });
  }
}

async function showDuplicates(from: EmbeddingIndex, signal: AbortSignal): Promise<void> {
  const found = await from.duplicates({ threshold: Number(threshold.value), signal });
  signal.throwIfAborted();
  into.replaceChildren(...duplicateGroups(from, found, open));
  setStatus(
    found.length === 0
      ? 'No duplicates'
      : `${found.length} ${found.length === 1 ? 'group' : 'groups'} of duplicates`,
  );
}

async function showGroups(from: EmbeddingIndex, signal: AbortSignal): Promise<void> {
  const wanted = Math.min(Number(clusters.value), from.size);
  const { ids } = await from.clusters(wanted, { signal });
  signal.throwIfAborted();
  into.replaceChildren(...groupSections(from, ids, open));
  setStatus(`${count(from.size)} in ${ids.length} groups`);
}

async function showMap(from: EmbeddingIndex, signal: AbortSignal): Promise<void> {
  const points = await from.map({ signal });
  signal.throwIfAborted();
  map?.dispose();
  map = new MapView(from, points, into, open);
  setStatus(`${count(points.length)} on the map`);
}

function sayValues(): void {
  setText('threshold-value', Number(threshold.value).toFixed(3).replace(/0$/, ''));
  setText('clusters-value', clusters.value);
}

/** Shows the view of an address. */
export function applyView({ view = 'all', likeness, groups }: Address): void {
  choose('view', view);
  if (likeness !== undefined) threshold.value = String(likeness);
  if (groups !== undefined) clusters.value = String(groups);
  sayValues();
  show();
}

export function startViews(onOpen: (id: string) => void): void {
  open = onOpen;
  byId('views', HTMLElement).addEventListener('change', () => {
    changeAddress({ view: chosen('view') as ViewName }, true);
    show();
  });
  for (const input of [threshold, clusters]) {
    input.addEventListener('input', sayValues);
    input.addEventListener('change', () => {
      changeAddress(
        input === threshold ? { likeness: Number(threshold.value) } : { groups: Number(clusters.value) },
      );
      show();
    });
  }
  more.addEventListener('click', () => all?.grow());
  new IntersectionObserver(([entry]) => void (entry?.isIntersecting && !more.hidden && all?.grow()), {
    rootMargin: '300px',
  }).observe(more);
}
