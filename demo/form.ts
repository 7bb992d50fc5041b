/**
 * The form in which a model is chosen. A model is loaded only when the visitor presses the button, whose text
 * shows the size of the download.
 */
import { byId, choose, chosen, setText } from './dom.js';
import { megabytes } from './format.js';
import {
  downloadBytes,
  modelName,
  sameChoice,
  type CheckpointFiles,
  type ModelChoice,
  type Size,
  type WeightsFrom,
} from './state.js';

const form = byId('model', HTMLFormElement);
const load = byId('load', HTMLButtonElement);
const registers = byId('registers', HTMLInputElement);
let files: CheckpointFiles | undefined;
let usable = true;
let current: ModelChoice | undefined;
let coming: ModelChoice | undefined;

function read(): ModelChoice {
  const weights = chosen('weights') as WeightsFrom;
  return {
    size: chosen('size') as Size,
    registers: registers.checked,
    weights,
    dtype: chosen('dtype') as 'fp32' | 'fp16',
    ...(weights === 'file' ? files : {}),
  };
}

/** Returns the choice in the form, but with the given checkpoint files instead of a hosted model. */
export const choiceOfFiles = (checkpoint: CheckpointFiles): ModelChoice => ({
  ...read(),
  weights: 'file',
  ...checkpoint,
});

/** Sets the fields of the form to the given choice of a model. */
export function setForm(choice: ModelChoice): void {
  choose('size', choice.size);
  choose('weights', choice.weights);
  choose('dtype', choice.dtype);
  registers.checked = choice.registers;
  const { file, config, preprocessor } = choice;
  if (file) files = { file, config, preprocessor };
  refresh();
}

/** Updates the form after a change of the loaded model or of the model that is being loaded. */
export function setLoaded(loaded: ModelChoice | undefined, loading: ModelChoice | undefined): void {
  current = loaded;
  coming = loading;
  refresh();
}

/** Disables the button that loads a model, because the browser has no WebGPU. */
export function setUnusable(): void {
  usable = false;
  refresh();
}

function refresh(): void {
  const choice = read();
  byId('sizes', HTMLFieldSetElement).disabled = choice.weights === 'file';
  byId('choose-weights', HTMLButtonElement).hidden = choice.weights !== 'file';
  setText('hub-hint', `${megabytes(downloadBytes(choice))}, huggingface.co`);
  setText('file-hint', files ? files.file.name : '.safetensors, or drop it');
  const [text, enabled] = wording(choice);
  load.textContent = text;
  load.disabled = !enabled || !usable;
}

function wording(choice: ModelChoice): readonly [text: string, enabled: boolean] {
  if (coming && sameChoice(choice, coming)) return ['Loading…', false];
  if (current && sameChoice(choice, current)) return ['This model is loaded', false];
  if (choice.weights === 'file')
    return choice.file ? [`Load ${choice.file.name}`, true] : ['Choose a file first', false];
  const name = modelName(choice);
  return choice.weights === 'hub'
    ? [`Download ${name} (${megabytes(downloadBytes(choice))})`, true]
    : [`Load ${name}, synthetic`, true];
}

export function startForm(onLoad: (choice: ModelChoice) => void): void {
  form.addEventListener('change', refresh);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!load.disabled) onLoad(read());
  });
  refresh();
}
