/** What the page shows before the first photograph: three steps, each with its buttons. */
import { byId, setText } from '../shared/dom.js';
import { showError } from '../shared/toasts.js';
import { collection, loadedModel, usableModel, whenCollection } from './collection.js';
import { model } from './model.js';
import { loadText, rightModel } from './modelBar.js';
import { choiceInWords } from './modelWords.js';
import { firstChoice } from '../shared/modelChoice.js';

const samples = [
  new URL('../photos/astronaut.png', import.meta.url),
  new URL('../photos/chelsea.png', import.meta.url),
  new URL('../photos/coffee.png', import.meta.url),
  new URL('../photos/rocket.jpg', import.meta.url),
];

/** Reads the sample photographs of the page. */
function readSamples(): Promise<File[]> {
  return Promise.all(
    samples.map(async (url) => {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`${url.pathname}: the server answered ${response.status}.`);
      // The built page adds a hash to the names of its files.
      const name = url.pathname.slice(url.pathname.lastIndexOf('/') + 1).replace(/-[\w-]{8}(?=\.\w+$)/, '');
      return new File([await response.blob()], name, { lastModified: Date.UTC(2020, 0, 1) });
    }),
  );
}

function show(): void {
  const loaded = loadedModel();
  const wanted = rightModel();
  const unable = model.support?.ok === false;
  for (const id of ['first-load', 'first-untrained'])
    byId(id, HTMLElement).hidden = unable || loaded !== undefined || model.loading !== undefined;
  for (const id of ['first-files', 'first-folder', 'first-samples', 'add-files', 'add-folder'])
    byId(id, HTMLButtonElement).disabled = unable;
  if (wanted) setText('first-load', loadText(wanted));
  setText(
    'first-model',
    unable
      ? 'This browser cannot run a model. You can import a collection that another browser has exported.'
      : model.loading
        ? 'It is being loaded.'
        : loaded
          ? `Loaded: ${choiceInWords(loaded.choice)}.`
          : 'The trained model is downloaded once. One without training needs no download, but finds copies only.',
  );
  byId('step-model', HTMLElement).classList.toggle('done', loaded !== undefined);
  const canSearch = (collection()?.size ?? 0) > 0 && usableModel() !== undefined;
  for (const id of ['search-file', 'first-search']) {
    const button = byId(id, HTMLButtonElement);
    button.disabled = !canSearch;
    button.title = canSearch ? '' : 'Needs a model and photographs';
  }
}

/** @param onSamples adds the sample photographs to the collection */
export function startFirst(onSamples: (photographs: File[]) => void): void {
  whenCollection(show);
  model.subscribe(show);
  byId('first-load', HTMLButtonElement).addEventListener('click', () => {
    const wanted = rightModel();
    if (wanted) void model.load(wanted);
  });
  byId('first-untrained', HTMLButtonElement).addEventListener('click', () => void model.load(firstChoice));
  byId('first-samples', HTMLButtonElement).addEventListener('click', () => {
    readSamples().then(onSamples, (error: unknown) =>
      showError('samples', 'The sample photographs could not be read.', error),
    );
  });
}
