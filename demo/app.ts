/**
 * The state and the actions of the page: loads a model, reads a picture, computes its features and draws
 * them. If an action starts while the same kind of action is running, the running one is aborted.
 */
import { DINOv2, DINOv2Error, type Features } from '../src/index.js';
import { gridOf, inputText } from './crop.js';
import { byId, choose, chosen, setText } from './dom.js';
import { decode, loadModel, paint, run, warmMs } from './engine.js';
import { setForm, setLoaded } from './form.js';
import { keepOwn } from './inputs.js';
import { Latest } from './latest.js';
import { dismiss, showNotice } from './notices.js';
import { drawPhoto, pcaCanvas, setBusy, setEmpty } from './pictures.js';
import { clearSimilarity, useFeatures } from './similarity.js';
import { snippet } from './snippet.js';
import {
  firstChoice,
  modelName,
  type InputSize,
  type Loaded,
  type ModelChoice,
  type Picture,
} from './state.js';
import * as view from './view.js';

const loads = new Latest();
const decodes = new Latest();
const runs = new Latest();
let loaded: Loaded | undefined;
let picture: Picture | undefined;
/** The features on the screen, and the model, picture and input size from which they were computed. */
let shown: { features: Features; loaded: Loaded; picture: Picture; input: InputSize } | undefined;
/** Sizes of patch grids for which the model has already run a forward pass. */
let warm = new Set<string>();

const foreground = byId('foreground', HTMLInputElement);
const input = (): InputSize => (chosen('input') === 'crop' ? 'crop' : (Number(chosen('input')) as InputSize));
/**
 * If the first forward pass for a grid size takes less than this time in ms, the page repeats the pass at
 * once and shows the time of the second, warm pass.
 */
const QUICK_MS = 400;

export const currentModel = (): Loaded | undefined => loaded;
export const currentPicture = (): Picture | undefined => picture;

export async function load(choice: ModelChoice): Promise<void> {
  setForm(choice);
  setLoaded(loaded?.choice, choice);
  view.showLoading(choice);
  view.setStatus(`Loading ${modelName(choice)}.`);
  if (!loaded) setEmpty('Loading the model');
  try {
    const next = await loads.start((signal) =>
      loadModel(DINOv2, choice, signal, (progress) => void (signal.aborted || view.showProgress(progress))),
    );
    if (next) become(next);
    else if (loads.busy)
      return; // a newer load is shown instead
    else
      view.setStatus(
        `Cancelled. ${loaded ? `${modelName(loaded.choice)} is still loaded.` : 'No model is loaded.'}`,
      );
  } catch (error) {
    view.setStatus('The model could not be loaded.');
    showNotice('model', error, { text: 'Try again', run: () => void load(choice) });
  }
  view.hideLoading(loaded);
  setLoaded(loaded?.choice, undefined);
  if (loaded) setForm(loaded.choice);
  else setEmpty('No model is loaded');
}

export function cancelLoad(): void {
  loads.abort();
}

/**
 * Replaces the model on the page. The previous model is kept until the next model is loaded, so that a failed
 * load loses nothing.
 */
function become(next: Loaded): void {
  const before = loaded;
  loaded = next;
  warm = new Set();
  dismiss('model');
  view.setStatus(`${modelName(next.choice)} is loaded.`);
  view.showModel(next);
  setText('input-hint', inputText(next.model.preprocessing));
  view.showAdapter(next.model.adapter);
  view.showMemory(next.model);
  void next.model.device.lost.then(({ message }) => {
    if (loaded === next)
      lose(new DINOv2Error('DEVICE_LOST', `The GPU device was lost. ${message} Load the model again.`));
  });
  before?.model.dispose();
  void show();
}

/** Resets the page after the GPU device of the model was lost. */
function lose(error: unknown): void {
  const choice = loaded?.choice ?? firstChoice;
  loaded?.model.dispose();
  shown?.features.dispose();
  loaded = shown = undefined;
  runs.abort();
  setBusy(false);
  clearSimilarity();
  setEmpty('The GPU was lost');
  view.setResult(false);
  setLoaded(undefined, undefined);
  view.hideLoading(undefined);
  view.setStatus('The GPU was lost.');
  showNotice('model', error, { text: 'Load the model again', run: () => void load(choice) });
}

/** Reads a picture and shows it. `choice` is the value of the picture's radio button. */
export async function take(choice: string, read: () => Promise<{ blob: Blob; name: string }>): Promise<void> {
  try {
    const next = await decodes.start(async (signal) => {
      const { blob, name } = await read();
      const bitmap = await decode(blob, loaded?.model);
      if (signal.aborted) bitmap.close();
      return { blob, name, bitmap };
    });
    if (!next) return;
    const { blob, name, bitmap } = next;
    if (choice === 'own') keepOwn(blob, name);
    picture?.bitmap.close();
    picture = { name, bitmap, choice };
    dismiss('picture');
  } catch (error) {
    if (picture) choose('sample', picture.choice);
    showNotice('picture', error);
    return;
  }
  await show();
}

/** Draws the current picture and, if a model is loaded, its features. */
export async function show(): Promise<void> {
  if (!picture) return;
  const [now, size] = [picture, input()];
  const { preprocessing, config } = loaded?.model ?? {};
  const { width, height } = now.bitmap;
  drawPhoto(now, size, gridOf(width, height, size, config?.patchSize ?? 14, preprocessing), preprocessing);
  setText('code', snippet(loaded?.choice ?? firstChoice, size, foreground.checked));
  if (!loaded) return;
  const by = loaded;
  try {
    await runs.start(async (signal) => {
      const quick = await compute(by, now, size, signal);
      const { features } = shown!;
      const found = await paint(features, foreground.checked, pcaCanvas, signal);
      signal.throwIfAborted();
      present(features, now.name, foreground.checked && !found);
      await useFeatures(features, signal);
      await view.showPlan(by.model, features);
      view.showMemory(by.model);
      if (quick) await timeAgain(by, now, size, signal);
    });
  } catch (error) {
    if (error instanceof DINOv2Error && error.code === 'DEVICE_LOST') return lose(error);
    setEmpty('No features');
    view.setResult(false);
    view.setStatus('The features could not be computed.');
    showNotice('features', error, { text: 'Try again', run: () => void show() });
  } finally {
    if (!runs.busy) setBusy(false);
  }
}

/**
 * Computes the features of a picture with a model and an input size, and stores them in `shown`. Returns true
 * if this was the first forward pass for this grid size and took less than `QUICK_MS`: the caller then
 * repeats the pass to measure a warm one.
 */
async function compute(by: Loaded, now: Picture, size: InputSize, signal: AbortSignal): Promise<boolean> {
  if (shown?.loaded === by && shown.picture === now && shown.input === size) return false;
  view.setStatus(`Computing the features of ${now.name}.`);
  setEmpty('');
  clearSimilarity();
  setBusy(true); // shows the photograph until the features fade in over it
  const { features, forwardMs } = await run(by.model, now, size, signal);
  shown?.features.dispose();
  shown = { features, loaded: by, picture: now, input: size };
  const grid = `${features.rows} × ${features.cols}`;
  const first = !warm.has(grid);
  warm.add(grid);
  view.showGrid(features);
  view.showForward(forwardMs, first ? 'first run' : 'warm');
  return first && forwardMs < QUICK_MS;
}

function present({ rows, cols }: Features, name: string, noForeground: boolean): void {
  const grid = `${rows} × ${cols} patches`;
  setBusy(false);
  setEmpty('');
  view.setResult(true);
  dismiss('features');
  pcaCanvas.setAttribute(
    'aria-label',
    `Features of ${name}: ${grid}, coloured by their principal components`,
  );
  setText(
    'pca-caption',
    noForeground
      ? `${grid}; no foreground was found, so all are coloured`
      : `${grid}, principal components as red, green, blue`,
  );
  view.setStatus(`Done: ${grid} of ${name}, coloured by their features.`);
}

/** Repeats the forward pass for the picture on the screen, to measure how long a forward pass takes. */
export async function measure(): Promise<void> {
  if (!shown) return;
  const { loaded: by, picture: now, input: size } = shown;
  view.setStatus('Measuring the forward pass.');
  try {
    await runs.start((signal) => timeAgain(by, now, size, signal));
  } catch (error) {
    if (error instanceof DINOv2Error && error.code === 'DEVICE_LOST') return lose(error);
    showNotice('features', error);
  }
}

async function timeAgain(by: Loaded, now: Picture, size: InputSize, signal: AbortSignal): Promise<void> {
  const { ms, runs: count } = await warmMs(by.model, now, size, signal);
  view.showForward(ms, count > 1 ? `median of ${count}` : 'warm');
  view.setStatus(
    `Done: ${count === 1 ? 'one run' : `${count} runs`}, measured from the decoded picture to reading the class token.`,
  );
}
