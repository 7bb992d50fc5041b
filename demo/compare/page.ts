/**
 * The state of the page and its actions: computes the features of the two pictures, and draws what the chosen
 * tab shows. An action that starts while one of the same kind is running aborts the running one.
 */
import { DINOv2 } from '../../src/index.js';
import { gridOf } from '../shared/crop.js';
import { setText } from '../shared/dom.js';
import { duration } from '../shared/format.js';
import { Latest } from '../shared/latest.js';
import { ModelState } from '../shared/model.js';
import type { Picture } from '../shared/picture.js';
import { dismiss, showError } from '../shared/toasts.js';
import { writeAddress, type Input, type SidePatch, type TabName } from './address.js';
import { code } from './code.js';
import { compare, paint, see, type Compared, type Seen, type Selection } from './compute.js';
import { clearDrawing, decimal, draw } from './drawing.js';
import { frames, otherSide, sides, within, type Side } from './frame.js';
import { pairs } from './photos.js';

/** What the visitor has chosen. */
export interface Choices extends Selection {
  readonly tab: TabName;
  readonly input: Input;
  /** The patch that the visitor keeps. */
  readonly patch: SidePatch | undefined;
}

export let choices: Choices = {
  tab: 'matches',
  input: 224,
  count: 30,
  least: 0,
  mutual: true,
  region: undefined,
  patch: undefined,
};

const decodes = { a: new Latest(), b: new Latest() };
const runs = new Latest();
const pictures: Partial<Record<Side, Picture>> = {};
const seen: Partial<Record<Side, Seen>> = {};
let compared: Compared | undefined;
let pointed: SidePatch | undefined;
let onChange: () => void = () => undefined;
/** Calls `listener` after each change of the choices or the pictures. */
export const whenChanged = (listener: () => void): void => void (onChange = listener);

export const model = new ModelState<DINOv2>(DINOv2, (next) => {
  if (!next) {
    runs.abort();
    for (const side of sides) forget(side);
  }
  void show();
});

export const pictureOf = (side: Side): Picture | undefined => pictures[side];

function forget(side: Side): void {
  seen[side]?.features.dispose();
  delete seen[side];
  compared = undefined;
}

/** Reads a picture and shows it in a slot. `choice` is the name of the sample, or `own`. */
export async function take(
  side: Side,
  choice: string,
  read: () => Promise<{ name: string; bitmap: ImageBitmap }>,
): Promise<void> {
  try {
    const next = await decodes[side].start(async (signal) => {
      const { name, bitmap } = await read();
      if (signal.aborted) bitmap.close();
      return { name, bitmap };
    });
    if (!next) return;
    pictures[side]?.bitmap.close();
    pictures[side] = { ...next, choice };
    // The address may have a patch and a region for the first pictures.
    if (seen.a ?? seen.b) choices = { ...choices, patch: undefined, region: undefined };
    pointed = undefined;
    dismiss(`picture-${side}`);
  } catch (error) {
    showError(`picture-${side}`, `The picture for ${side.toUpperCase()} could not be opened.`, error);
    await show();
    return;
  }
  remember();
  await show();
}

/** Exchanges the pictures. Their features stay. */
export function swap(): void {
  if (!pictures.a || !pictures.b) return;
  runs.abort();
  [pictures.a, pictures.b] = [pictures.b, pictures.a];
  const { a, b } = seen;
  delete seen.a;
  delete seen.b;
  if (b) seen.a = b;
  if (a) seen.b = a;
  compared = undefined;
  pointed = undefined;
  const { patch } = choices;
  change({ patch: patch && { ...patch, side: otherSide(patch.side) }, region: undefined });
}

/** Changes what is shown. */
export function change(changes: Partial<Choices>): void {
  const { input } = choices;
  choices = { ...choices, ...changes };
  if (choices.input !== input) {
    choices = { ...choices, patch: undefined, region: undefined };
    pointed = undefined;
  }
  remember();
  void show();
}

/** Sets choices before the first picture. */
export const setFirst = (first: Partial<Choices>): void => void (choices = { ...choices, ...first });

/** Shows what belongs to the patch at which the visitor points. */
export function point(patch: SidePatch | undefined): void {
  if (patch?.side === pointed?.side && patch?.row === pointed?.row && patch?.col === pointed?.col) return;
  pointed = patch;
  drawNow();
}

/** Moves the kept patch, or the one in the middle of a picture. */
export function move(side: Side, down: number, right: number): void {
  if (!isCurrent()) return;
  const { grid } = frames[side];
  const from = choices.patch?.side === side ? choices.patch : middle(side);
  pointed = undefined;
  change({ patch: { side, ...within(grid, { row: from.row + down, col: from.col + right }) } });
}

/** Moves the lower right corner of the region in picture A. */
export function grow(down: number, right: number): void {
  if (!isCurrent() || choices.tab !== 'matches') return;
  const { grid } = frames.a;
  const patch = choices.patch?.side === 'a' ? choices.patch : middle('a');
  const { row, col, rows, cols } = choices.region ?? { row: patch.row, col: patch.col, rows: 1, cols: 1 };
  pointed = undefined;
  change({
    patch: undefined,
    region: {
      row,
      col,
      rows: Math.min(grid.rows - row, Math.max(1, rows + down)),
      cols: Math.min(grid.cols - col, Math.max(1, cols + right)),
    },
  });
}

const middle = (side: Side): SidePatch => {
  const { rows, cols } = frames[side].grid;
  return { side, row: rows >> 1, col: cols >> 1 };
};

const isSeen = (side: Side): boolean => {
  const { [side]: of } = seen;
  return of?.picture === pictures[side] && of?.loaded === model.loaded && of?.input === choices.input;
};
/** True if the result is of the current pictures, model and size. */
const isCurrent = (): boolean =>
  compared !== undefined && sides.every((side) => isSeen(side) && compared![side] === seen[side]);

/** Draws what the tab shows. Returns false if something must be computed first. */
function drawNow(): boolean {
  if (!isCurrent() || (choices.tab === 'pca' && !compared!.colours)) return false;
  const patch = pointed ?? choices.patch ?? (choices.tab === 'similarity' ? middle('a') : undefined);
  const about = pairs.find(({ a, b }) => a === pictures.a?.choice && b === pictures.b?.choice)?.about ?? '';
  draw(compared!, {
    ...choices,
    about,
    patch: patch && { side: patch.side, ...within(frames[patch.side].grid, patch) },
  });
  return true;
}

/** Draws the pictures and, if a model is loaded, what the tab shows of them. */
export async function show(): Promise<void> {
  showCode();
  onChange();
  if (drawNow()) {
    runs.abort();
    return;
  }
  const { loaded } = model;
  const isNew = !isCurrent();
  clearDrawing();
  if (isNew) {
    setText('overall', '–');
    setText('status', ' ');
    drawPhotos();
  }
  if (sides.some((side) => !pictures[side] || decodes[side].busy)) {
    runs.abort();
    for (const side of sides) frames[side].setBusy('Opening the pictures…');
    return;
  }
  if (!loaded) {
    const text = model.loading || !model.support ? 'Loading the model…' : '';
    for (const side of sides)
      if (text === '') frames[side].setEmpty('No model is loaded');
      else frames[side].setBusy(text);
    return;
  }
  try {
    await runs.start(async (signal) => {
      if (isNew) await compute(signal);
      if (choices.tab === 'pca' && !compared!.colours) {
        for (const side of sides) frames[side].setBusy('Computing the colours…');
        await paint(compared!, signal);
      }
      signal.throwIfAborted();
      drawNow();
      showCode();
      dismiss('features');
    });
  } catch (error) {
    if (model.lostBy(error)) return;
    for (const side of sides) frames[side].setEmpty('Not compared');
    showError('features', 'The pictures could not be compared.', error, {
      text: 'Try again',
      run: () => void show(),
    });
  }
}

function drawPhotos(): void {
  for (const side of sides) {
    const picture = pictures[side];
    if (!picture) continue;
    const { width, height } = picture.bitmap;
    frames[side].drawPhoto(
      picture,
      gridOf(width, height, choices.input, model.loaded?.model.config.patchSize ?? 14),
    );
  }
}

/** Computes the features that are missing, and compares. */
async function compute(signal: AbortSignal): Promise<void> {
  const [loaded, { input }] = [model.loaded!, choices];
  for (const side of sides)
    frames[side].setBusy(isSeen(side) ? 'Ready, waiting for the other…' : 'Waiting for the other…');
  for (const side of sides) {
    if (isSeen(side)) continue;
    frames[side].setBusy('Computing the features…');
    const next = await see(loaded, pictures[side]!, input, signal);
    forget(side);
    seen[side] = next;
    frames[side].setBusy('Ready, waiting for the other…');
  }
  for (const side of sides) frames[side].setBusy('Comparing all patches…');
  const { a, b } = seen;
  const result = await compare(a!, b!, signal);
  signal.throwIfAborted();
  compared = result;
  setText('overall', decimal(compared.overall));
  const grids = [a!, b!].map(({ features }) => `${features.rows} × ${features.cols}`).join(' and ');
  const { software } = loaded.model.adapter;
  setText(
    'status',
    `${grids} patches · forward passes ${duration(a!.forwardMs)} and ${duration(b!.forwardMs)}` +
      (software ? ' · no GPU: the browser emulates one on the processor' : ''),
  );
}

const showCode = (): void => setText('code', code(choices, model.choice));

/** Writes the state into the page's address. */
export function remember(): void {
  const { choice } = model;
  const { tab, count, least, mutual, region, ...others } = choices;
  writeAddress({
    ...others,
    tab,
    a: nameOf('a'),
    b: nameOf('b'),
    size: choice.weights === 'file' ? undefined : choice.size,
    ...(tab === 'matches' && { count, least, mutual, region }),
  });
}

const nameOf = (side: Side): string | undefined =>
  pictures[side]?.choice === 'own' ? undefined : pictures[side]?.choice;
