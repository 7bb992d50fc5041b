/**
 * The views of the collection: all photographs, near-duplicates, groups of similar photographs, or the map.
 */
import type { EmbeddingIndex, IndexChange } from '../../src/search.js';
import { byId, chosen, setText } from '../dom.js';
import { Latest } from '../latest.js';
import { showNotice } from '../notices.js';
import { AllView } from './all.js';
import { MapView } from './map.js';
import { count } from './photos.js';
import { forget } from './pictures.js';
import { text, tileList } from './tiles.js';

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

export function setStatus(message: string): void {
  setText('status', message);
}

export function showCollection(next: EmbeddingIndex | undefined): void {
  index = next;
  next?.on('change', (change) => void (index === next && changed(change)));
  show();
}

function changed(change: IndexChange): void {
  forget([...change.put, ...change.removed]);
  const wasEmpty = into.childElementCount === 0;
  if (wasEmpty || index?.size === 0) return show();
  if (chosen('view') === 'all') {
    all?.change(change);
    setStatus(count(index?.size ?? 0));
  } else {
    again ??= setTimeout(show, AGAIN_MS);
  }
}

function show(): void {
  clearTimeout(again);
  again = undefined;
  const size = index?.size ?? 0;
  const view = chosen('view');
  byId('empty', HTMLElement).hidden = size > 0;
  byId('views', HTMLFieldSetElement).disabled = size === 0;
  byId('threshold-label', HTMLElement).hidden = view !== 'duplicates' || size === 0;
  byId('clusters-label', HTMLElement).hidden = view !== 'groups' || size === 0;
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

async function compute(from: EmbeddingIndex, view: string): Promise<void> {
  setStatus('Looking.');
  try {
    await work.start(async (signal) => {
      if (view === 'duplicates') await showDuplicates(from, signal);
      else if (view === 'groups') await showGroups(from, signal);
      else await showMap(from, signal);
    });
  } catch (error) {
    setStatus('The view could not be computed.');
    showNotice('search', error);
  }
}

async function showDuplicates(from: EmbeddingIndex, signal: AbortSignal): Promise<void> {
  const found = await from.duplicates({ threshold: Number(threshold.value), signal });
  signal.throwIfAborted();
  showGroupsOf(from, found, (ids) => `${count(ids.length)} alike`, 'No two photographs are that similar.');
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
  showGroupsOf(from, ids, (group) => count(group.length), '');
  setStatus(`${count(from.size)} in ${ids.length} groups`);
}

const GROUP_TILES = 60;

function showGroupsOf(
  from: EmbeddingIndex,
  groups: readonly (readonly string[])[],
  heading: (ids: readonly string[]) => string,
  none: string,
): void {
  const sections = groups.map((ids) => {
    const section = document.createElement('section');
    section.className = 'found-group';
    const present = ids.filter((id) => from.has(id));
    section.append(
      text('h3', heading(ids)),
      tileList(
        present.slice(0, GROUP_TILES).map((id) => ({ id, metadata: from.metadata(id) })),
        open,
      ),
    );
    if (present.length > GROUP_TILES)
      section.append(text('p', `and ${count(present.length - GROUP_TILES)} more`, 'hint'));
    return section;
  });
  into.replaceChildren(...(sections.length > 0 ? sections : [text('p', none, 'none')]));
}

async function showMap(from: EmbeddingIndex, signal: AbortSignal): Promise<void> {
  const points = await from.map({ signal });
  signal.throwIfAborted();
  map?.dispose();
  map = new MapView(from, points, into, open);
  setStatus(`${count(points.length)} on the map`);
}

export function startViews(onOpen: (id: string) => void): void {
  open = onOpen;
  byId('views', HTMLElement).addEventListener('change', show);
  for (const [input, output] of [
    [threshold, 'threshold-value'],
    [clusters, 'clusters-value'],
  ] as const) {
    const say = (): void =>
      setText(output, input === threshold ? Number(input.value).toFixed(3).replace(/0$/, '') : input.value);
    input.addEventListener('input', say);
    input.addEventListener('change', show);
    say();
  }
  more.addEventListener('click', () => all?.grow());
  new IntersectionObserver(([entry]) => void (entry?.isIntersecting && !more.hidden && all?.grow()), {
    rootMargin: '300px',
  }).observe(more);
}
