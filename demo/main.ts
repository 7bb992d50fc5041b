/** Connects the controls of the page with their actions, and starts the page. */
import { checkSupport } from '../src/index.js';
import { cancelLoad, currentModel, currentPicture, load, measure, show, take } from './app.js';
import { startCamera } from './camera.js';
import { byId, chosen } from './dom.js';
import { choiceOfFiles, setUnusable, startForm } from './form.js';
import { sample, startInputs } from './inputs.js';
import { showNotice, startNotices } from './notices.js';
import { setEmpty, startPictures, toPng } from './pictures.js';
import { firstChoice, modelName } from './state.js';
import { startSimilarity } from './similarity.js';
import { startTheme } from './theme.js';
import { setStatus, showAdapter, showUnsupported } from './view.js';

const click = (id: string, run: () => void): void =>
  byId(id, HTMLButtonElement).addEventListener('click', run);
const takeOwn = (blob: Blob, name: string): void => void take('own', async () => ({ blob, name }));
const takeSample = (): void => void take(chosen('sample'), () => sample(chosen('sample')));

startNotices();
startTheme();
startPictures();
startSimilarity();
startForm((choice) => void load(choice));
startInputs({ onPicture: takeOwn, onWeights: (checkpoint) => void load(choiceOfFiles(checkpoint)) });
startCamera((still) => takeOwn(still, 'camera'));
byId('samples', HTMLElement).addEventListener('change', takeSample);
for (const id of ['input', 'foreground']) byId(id, HTMLElement).addEventListener('change', () => void show());
click('cancel', cancelLoad);
click('load-trained', () => void load({ ...(currentModel()?.choice ?? firstChoice), weights: 'hub' }));
click('measure', () => void measure());
click('save', () => void save());
click('copy', () => void copy());

async function save(): Promise<void> {
  try {
    const url = URL.createObjectURL(await toPng());
    const link = document.createElement('a');
    const [picture, model] = [currentPicture()?.name ?? 'picture', currentModel()];
    link.download = `${[picture.replace(/\.\w+$/, ''), model ? modelName(model.choice) : '', 'pca']
      .join('-')
      .replace(/[^\w-]+/g, '-')
      .toLowerCase()}.png`;
    link.href = url;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  } catch (error) {
    showNotice('page', error);
  }
}

async function copy(): Promise<void> {
  try {
    await navigator.clipboard.writeText(byId('code', HTMLElement).textContent ?? '');
    setStatus('The code was copied.');
  } catch {
    getSelection()?.selectAllChildren(byId('code', HTMLElement));
    setStatus('The browser denied access to the clipboard. The code is selected: copy it with the keyboard.');
  }
}

takeSample();
const support = await checkSupport();
if (support.adapter) showAdapter(support.adapter);
if (support.ok) {
  await load(firstChoice);
} else {
  showUnsupported(support);
  setUnusable();
  setEmpty('No features without WebGPU');
  setStatus('This browser cannot run the model.');
}
