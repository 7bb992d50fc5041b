/** Photographs on their way into the collection. */
import {
  IndexError,
  askAgain,
  forgetIngest,
  ingest,
  unfinishedIngest,
  type EmbeddingIndex,
  type Ingest,
  type IngestFailure,
  type IngestProgress,
  type IngestSource,
  type UnfinishedIngest,
} from '../../src/search.js';
import { byId, setText } from '../dom.js';
import { dismiss, showNotice } from '../notices.js';
import { collection, collectionToAdd, usableModel } from './collection.js';
import { LOOK, count, time } from './photos.js';
import { text } from './tiles.js';
import { setStatus } from './views.js';

const bar = byId('adding-bar', HTMLProgressElement);
const pause = byId('pause', HTMLButtonElement);
const failuresList = byId('failures-list', HTMLElement);
const MOST_FAILURES_SHOWN = 500;

let lostBy: (error: unknown) => boolean = () => false;
let running: Ingest | undefined;
/** What was given before a model was there, or while other photographs were added. */
const waiting: { readonly source: IngestSource; readonly under: string | undefined }[] = [];
let unfinished: UnfinishedIngest | undefined;

/**
 * Adds photographs: at once, after those that are being added, or when a model is there.
 * @param under what their paths begin with, where the folder's name is taken
 */
export function add(source: IngestSource, under?: string): void {
  waiting.push({ source, under });
  void next();
}

/** Begins with what waits, if a model is there. */
export async function next(): Promise<void> {
  const model = usableModel();
  byId('waiting', HTMLElement).hidden = waiting.length === 0 || model !== undefined;
  if (running || !model || waiting.length === 0) return;
  const { source, under } = waiting.shift()!;
  let index: EmbeddingIndex;
  try {
    index = await collectionToAdd();
  } catch (error) {
    return showNotice('adding', error, { text: 'Try again', run: () => add(source, under) });
  }
  if (running) return void waiting.unshift({ source, under });
  dismiss('adding');
  byId('unfinished', HTMLElement).hidden = true;
  unfinished = undefined;
  showFailures([]);
  const run = ingest(index, model, source, {
    ...LOOK,
    under,
    onProgress: (progress) => show(progress, run?.failures ?? []),
  });
  running = run;
  show(run.progress, []);
  try {
    const report = await run.finished;
    byId('adding', HTMLElement).hidden = true;
    setStatus(summary(report));
    show(report, report.failures);
    if (report.failures.some(({ id, error }) => isTaken(error) && index.has(id))) showTaken(index, source);
  } catch (error) {
    // With another model, or the same one loaded again, it goes on.
    if (lostBy(error)) waiting.unshift({ source, under });
    else if (isTaken(error)) showTaken(index, source);
    else if (run.progress.phase !== 'aborted')
      showNotice('adding', error, { text: 'Go on', run: () => add(source, under) });
    setStatus(`Stopped: ${summary(run.progress)}`);
  } finally {
    running = undefined;
    byId('adding', HTMLElement).hidden = true;
    void next();
  }
}

const isTaken = (error: unknown): boolean =>
  error instanceof IndexError && error.code === 'INDEX_DUPLICATE_ID';

/** There is another folder, or photograph, of that name. */
function showTaken(index: EmbeddingIndex, source: IngestSource): void {
  const ids = index.ids();
  let number = 2;
  while (ids.some((id) => id.startsWith(`${number}/`))) number += 1;
  const error = new IndexError(
    'INDEX_DUPLICATE_ID',
    'The collection has photographs of this name, or of another folder of this name.',
  );
  showNotice(
    'adding',
    error,
    { text: 'Keep both', run: () => add(source, String(number)) },
    { text: 'They are the same, moved or changed', run: () => add(source, '') },
  );
}

function summary({ added, updated, unchanged, failed, ignored }: IngestProgress): string {
  const parts = [`${count(added)} added`];
  if (updated > 0) parts.push(`${updated.toLocaleString('en')} changed`);
  if (unchanged > 0) parts.push(`${unchanged.toLocaleString('en')} there already`);
  if (failed > 0) parts.push(`${failed.toLocaleString('en')} failed`);
  if (ignored > 0) parts.push(`${ignored.toLocaleString('en')} other files passed over`);
  return `${parts.join(', ')}.`;
}

function show(progress: IngestProgress, failures: readonly IngestFailure[]): void {
  const { phase, walking, images, unchanged, added, updated, failed, perSecond, secondsLeft } = progress;
  const done = unchanged + added + updated + failed;
  byId('adding', HTMLElement).hidden = phase !== 'running' && phase !== 'paused';
  setText('adding-what', phase === 'paused' ? 'Paused' : 'Adding photographs');
  pause.textContent = phase === 'paused' ? 'Go on' : 'Pause';
  const rate =
    perSecond === undefined
      ? ''
      : perSecond >= 1
        ? ` · ${perSecond.toFixed(perSecond < 10 ? 1 : 0)} a second`
        : ` · ${time(1 / perSecond)} each`;
  const left = phase === 'paused' || secondsLeft === undefined ? '' : ` · ${time(secondsLeft)} left`;
  setText(
    'adding-numbers',
    `${done.toLocaleString('en')} of ${images.toLocaleString('en')}${walking ? ' so far' : ''}${rate}${left}`,
  );
  if (walking || images === 0) bar.removeAttribute('value');
  else bar.value = done / images;
  showFailures(failures);
}

/** Those of the list: a failure of several files is another object with each of them. */
let failuresShown: IngestFailure[] = [];

function showFailures(failures: readonly IngestFailure[]): void {
  if (failures.length < failuresShown.length || failures.length === 0) {
    failuresList.replaceChildren();
    failuresShown = [];
  }
  const files = failures.reduce((sum, { ids }) => sum + (ids?.length ?? 1), 0);
  byId('failures', HTMLElement).hidden = files === 0;
  setText(
    'failures-count',
    files === 1 ? '1 file could not be added' : `${files.toLocaleString('en')} files could not be added`,
  );
  for (let at = 0; at < Math.min(failures.length, MOST_FAILURES_SHOWN); at++) {
    const failure = failures[at]!;
    if (failuresShown[at] === failure) continue;
    const { id, ids, error } = failure;
    const item = document.createElement('li');
    item.append(...(ids ? [] : [text('b', id), ': ']), error.message);
    const before = failuresList.children.item(at);
    if (before) before.replaceWith(item);
    else failuresList.append(item);
    failuresShown[at] = failure;
  }
}

/** Says so where an ingest was ended by a reload. */
export async function offerToGoOn(index: EmbeddingIndex | undefined): Promise<void> {
  unfinished = index && (await unfinishedIngest(index));
  byId('unfinished', HTMLElement).hidden = !unfinished || running !== undefined;
  if (!unfinished) return;
  const { names, handles, images, finished } = unfinished;
  const what = names.length === 1 ? names[0]! : `${names[0]} and ${names.length - 1} more`;
  setText(
    'unfinished-what',
    `${what}: ${finished.toLocaleString('en')} of ${images.toLocaleString('en')} were done. ${handles ? '' : 'Drop the same files or folder again: what is there is passed over.'}`,
  );
  byId('unfinished-go', HTMLElement).hidden = !handles;
}

/** @param lost takes the model away, where an error says that it is gone */
export function startAdding(lost: (error: unknown) => boolean): void {
  lostBy = lost;
  pause.addEventListener('click', () =>
    running?.progress.phase === 'paused' ? running.resume() : running?.pause(),
  );
  byId('stop', HTMLButtonElement).addEventListener('click', () => {
    waiting.length = 0;
    running?.abort();
  });
  byId('unfinished-go', HTMLButtonElement).addEventListener('click', () => void goOn());
  byId('unfinished-forget', HTMLButtonElement).addEventListener('click', () => void forget());
}

async function goOn(): Promise<void> {
  const { handles, under } = unfinished ?? {};
  if (!handles) return;
  try {
    if (!(await askAgain(handles)))
      throw new DOMException(
        'The browser was not allowed to read the folder. Press Go on, and allow it.',
        'NotAllowedError',
      );
    byId('unfinished', HTMLElement).hidden = true;
    add(handles, under);
  } catch (error) {
    showNotice('adding', error);
  }
}

async function forget(): Promise<void> {
  byId('unfinished', HTMLElement).hidden = true;
  unfinished = undefined;
  const index = collection();
  try {
    if (index) await forgetIngest(index);
  } catch (error) {
    showNotice('adding', error);
  }
}
