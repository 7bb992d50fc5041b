/** The part of the search page that adds photographs to the collection. */
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
import { byId, setText } from '../shared/dom.js';
import { dismiss, showError, type ToastAction } from '../shared/toasts.js';
import { collection, collectionToAdd, usableModel } from './collection.js';
import { showFailures } from './failures.js';
import { lostBy } from './model.js';
import { setWaiting } from './modelBar.js';
import { LOOK, count, time } from './photos.js';
import { setStatus } from './status.js';

const bar = byId('adding-bar', HTMLProgressElement);
const pause = byId('pause', HTMLButtonElement);

const showNotice = (error: unknown, ...actions: readonly ToastAction[]): void =>
  showError('adding', 'Photographs could not be added.', error, ...actions);

let running: Ingest | undefined;
/** Sources of photographs that wait until a model is loaded or a running ingest has ended. */
const waiting: {
  readonly source: IngestSource;
  readonly under: string | undefined;
  readonly photographs: number;
}[] = [];
let unfinished: UnfinishedIngest | undefined;

/**
 * Adds the photographs of a source. If an ingest is running or no model is loaded, the source waits until the
 * ingest has ended and a model is loaded.
 * @param under prefix of the ids, if the collection already has a folder of the same name
 * @param photographs number of photographs in the source; -1 if it contains folders, which are not counted yet
 */
export function add(source: IngestSource, under?: string, photographs = -1): void {
  waiting.push({ source, under, photographs });
  void startNext();
}

/** Starts the next waiting source if a model is loaded. */
export async function startNext(): Promise<void> {
  const model = usableModel();
  const counts = waiting.map(({ photographs }) => photographs);
  setWaiting(
    model ? 0 : counts.includes(-1) ? -1 : counts.reduce((sum, photographs) => sum + photographs, 0),
  );
  if (running || !model || waiting.length === 0) return;
  const next = waiting.shift()!;
  const { source, under } = next;
  let index: EmbeddingIndex;
  try {
    index = await collectionToAdd();
  } catch (error) {
    return showNotice(error, { text: 'Try again', run: () => add(source, under, next.photographs) });
  }
  if (running) return void waiting.unshift(next);
  dismiss('adding');
  byId('unfinished', HTMLElement).hidden = true;
  unfinished = undefined;
  showFailures([]);
  const run = ingest(index, model, source, {
    ...LOOK,
    under,
    // Where the processor emulates a GPU, a batch takes as long as its images one by one, and a batch of eight
    // would report no progress for many seconds.
    ...(model.adapter.software && { batchSize: 1 }),
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
    // If the model was lost, the ingest continues once a model is loaded.
    if (lostBy(error)) waiting.unshift(next);
    else if (isTaken(error)) showTaken(index, source);
    else if (run.progress.phase !== 'aborted')
      showNotice(error, { text: 'Continue', run: () => add(source, under, next.photographs) });
    setStatus(`Stopped: ${summary(run.progress)}`);
  } finally {
    running = undefined;
    byId('adding', HTMLElement).hidden = true;
    void startNext();
  }
}

const isTaken = (error: unknown): boolean =>
  error instanceof IndexError && error.code === 'INDEX_DUPLICATE_ID';

/** Asks the visitor what to do if the collection already has a folder or a photograph of the same name. */
function showTaken(index: EmbeddingIndex, source: IngestSource): void {
  const ids = index.ids();
  let number = 2;
  while (ids.some((id) => id.startsWith(`${number}/`))) number += 1;
  const error = new IndexError(
    'INDEX_DUPLICATE_ID',
    'The collection already has photographs with these names, perhaps from another folder of this name.',
  );
  showNotice(
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
  if (ignored > 0)
    parts.push(`${ignored.toLocaleString('en')} other ${ignored === 1 ? 'file' : 'files'} skipped`);
  return `${parts.join(', ')}.`;
}

function show(progress: IngestProgress, failures: readonly IngestFailure[]): void {
  const { phase, walking, images, unchanged, added, updated, failed, perSecond, secondsLeft } = progress;
  const done = unchanged + added + updated + failed;
  byId('adding', HTMLElement).hidden = phase !== 'running' && phase !== 'paused';
  setText('adding-what', phase === 'paused' ? 'Paused' : 'Adding photographs');
  pause.textContent = phase === 'paused' ? 'Continue' : 'Pause';
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

/** If a reload interrupted an ingest, shows a notice that offers to continue it. */
export async function offerToGoOn(index: EmbeddingIndex | undefined): Promise<void> {
  unfinished = index && (await unfinishedIngest(index));
  byId('unfinished', HTMLElement).hidden = !unfinished || running !== undefined;
  if (!unfinished) return;
  const { names, handles, images, finished } = unfinished;
  const what = names.length === 1 ? names[0]! : `${names[0]} and ${names.length - 1} more`;
  setText(
    'unfinished-what',
    `${what}: ${finished.toLocaleString('en')} of ${images.toLocaleString('en')} were done. ${handles ? '' : 'Drop the same files or folder again. Photographs that were added already are skipped.'}`,
  );
  byId('unfinished-go', HTMLElement).hidden = !handles;
}

export function startAdding(): void {
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
        'The browser was not allowed to read the folder. Press Continue, and allow it.',
        'NotAllowedError',
      );
    byId('unfinished', HTMLElement).hidden = true;
    add(handles, under);
  } catch (error) {
    showNotice(error);
  }
}

async function forget(): Promise<void> {
  byId('unfinished', HTMLElement).hidden = true;
  unfinished = undefined;
  const index = collection();
  try {
    if (index) await forgetIngest(index);
  } catch (error) {
    showNotice(error);
  }
}
