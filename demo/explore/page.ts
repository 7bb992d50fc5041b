/**
 * The state of the page and its actions: computes the features of the picture, and draws what the chosen tab
 * shows. An action that starts while one of the same kind is running aborts the running one.
 */
import { DINOv2, PatchSimilarity, type PatchPosition } from '../../src/index.js';
import { gridOf } from '../shared/crop.js';
import { byId, choose, setText } from '../shared/dom.js';
import { duration, shortName } from '../shared/format.js';
import { Latest } from '../shared/latest.js';
import { ModelState } from '../shared/model.js';
import type { Loaded } from '../shared/modelChoice.js';
import { decode, type InputSize, type Picture } from '../shared/picture.js';
import { dismiss, showError } from '../shared/toasts.js';
import { writeAddress, type TabName } from './address.js';
import { drawAttention, hasAttention, prepareAttention, type AttentionChoice } from './attention.js';
import { clearClasses, showClasses } from './classes.js';
import { code } from './code.js';
import { run, warmMs } from './forward.js';
import { drawPhoto, isSmooth, present, setBusy, setEmpty, type Drawn } from './frame.js';
import { drawPca, hasPca, preparePca } from './pca.js';
import { keepOwn } from './photos.js';
import { middle, within, type Origin, type Result } from './result.js';
import { drawSegments, hasSegments, prepareSegments, type Point } from './segments.js';
import { drawSimilarity } from './similarity.js';

/** What the visitor has chosen. */
export interface Choices {
  tab: TabName;
  input: InputSize;
  /** The chosen patch; undefined: the page takes the one in the middle. */
  patch: PatchPosition | undefined;
  query: 'cls' | 'patch';
  head: number | 'mean';
  /** The block whose attention is shown, counted from 0; -1 is the last. */
  block: number;
  foreground: boolean;
  /** The clicks of the tab Segments. */
  points: readonly Point[];
}

export const choices: Choices = {
  tab: 'pca',
  input: 'crop',
  patch: undefined,
  query: 'cls',
  head: 'mean',
  block: -1,
  foreground: false,
  points: [],
};

/** If a forward pass of a new size takes less than this time in ms, the page measures warm ones. */
const QUICK_MS = 400;
/** Time in ms that the old map may stay while the next one is read. It is shown with its own caption. */
const GRACE_MS = 200;

const decodes = new Latest();
const runs = new Latest();
let picture: Picture | undefined;
let result: Result | undefined;
/** What is being computed. */
let coming: Origin | undefined;
let pointed: PatchPosition | undefined;
/** Sizes of patch grids for which the model has already run a forward pass. */
let warm = new Set<string>();

export const model = new ModelState<DINOv2>(DINOv2, (next) => {
  if (next) warm = new Set();
  else {
    runs.abort();
    result?.features.dispose();
    result = undefined;
  }
  clearClasses(next);
  onModelChange(next);
  if (picture && location.search) remember(); // the size of the model may have changed
  void show();
});
let onModelChange: (next: Loaded | undefined) => void = () => undefined;
/** Calls `listener` with each new model. */
export const whenModel = (listener: (next: Loaded | undefined) => void): void => {
  onModelChange = listener;
};

export const pictureName = (): string => picture?.name ?? 'picture';

/** Reads a picture and shows it. `choice` is the value of the picture's radio button. */
export async function take(choice: string, read: () => Promise<{ blob: Blob; name: string }>): Promise<void> {
  try {
    const next = await decodes.start(async (signal) => {
      const { blob, name } = await read();
      const bitmap = await decode(blob, model.loaded?.model);
      if (signal.aborted) bitmap.close();
      return { blob, name, bitmap };
    });
    if (!next) return;
    const { blob, name, bitmap } = next;
    if (choice === 'own') keepOwn(blob, name);
    picture?.bitmap.close();
    picture = { name, bitmap, choice };
    Object.assign(choices, { patch: undefined, points: [], ...first });
    first = {};
    pointed = undefined;
    dismiss('picture');
  } catch (error) {
    if (picture) choose('sample', picture.choice);
    showError('picture', 'The picture could not be opened.', error);
    return;
  }
  await show();
}
/** The choices in the page's address that belong to the first picture. */
let first: Partial<Choices> = {};
export const setFirst = (given: Partial<Choices>): void => void (first = given);

/** Changes what is shown. */
export function change(changes: Partial<Choices>): void {
  const size = choices.input;
  Object.assign(choices, changes);
  if (choices.input !== size) {
    choices.patch = pointed = undefined;
    choices.points = [];
  }
  remember();
  void show();
}

/** Shows the similarity to the patch at which the visitor points, on the tabs that show similarities. */
export function point(patch: PatchPosition | undefined): void {
  if (patch?.row === pointed?.row && patch?.col === pointed?.col) return;
  pointed = patch;
  if (!draw() && result) void show();
}

export const pointedPatch = (): PatchPosition | undefined => pointed;

/** Moves the chosen patch, or the one in the middle. */
export function move(down: number, right: number): void {
  if (!result) return;
  const pointing = choices.tab === 'pca' || choices.tab === 'segments';
  const { row, col } = (pointing ? pointed : choices.patch) ?? middle(result);
  const patch = within(result, { row: row + down, col: col + right });
  if (pointing) point(patch);
  else {
    pointed = undefined;
    change({ patch, ...(choices.tab === 'attention' && { query: 'patch' }) });
  }
}

const attentionChoice = (shown: Result): AttentionChoice => ({
  query: choices.query === 'cls' ? 'cls' : patchOf(shown),
  head: choices.head === 'mean' ? 'mean' : Math.min(choices.head, shown.loaded.model.config.numHeads - 1),
});
const patchOf = (shown: Result): PatchPosition => within(shown, choices.patch ?? middle(shown));

/** True if features are of the current picture, model and choices. */
const isCurrent = (features: Origin | undefined): boolean =>
  features !== undefined &&
  features.loaded === model.loaded &&
  features.picture === picture &&
  features.input === choices.input &&
  (features.block === choices.block || choices.tab !== 'attention');

/** Draws what the tab shows. Returns false if something must be computed first. */
function draw(): boolean {
  if (!result || !isCurrent(result)) return false;
  const drawn = drawnOf(result);
  if (drawn) present(drawn);
  return drawn !== undefined;
}

function drawnOf(shown: Result): Drawn | undefined {
  const { tab, foreground } = choices;
  if (tab === 'attention') {
    const choice = attentionChoice(shown);
    return hasAttention(shown, choice) ? drawAttention(shown, choice) : undefined;
  }
  if (tab === 'segments') {
    return hasSegments(shown, choices.points) ? drawSegments(shown, choices.points, pointed) : undefined;
  }
  if (pointed) return drawSimilarity(shown, within(shown, pointed));
  if (tab === 'similarity') return drawSimilarity(shown, patchOf(shown));
  return hasPca(shown, foreground) ? drawPca() : undefined;
}

/** Draws the current picture and, if a model is loaded, what the tab shows of its features. */
export async function show(): Promise<void> {
  if (!picture) return;
  const [now, by, input] = [picture, model.loaded, choices.input];
  const { width, height } = now.bitmap;
  const { preprocessing, config } = by?.model ?? {};
  const isNew = !isCurrent(result);
  byId('save', HTMLButtonElement).disabled = isNew;
  showCode();
  if (isNew && isCurrent(coming)) return; // what is chosen now is drawn when these features are there
  if (isNew) {
    const grid = gridOf(width, height, input, config?.patchSize ?? 14, preprocessing);
    drawPhoto(now, input, grid, preprocessing);
    setText('status', '\u00a0'); // keeps the height of the line
  }
  if (!by) {
    if (model.loading || !model.support) setBusy('Loading the model…');
    else setEmpty('No model is loaded');
    return;
  }
  if (!isNew && draw()) {
    runs.abort();
    showItsClasses();
    return;
  }
  let late: ReturnType<typeof setTimeout> | undefined;
  if (isNew) setBusy(`Computing the features of ${shortName(now.name)}…`);
  else late = setTimeout(() => setBusy('Reading the features…'), GRACE_MS);
  const origin = { loaded: by, picture: now, input, block: choices.block };
  coming = isNew ? origin : undefined;
  try {
    await runs.start(async (signal) => {
      const forwardMs = isNew ? await compute(origin, signal) : undefined;
      await prepare(result!, signal);
      clearTimeout(late);
      draw();
      showCode();
      dismiss('features');
      byId('save', HTMLButtonElement).disabled = false;
      if (forwardMs !== undefined && forwardMs < QUICK_MS) {
        const ms = await warmMs(by.model, now, input, signal);
        if (!signal.aborted) showFigures(result!, ms, '');
      }
    });
  } catch (error) {
    if (model.lostBy(error)) return;
    setEmpty('No features');
    showError('features', `The features of ${shortName(now.name)} could not be computed.`, error, {
      text: 'Try again',
      run: () => void show(),
    });
  } finally {
    clearTimeout(late);
    if (coming === origin) coming = undefined;
  }
  showItsClasses(); // last, so that the times above are those of the forward pass alone
}

function showItsClasses(): void {
  if (result && isCurrent(result)) void showClasses(result, (error) => model.lostBy(error));
}

/** Computes what the tab draws. If the visitor chooses something else meanwhile, computes that too. */
async function prepare(shown: Result, signal: AbortSignal): Promise<void> {
  const { rows, cols } = shown.features;
  // An address may have points that this picture does not have.
  choices.points = choices.points.filter(({ row, col }) => row < rows && col < cols);
  while (!drawnOf(shown)) {
    if (choices.tab === 'attention') await prepareAttention(shown, attentionChoice(shown), signal);
    else if (choices.tab === 'segments') await prepareSegments(shown, choices.points, signal);
    else await preparePca(shown, choices.foreground, signal);
    signal.throwIfAborted();
  }
}

/** Computes the features, and returns the time if this was the first forward pass of this size. */
async function compute(origin: Origin, signal: AbortSignal): Promise<number | undefined> {
  const { loaded, picture: of, input, block } = origin;
  const { features, forwardMs } = await run(loaded.model, of, input, block, signal);
  try {
    const similarity = await PatchSimilarity.read(features);
    signal.throwIfAborted();
    result?.features.dispose();
    result = { ...origin, features, similarity };
    coming = undefined;
  } catch (error) {
    features.dispose();
    throw error;
  }
  const grid = `${features.rows} × ${features.cols}`;
  const isFirst = !warm.has(grid);
  warm.add(grid);
  showFigures(result, forwardMs, isFirst ? ' (the first of this size)' : '');
  return isFirst ? forwardMs : undefined;
}

function showFigures({ features, loaded }: Result, ms: number, remark: string): void {
  const { rows, cols, numTokens } = features;
  const { software } = loaded.model.adapter;
  setText(
    'status',
    [
      `${rows} × ${cols} patches`,
      `${numTokens} tokens`,
      `forward pass ${duration(ms)}${remark}`,
      ...(software ? ['no GPU: the browser emulates one on the processor'] : []),
    ].join(' · '),
  );
}

function showCode(): void {
  const patch = result ? patchOf(result) : { row: 0, col: 0 };
  setText(
    'code',
    code({
      ...choices,
      patch,
      choice: model.choice,
      classes: model.loaded?.model.classifier !== undefined,
      attention: result ? attentionChoice(result) : { query: 'cls', head: 'mean' },
    }),
  );
}

/** Writes the state into the page's address. */
export function remember(): void {
  const { tab, input, patch, query, head, block, points } = choices;
  const choice = model.choice;
  writeAddress({
    photo: picture?.choice === 'own' ? undefined : picture?.choice,
    tab,
    size: choice.weights === 'file' ? undefined : choice.size,
    input,
    patch,
    ...(tab === 'attention' && { query, head, block: block < 0 ? undefined : block }),
    ...(tab === 'segments' && { points }),
    foreground: tab === 'pca' && choices.foreground,
    smooth: isSmooth(),
  });
}
