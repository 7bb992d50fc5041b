/**
 * The list of search results. All results are in the page; those below a threshold are hidden. The threshold is
 * where the score drops most (cut.ts), unless the visitor moves it.
 */
import { byId, setText } from '../shared/dom.js';
import { changeAddress } from './address.js';
import { countFrom, largestDrop, scoreText, scoreTexts, thresholdOf } from './cut.js';
import { tile, type Tile } from './tiles.js';

const list = byId('results', HTMLElement);
const slider = byId('score', HTMLInputElement);
const controls = byId('results-cut', HTMLElement);
const state = byId('results-state', HTMLElement);
const again = byId('results-again', HTMLButtonElement);
const all = byId('results-all', HTMLButtonElement);
const drop = byId('results-drop', HTMLButtonElement);

interface Action {
  readonly text: string;
  readonly run: () => void;
}

/** Scores of the results, best first. */
let scores: readonly number[] = [];
/** Number of photographs that were compared. */
let compared = 0;
/** The threshold that the visitor has set; undefined to end the list at the largest drop. */
let chosen: number | undefined;

/** Ends the list at this threshold; undefined: at the largest drop. */
export function setThreshold(threshold: number | undefined): void {
  chosen = threshold;
  show();
}

/**
 * Shows results.
 * @param tiles the best results, best first
 * @param photographs number of photographs that were compared
 */
export function showResults(tiles: readonly Tile[], photographs: number, onOpen: (id: string) => void): void {
  scores = tiles.map(({ score }) => score ?? 0);
  compared = photographs;
  list.replaceChildren(...tiles.map((each) => tile(each, onOpen)));
  say(tiles.length > 0 ? undefined : 'The collection contains no other photographs.');
  show();
}

/** Number of results that are shown. */
export const shownResults = (): number => countFrom(scores, threshold());

/** Shows why there are no results, instead of a list, and a button with which the visitor can go on. */
export function showNoResults(message: string, action?: Action): void {
  scores = [];
  list.replaceChildren();
  say(message, action);
  show();
}

/** Empties the list before a search. */
export function clearResults(): void {
  scores = [];
  list.replaceChildren();
  say(undefined);
  show();
}

function say(message: string | undefined, action?: Action): void {
  state.hidden = message === undefined;
  setText('results-message', message ?? '');
  again.hidden = action === undefined;
  again.textContent = action?.text ?? '';
  again.onclick = action?.run ?? null;
}

const threshold = (): number => chosen ?? thresholdOf(scores, largestDrop(scores));

function show(): void {
  controls.hidden = scores.length === 0;
  setText('results-count', '');
  if (scores.length === 0) return;
  const from = threshold();
  const count = countFrom(scores, from);
  for (const [i, item] of [...list.children].entries()) item.toggleAttribute('hidden', i >= count);
  setText(
    'results-count',
    `${count.toLocaleString('en')} of ${compared.toLocaleString('en')} above ${scoreText(from)}`,
  );
  const [best, worst] = [scores[0]!, scores.at(-1)!];
  slider.min = String(Math.floor(100 * worst) / 100);
  slider.max = String(Math.ceil(100 * best) / 100);
  slider.value = String(from);
  setText('score-value', scoreText(Number(from.toFixed(3))));
  const cut = largestDrop(scores);
  all.hidden = count === scores.length;
  all.textContent = scores.length < compared ? `Show the best ${scores.length}` : `Show all ${scores.length}`;
  drop.hidden = chosen === undefined || cut === scores.length;
  setText(
    'results-rule',
    chosen !== undefined
      ? ''
      : cut === scores.length
        ? 'All results are shown, because there are few.'
        : `The list ends where the score drops most: from ${scoreTexts(scores[cut - 1]!, scores[cut]!).join(' to ')}.`,
  );
}

function choose(threshold: number | undefined): void {
  setThreshold(threshold);
  changeAddress({ from: threshold === undefined ? undefined : Number(threshold.toFixed(4)) });
}

export function startResults(): void {
  slider.addEventListener('input', () => choose(Number(slider.value)));
  all.addEventListener('click', () => choose(Math.floor(100 * scores.at(-1)!) / 100));
  drop.addEventListener('click', () => choose(undefined));
}
