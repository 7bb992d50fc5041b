/** Connects the controls of the page with their actions, and starts the page. */
import type { PatchPosition } from '../../src/index.js';
import { startCamera } from '../shared/camera.js';
import { byId, choose, chosen } from '../shared/dom.js';
import { openFilesWith, sayOnly, startFiles } from '../shared/files.js';
import { choiceOfFiles } from '../shared/modelForm.js';
import { startModelLine } from '../shared/modelLine.js';
import { modelName } from '../shared/modelChoice.js';
import type { InputSize } from '../shared/picture.js';
import { startShell } from '../shared/shell.js';
import { startTabs } from '../shared/tabs.js';
import { showError } from '../shared/toasts.js';
import { showUnsupported } from '../shared/unsupported.js';
import { readAddress, tabs } from './address.js';
import { startFrames, toPng } from './frame.js';
import {
  change,
  choices,
  model,
  move,
  pictureName,
  point,
  pointedPatch,
  remember,
  setFirst,
  take,
  whenModel,
} from './page.js';
import { isSample, readPhoto } from './photos.js';
import { clearSegments, segmenterData, withPoint } from './segments.js';

const input = byId('input', HTMLSelectElement);
const head = byId('head', HTMLSelectElement);
const block = byId('block', HTMLSelectElement);
const address = readAddress();

startShell('./');
startModelLine(model);
const shownTab = startTabs(tabs, (tab) => change({ tab }));

const takeOwn = (blob: Blob, name: string): void => void take('own', async () => ({ blob, name }));
const takeSample = async (): Promise<void> => {
  await take(chosen('sample'), () => readPhoto(chosen('sample')));
};
const takeFiles = startFiles({
  onPictures(given) {
    sayOnly(given, 1);
    takeOwn(given[0]!, given[0]!.name);
  },
  onWeights: (checkpoint) => void model.load(choiceOfFiles(checkpoint)),
});
openFilesWith(byId('choose-picture', HTMLButtonElement), byId('picture-file', HTMLInputElement), takeFiles);
startCamera((still) => takeOwn(still, 'camera'));
byId('samples', HTMLElement).addEventListener('change', () => void takeSample().then(remember));

if (address.smooth) choose('upscale', 'smooth');
startFrames({
  onPoint: point,
  onChoose(patch) {
    const { tab, patch: before } = choices;
    const same = before?.row === patch.row && before.col === patch.col;
    if (tab === 'attention') change({ patch, query: same && choices.query === 'patch' ? 'cls' : 'patch' });
    else if (tab === 'similarity') change({ patch: same ? undefined : patch });
    else if (tab === 'segments') addPoint(patch);
    else change({ tab: 'similarity', patch });
    showControls();
  },
  onMove(down, right) {
    move(down, right);
    showControls();
  },
  onEnter() {
    const patch = pointedPatch();
    if (!patch) return;
    if (choices.tab === 'segments') addPoint(patch);
    else if (choices.tab === 'pca') change({ tab: 'similarity', patch });
    showControls();
  },
  onEscape: release,
});

/** Adds a click, or takes it out. After the first click, the next one is of the other kind. */
function addPoint(patch: PatchPosition): void {
  const on = chosen('click') === 'on';
  const points = withPoint(choices.points, patch, on);
  if (points.length === 1 && points[0]!.on === on) choose('click', on ? 'off' : 'on');
  change({ points });
}

function release(): void {
  point(undefined);
  if (choices.tab === 'similarity' || choices.tab === 'attention') change({ patch: undefined, query: 'cls' });
  showControls();
}

/** Sets the controls to the state of the page. */
function showControls(): void {
  shownTab.show(choices.tab);
  choose('query', choices.query);
  input.value = String(choices.input);
  head.value = String(choices.head);
  block.value = String(choices.block);
  byId('foreground', HTMLInputElement).checked = choices.foreground;
  byId('release', HTMLButtonElement).disabled = choices.patch === undefined;
}

input.addEventListener('change', () =>
  change({ input: input.value === 'crop' ? 'crop' : (Number(input.value) as InputSize) }),
);
head.addEventListener('change', () => change({ head: head.value === 'mean' ? 'mean' : Number(head.value) }));
block.addEventListener('change', () => change({ block: Number(block.value) }));
for (const radio of document.querySelectorAll('input[name="upscale"]'))
  radio.addEventListener('change', remember);
for (const radio of document.querySelectorAll<HTMLInputElement>('input[name="query"]'))
  radio.addEventListener('change', () => change({ query: radio.value === 'cls' ? 'cls' : 'patch' }));
byId('foreground', HTMLInputElement).addEventListener('change', ({ target }) =>
  change({ foreground: (target as HTMLInputElement).checked }),
);
byId('release', HTMLButtonElement).addEventListener('click', release);
byId('clear', HTMLButtonElement).addEventListener('click', () => {
  clearSegments();
  choose('click', 'on');
  change({ points: [] });
});
byId('segmenter', HTMLButtonElement).addEventListener('click', () => {
  const data = segmenterData();
  if (data) download('segmenter.json', new Blob([JSON.stringify(data)], { type: 'application/json' }));
  else
    showError(
      'segmenter',
      'There is no segmenter yet.',
      new Error('Click a part of an object, and a part beside it.'),
    );
});
byId('save', HTMLButtonElement).addEventListener('click', () => void save());
byId('copy', HTMLButtonElement).addEventListener('click', () => void copy());

whenModel((next) => {
  if (!next) return; // the head and the block stay for the next model
  const { numHeads: heads, depth } = next.model.config;
  head.replaceChildren(
    new Option(`mean of ${heads}`, 'mean'),
    ...Array.from({ length: heads }, (_, i) => new Option(`${i + 1} of ${heads}`, String(i))),
  );
  block.replaceChildren(
    ...Array.from({ length: depth }, (_, i) => {
      const isLast = i === depth - 1;
      return new Option(isLast ? `${depth}, the last` : String(i + 1), isLast ? '-1' : String(i));
    }),
  );
  if (choices.block >= depth - 1) choices.block = -1;
  if (choices.head !== 'mean' && choices.head >= heads) choices.head = 'mean';
  showControls();
});

async function save(): Promise<void> {
  try {
    const by = model.loaded ? modelName(model.loaded.choice) : '';
    const name = [pictureName().replace(/\.\w+$/, ''), by, choices.tab].join('-');
    download(`${name.replace(/[^\w-]+/g, '-').toLowerCase()}.png`, await toPng());
  } catch (error) {
    showError('save', 'The picture could not be saved.', error);
  }
}

function download(name: string, blob: Blob): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.download = name;
  link.href = url;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

async function copy(): Promise<void> {
  const [button, text] = [byId('copy', HTMLButtonElement), byId('code', HTMLElement)];
  try {
    await navigator.clipboard.writeText(text.textContent ?? '');
    button.textContent = 'Copied';
  } catch {
    getSelection()?.selectAllChildren(text); // the browser denied access to the clipboard
    button.textContent = 'Selected: copy it with the keyboard';
  }
  setTimeout(() => (button.textContent = 'Copy'), 3000);
}

/** Sets what the address says, and the size of the input, which depends on the speed of the adapter. */
function applyAddress(software: boolean): void {
  const { photo, tab, input: size, patch, query, head: which, block: layer, points } = address;
  Object.assign(choices, {
    tab: tab ?? 'pca',
    input: size ?? (software ? 'crop' : 518),
    query: query ?? 'cls',
    head: which ?? 'mean',
    block: layer ?? -1,
    foreground: address.foreground ?? false,
  });
  setFirst({ patch, points: points ?? [] });
  if (photo !== undefined && isSample(photo)) choose('sample', photo);
  showControls();
}

let started = false;
model.subscribe(() => {
  const { support } = model;
  if (started || !support) return;
  started = true;
  if (!support.ok) return showUnsupported(support);
  applyAddress(support.adapter?.software ?? false);
  void takeSample().then(showControls);
});
await model.start({ size: address.size });
