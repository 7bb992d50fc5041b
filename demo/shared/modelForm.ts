/**
 * The form in which a model is chosen. It opens below the model line. A model is loaded only when the visitor
 * presses the button, whose text shows the size of the download.
 */
import { byId, choose, chosen, setText } from './dom.js';
import { megabytes } from './format.js';
import type { ModelState, PageModel } from './model.js';
import {
  checkpointAmong,
  downloadBytes,
  modelName,
  sameChoice,
  type CheckpointFiles,
  type ModelChoice,
  type Size,
  type WeightsFrom,
} from './modelChoice.js';

let files: CheckpointFiles | undefined;

function read(): ModelChoice {
  const weights = chosen('weights') as WeightsFrom;
  return {
    size: chosen('size') as Size,
    registers: byId('registers', HTMLInputElement).checked,
    weights,
    dtype: chosen('dtype') as ModelChoice['dtype'],
    classes: byId('with-classes', HTMLInputElement).checked,
    ...(weights === 'file' ? files : {}),
  };
}

/** Returns the choice of a checkpoint that the visitor dropped on the page. */
export const choiceOfFiles = (checkpoint: CheckpointFiles): ModelChoice => ({
  ...read(),
  weights: 'file',
  ...checkpoint,
});

function fill(choice: ModelChoice): void {
  const { size, weights, dtype, registers, classes = false, file, config, preprocessor } = choice;
  choose('size', size);
  choose('weights', weights);
  choose('dtype', dtype);
  byId('registers', HTMLInputElement).checked = registers;
  byId('with-classes', HTMLInputElement).checked = classes;
  if (file) files = { file, config, preprocessor };
}

export function startModelForm<Model extends PageModel>(state: ModelState<Model>): void {
  const panel = byId('model-panel', HTMLElement);
  const load = byId('load', HTMLButtonElement);
  const input = byId('weights-file', HTMLInputElement);
  const open = byId('model-open', HTMLButtonElement);
  const refresh = (): void => {
    const choice = read();
    byId('sizes', HTMLFieldSetElement).disabled = choice.weights === 'file';
    byId('with-classes', HTMLInputElement).disabled = choice.weights !== 'hub';
    byId('choose-weights', HTMLButtonElement).hidden = choice.weights !== 'file';
    setText('hub-hint', `${megabytes(downloadBytes(choice))}, huggingface.co`);
    setText('file-hint', files ? files.file.name : '.safetensors, or drop it');
    const [text, enabled] = wording(choice, state);
    load.textContent = text;
    load.disabled = !enabled || state.support?.ok === false;
  };

  panel.addEventListener('beforetoggle', (event) => {
    if (event.newState !== 'open') return;
    fill(state.choice);
    refresh();
    const { left, bottom } = open.getBoundingClientRect();
    panel.style.setProperty('--left', `${left}px`);
    panel.style.setProperty('--top', `${bottom + 6}px`);
  });
  byId('model', HTMLFormElement).addEventListener('change', refresh);
  byId('model', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    if (load.disabled) return;
    panel.hidePopover();
    void state.load(read());
  });
  byId('choose-weights', HTMLButtonElement).addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    files = checkpointAmong([...(input.files ?? [])]) ?? files;
    input.value = ''; // so that choosing the same file again fires `change` again
    refresh();
  });
  let before = state.choice;
  state.subscribe(() => {
    if (state.choice !== before) fill((before = state.choice));
    refresh();
  });
  fill(state.choice);
  refresh();
}

function wording<Model extends PageModel>(
  choice: ModelChoice,
  { loaded, loading }: ModelState<Model>,
): readonly [text: string, enabled: boolean] {
  if (loading && sameChoice(choice, loading.choice)) return ['Loading…', false];
  if (loaded && sameChoice(choice, loaded.choice)) return ['This model is loaded', false];
  if (choice.weights === 'file')
    return choice.file ? [`Load ${choice.file.name}`, true] : ['Choose a file first', false];
  const name = modelName(choice);
  return choice.weights === 'hub'
    ? [`Download ${name} (${megabytes(downloadBytes(choice))})`, true]
    : [`Load ${name}, not trained`, true];
}
