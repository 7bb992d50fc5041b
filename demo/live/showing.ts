/**
 * The frame that is shown, what the tab draws over it, and the picks. Everything that uses the features of a
 * frame takes its turn, so that no features are disposed of while they are used.
 */
import { patchAt, type Features, type LiveFrame, type PatchRegion } from '../../src/index.js';
import { byId } from '../shared/dom.js';
import type { Pick, TabName } from './address.js';
import { Frame, type Drawing, type Mode } from './mode.js';
import { pca } from './pca.js';
import { MOST_CLICKS, segments } from './segments.js';
import { addsPicks, similarity } from './similarity.js';
import { describe, hideDrawing, show, thumbnail, toPng } from './stage.js';
import { tracking } from './tracking.js';

const modes: Readonly<Record<TabName, Mode>> = { pca, similarity, segments, tracking };
/** A pick that was taken, with where it was. */
export interface Picked extends Pick {
  readonly region: PatchRegion;
  /** The patches of its frame. */
  readonly grid: { readonly rows: number; readonly cols: number };
  /** The features of its frame. They only tell frames apart: they may be disposed of. */
  readonly frame: object;
}

/** The newest picks are shown as small pictures. */
const MOST_THUMBNAILS = 6;

let tab: TabName = 'pca';
let shown: { readonly frame: Frame; drawing: Drawing | undefined } | undefined;
let picks: Picked[] = [];
/** Picks for a frame that has not come yet: the first one whose number is at least `from`. */
let waiting: (Pick & { readonly from: number })[] = [];
let onPicks: () => void = () => undefined;
let onError: (error: unknown) => void = () => undefined;

/** @param actions `onPicks` is called when the picks change, `onError` when a frame could not be shown */
export function startShowing(actions: { onPicks: () => void; onError: (error: unknown) => void }): void {
  ({ onPicks, onError } = actions);
}

let turn: Promise<unknown> = Promise.resolve();
/** Runs a task after all earlier ones. */
function inTurn<T>(task: () => T | Promise<T>): Promise<T> {
  const mine = turn.then(task);
  turn = mine.catch(() => undefined);
  return mine;
}

/** The features of the frame that is shown. */
export const featuresNow = (): Features | undefined => shown?.frame.features;
export const picksNow = (): readonly Picked[] => picks;

/** Shows the next frame of the video. The page disposes of its features. */
export function present(features: Features, { frame: picture, index }: LiveFrame): Promise<void> {
  return inTurn(async () => {
    const frame = new Frame(features);
    try {
      const now = waiting.filter(({ from }) => index >= from);
      waiting = waiting.filter(({ from }) => index < from);
      await draw(frame, now, picture);
    } finally {
      frame.release(); // `shown` holds it, too
    }
  });
}

/**
 * Picks a point.
 * @param from the number of the frame from which on the pick counts; undefined: the frame that is shown
 */
export function pick(picked: Pick, from?: number): void {
  if (tab === 'pca') return;
  if (from === undefined && shown) reshow([picked]);
  else waiting.push({ ...picked, from: from ?? 0 });
}

/** Draws the frame that is shown again, with another tab or more picks. */
function reshow(now: readonly Pick[] = []): void {
  inTurn(async () => {
    if (shown) await draw(shown.frame, now, undefined);
  }).catch(onError);
}

export function setTab(next: TabName): void {
  if (tab === next) return;
  const before = tab;
  // The colours of PCA stay, so that they are the same when the visitor comes back.
  if (before !== 'pca') inTurn(() => modes[before].clear()).catch(onError);
  tab = next;
  dropPicks();
  hideDrawing();
  reshow();
}

/** Forgets what was picked. On the tab PCA, fits the components again, to the frame that is shown. */
export function clear(): void {
  inTurn(() => modes[tab].clear()).catch(onError);
  dropPicks();
  reshow();
}

/** Forgets everything: before another source or another model is used. Picks for the first frame stay. */
export function forget(): Promise<void> {
  return inTurn(() => {
    if (!shown) return;
    shown.drawing?.dispose();
    shown.frame.release();
    shown = undefined;
    for (const mode of Object.values(modes)) mode.clear();
    dropPicks();
  });
}

/** Draws the same with other options. */
export function redraw(): void {
  inTurn(async () => {
    if (shown) await show(undefined, shown.frame.features, shown.drawing);
  }).catch(onError);
}

/** Encodes what is shown as a PNG file. */
export const still = (): Promise<Blob> => inTurn(() => toPng(shown?.drawing));

/** Computes what the tab shows of a frame, and shows it. `picture`: undefined if it is shown already. */
async function draw(
  frame: Frame,
  given: readonly Pick[],
  picture: LiveFrame['frame'] | undefined,
): Promise<void> {
  const [by, mode] = [tab, modes[tab]];
  const now = [...given];
  if (by === 'similarity' && picks.length + now.length === 0) now.push({ x: 0.5, y: 0.5, on: true });
  const taken: Picked[] = [];
  for (const each of now) {
    const { rows, cols, placements } = frame.features;
    const { width, height } = placements[0]!;
    const patch = patchAt(frame.features, { x: each.x * width, y: each.y * height });
    if (!patch) continue;
    const region = await mode.pick(frame, patch, each.on);
    taken.push({ ...each, region, grid: { rows, cols }, frame: frame.features });
  }
  const drawing = await mode.draw(frame);
  if (by !== tab) return drawing?.dispose(); // the visitor has chosen another tab
  const before = shown;
  shown = { frame: frame.hold(), drawing };
  before?.drawing?.dispose();
  before?.frame.release();
  await show(picture, frame.features, drawing);
  for (const each of taken) keepPick(each);
  // A tracker ends when the number of patches changes.
  if (by === 'tracking' && !drawing && picks.length > 0) dropTaken();
  describe(mode.caption(), drawing !== undefined, mode.range);
}

const thumbnails = byId('picks', HTMLElement);

/** Adds a pick to the list, with a small picture of what was picked. */
function keepPick(each: Picked): void {
  if (tab === 'tracking' || (tab === 'similarity' && !addsPicks())) dropTaken();
  picks = [...picks, each].slice(-MOST_CLICKS);
  thumbnails.append(thumbnail(each, each.on));
  if (thumbnails.childElementCount > MOST_THUMBNAILS) thumbnails.firstElementChild!.remove();
  onPicks();
}

function dropPicks(): void {
  waiting = [];
  dropTaken();
}

/** Forgets the picks of the frames that were shown. */
function dropTaken(): void {
  picks = [];
  thumbnails.replaceChildren();
  onPicks();
}
