/**
 * The line that shows a page's model: its name, the progress of a load, and the offer of trained weights. All
 * of these take the same place, so that nothing on the page moves.
 */
import { byId, setText } from './dom.js';
import { adapterName, megabytes } from './format.js';
import type { ModelState, PageModel } from './model.js';
import { downloadBytes, dtypeNames, modelName, type ModelChoice } from './modelChoice.js';
import { startModelForm } from './modelForm.js';
import { recall, remember } from './storage.js';

const DISMISSED = 'untrained is fine';

const trained = ({ weights }: ModelChoice): string =>
  ({ synthetic: 'not trained', hub: 'trained', file: 'your file' })[weights];

/** Connects the line and its form with the state of a page's model. */
export function startModelLine<Model extends PageModel>(state: ModelState<Model>): void {
  const line = byId('model-line', HTMLElement);
  const bar = byId('loading-bar', HTMLProgressElement);
  const offer = byId('model-offer', HTMLElement);
  const show = (): void => {
    const { loaded, loading, support } = state;
    const shown = state.choice;
    line.dataset['state'] = loading ? 'loading' : loaded ? 'loaded' : support ? 'none' : 'starting';
    byId('loading', HTMLElement).hidden = !loading;
    byId('model-open', HTMLButtonElement).hidden = loading !== undefined;
    offer.hidden = loading !== undefined || !state.offer || recall(DISMISSED) !== undefined;
    if (state.offer) setText('trained-size', megabytes(downloadBytes(state.offer)));
    setText('model-name', loaded ? modelName(shown) : support?.ok === false ? 'No WebGPU' : 'No model');
    setText('model-weights', loaded ? trained(shown) : '');
    setText('model-dtype', loaded ? dtypeNames[loaded.model.dtype ?? shown.dtype] : '');
    if (loading) {
      const { progress } = loading;
      const share = progress && shareOf(progress);
      if (share === undefined) bar.removeAttribute('value');
      else bar.value = share;
      setText('loading-what', `Loading ${modelName(loading.choice)}`);
      setText(
        'loading-bytes',
        progress?.totalBytes
          ? `${megabytes(progress.loadedBytes)} of ${megabytes(progress.totalBytes)}`
          : progress?.totalTensors
            ? `${progress.loadedTensors} of ${progress.totalTensors} tensors`
            : '',
      );
    }
    if (support?.adapter) setText('adapter', `Runs on ${adapterName(support.adapter)}.`);
    announce(
      loading ? `Loading ${modelName(loading.choice)}` : loaded ? `${modelName(shown)} is loaded` : '',
    );
  };
  state.subscribe(show);
  byId('cancel', HTMLButtonElement).addEventListener('click', () => state.cancel());
  byId('load-trained', HTMLButtonElement).addEventListener('click', () => {
    if (state.offer) void state.load(state.offer);
  });
  byId('offer-dismiss', HTMLButtonElement).addEventListener('click', () => {
    remember(DISMISSED, 'yes');
    offer.hidden = true;
    byId('model-open', HTMLButtonElement).focus();
  });
  startModelForm(state);
}

/** Says to a screen reader what has changed, once. */
function announce(text: string): void {
  const status = byId('model-status', HTMLElement);
  if (status.textContent !== text) status.textContent = text;
}

const shareOf = ({
  loadedBytes,
  totalBytes,
  loadedTensors,
  totalTensors,
}: {
  readonly loadedBytes: number;
  readonly totalBytes?: number | undefined;
  readonly loadedTensors: number;
  readonly totalTensors?: number | undefined;
}): number | undefined => {
  if (totalBytes) return loadedBytes / totalBytes;
  return totalTensors ? loadedTensors / totalTensors : undefined;
};
