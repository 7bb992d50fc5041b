/**
 * The bar that says why photographs cannot be added: no model is loaded, or the loaded model is not the one
 * that made the collection. Its button loads the right model.
 */
import { byId, setText } from '../shared/dom.js';
import { megabytes } from '../shared/format.js';
import { downloadBytes, firstChoice, type ModelChoice } from '../shared/modelChoice.js';
import { collection, loadedModel, otherModel, whenCollection } from './collection.js';
import { model } from './model.js';
import { choiceFor, choiceInWords, madeByInWords } from './modelWords.js';
import { count } from './photos.js';

const bar = byId('model-bar', HTMLElement);
const load = byId('model-bar-load', HTMLButtonElement);
const untrained = byId('model-bar-untrained', HTMLButtonElement);

/** What a new collection is made with, unless the visitor chooses otherwise. */
const trained: ModelChoice = { ...firstChoice, weights: 'hub' };

let wanted: ModelChoice | undefined;
let waiting = 0;
/** The text of the bar that the visitor has dismissed. */
let dismissed = '';

/** Says how to load a model: with the size of its download, if it has one. */
export const loadText = (choice: ModelChoice): string =>
  `Load ${choiceInWords(choice)}${choice.weights === 'hub' ? ` (${megabytes(downloadBytes(choice))})` : ''}`;

/** The model that made the collection or, without a collection, the one that is recommended. */
export function rightModel(): ModelChoice | undefined {
  const index = collection();
  return index ? choiceFor(index.header) : trained;
}

/** Sets the number of photographs that wait for a model. -1: an unknown number, in a folder. */
export function setWaiting(photographs: number): void {
  waiting = photographs;
  show();
}

function words(): readonly [title: string, text: string] | undefined {
  const index = collection();
  const loaded = loadedModel();
  const other = otherModel();
  const wait =
    waiting === 0
      ? ''
      : `${waiting < 0 ? 'Your photographs wait' : waiting === 1 ? '1 photograph waits' : `${count(waiting)} wait`} for`;
  if (other && index) {
    const [made, now] = [madeByInWords(index.header), loaded ? choiceInWords(loaded.choice) : 'none'];
    const same = other.fingerprint === index.header.model?.fingerprint;
    const rest = `The photographs of the collection can be searched, but none can be added${wait ? `: ${wait} the right model` : ''}.`;
    return [
      `This collection was made with ${made}${same ? ', and with other settings' : ''}.`,
      `${same ? `${index.header.model!.preprocessing} instead of ${other.preprocessing}.` : `Loaded is ${made === now ? 'another model of this name' : now}.`} ${rest}`,
    ];
  }
  if (waiting !== 0 && !loaded)
    return [`${wait} a model.`, index ? `The collection was made with ${madeByInWords(index.header)}.` : ''];
  return undefined;
}

function show(): void {
  const said = words();
  const isLoading = model.loading !== undefined;
  bar.hidden = !said || isLoading || said.join(' ') === dismissed;
  if (!said) {
    dismissed = '';
    return;
  }
  wanted = rightModel();
  const there = loadedModel()?.choice;
  const isThere = there && wanted && choiceInWords(there) === choiceInWords(wanted);
  setText('model-bar-title', said[0]);
  setText('model-bar-text', said[1]);
  load.hidden = !wanted || Boolean(isThere);
  if (wanted) load.textContent = loadText(wanted);
  else setText('model-bar-text', `${said[1]} Drop that file on the page to load it.`);
  untrained.hidden = collection() !== undefined || there !== undefined;
}

export function startModelBar(): void {
  whenCollection(show);
  model.subscribe(show);
  load.addEventListener('click', () => void (wanted && model.load(wanted)));
  untrained.addEventListener('click', () => void model.load(firstChoice));
  byId('model-bar-dismiss', HTMLButtonElement).addEventListener('click', () => {
    dismissed = words()?.join(' ') ?? '';
    show();
  });
}
