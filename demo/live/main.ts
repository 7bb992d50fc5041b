/** Connects the controls of the page with their actions, and starts the page. */
import { byId, choose, chosen, setText } from '../shared/dom.js';
import { openFilesWith, sayOnly, startFiles } from '../shared/files.js';
import { shortName } from '../shared/format.js';
import { Latest } from '../shared/latest.js';
import { modelName } from '../shared/modelChoice.js';
import { choiceOfFiles } from '../shared/modelForm.js';
import { startModelLine } from '../shared/modelLine.js';
import { startShell } from '../shared/shell.js';
import { startTabs } from '../shared/tabs.js';
import { dismiss, showError, showMessage } from '../shared/toasts.js';
import { showUnsupported } from '../shared/unsupported.js';
import { readAddress, tabs, writeAddress, type Side, type TabName } from './address.js';
import { code } from './code.js';
import { startFigures } from './figures.js';
import {
  fail,
  isPlaying,
  liveNow,
  model,
  setPlaying,
  setSide,
  setSource,
  sourceNow,
  whenState,
} from './run.js';
import { clear, pick, picksNow, redraw, setTab, startShowing, still } from './showing.js';
import {
  cameraSource,
  countCameras,
  exampleSource,
  fileSource,
  type Facing,
  type Source,
} from './sources.js';
import { isSmooth, opacityNow, setMirror, startStage } from './stage.js';

const side = byId('side', HTMLSelectElement);
const crisp = byId('crisp', HTMLInputElement);
const region = byId('region', HTMLSelectElement);
const toggle = byId('toggle', HTMLButtonElement);
const address = readAddress();
let tab: TabName = address.tab ?? 'pca';
let started = false;

startShell('../');
startModelLine(model);
const shownTab = startTabs(tabs, (next) => {
  tab = next;
  choose('click', 'on');
  setTab(tab);
  remember();
});
startShowing({ onPicks: showPicks, onError: fail });
startStage((point, where) => {
  // The video shows a frame whose number is at least that of the last frame that came in.
  const live = liveNow();
  pick(
    { ...point, on: tab !== 'segments' || chosen('click') === 'on' },
    where === 'video' && live ? live.framesIn - 1 : undefined,
  );
});
startFigures();

/** Enables the buttons that need picks. After the first click on Segments, the next one is of the other kind. */
function showPicks(): void {
  const picks = picksNow();
  for (const button of document.querySelectorAll<HTMLButtonElement>('.clear'))
    button.disabled = picks.length === 0;
  if (tab === 'segments' && picks.length === 1) choose('click', picks[0]!.on ? 'off' : 'on');
  remember();
}

const opening = new Latest();

/** Opens a source. If this fails, the last one goes on. */
async function open(
  topic: 'camera' | 'file' | 'example',
  what: string,
  get: () => Promise<Source>,
): Promise<void> {
  try {
    await opening.start(async (signal) => {
      const next = await get();
      if (signal.aborted) return next.close();
      for (const each of ['camera', 'file', 'example']) dismiss(each);
      await setSource(next);
      setMirror(next.mirror);
    });
  } catch (error) {
    showError(topic, what, error);
  }
}

let facing: Facing = 'user';
const openCamera = async (): Promise<void> => {
  await open('camera', 'The camera could not be used.', () =>
    cameraSource(facing, () => {
      setPlaying(false);
      showMessage(
        'camera',
        'The camera stopped.',
        'It was unplugged, or another program took it. Press Camera to start it again.',
      );
    }),
  );
  if (sourceNow()?.kind === 'camera') byId('turn', HTMLElement).hidden = (await countCameras()) < 2;
};
const openExample = (): Promise<void> => open('example', 'The example could not be shown.', exampleSource);
const openFile = (file: File): Promise<void> =>
  open('file', `${shortName(file.name)} could not be played.`, () => fileSource(file));

byId('example', HTMLButtonElement).addEventListener('click', () => void openExample());
byId('camera', HTMLButtonElement).addEventListener('click', () => void openCamera());
byId('turn', HTMLButtonElement).addEventListener('click', () => {
  facing = facing === 'user' ? 'environment' : 'user';
  sourceNow()?.close(); // a phone opens only one camera at a time
  void openCamera();
});
const takeFiles = startFiles({
  onPictures(given) {
    sayOnly(given, 1);
    void openFile(given[0]!);
  },
  onWeights: (checkpoint) => void model.load(choiceOfFiles(checkpoint)),
});
openFilesWith(byId('file', HTMLButtonElement), byId('video-file', HTMLInputElement), takeFiles);

toggle.addEventListener('click', () => {
  const source = sourceNow();
  const isCamera = source?.kind === 'camera';
  if (isPlaying()) {
    setPlaying(false);
    if (isCamera) source?.close(); // its light goes out
  } else if (isCamera) void openCamera();
  else setPlaying(true);
});

whenState(() => {
  const source = sourceNow();
  for (const kind of ['example', 'camera', 'file'])
    byId(kind, HTMLElement).setAttribute('aria-pressed', String(source?.kind === kind));
  toggle.dataset['plays'] = String(isPlaying());
  setText('toggle-text', isPlaying() ? 'Stop' : 'Start');
  if (source?.kind !== 'camera') byId('turn', HTMLElement).hidden = true;
  showCode();
});

side.addEventListener('change', () => {
  setSide(Number(side.value) as Side);
  remember();
});
crisp.addEventListener('change', () => {
  redraw();
  remember();
});
for (const input of [byId('opacity', HTMLInputElement), region]) input.addEventListener('change', remember);
byId('fit', HTMLButtonElement).addEventListener('click', clear);
for (const button of document.querySelectorAll('.clear'))
  button.addEventListener('click', () => {
    choose('click', 'on');
    clear();
  });
byId('save', HTMLButtonElement).addEventListener('click', () => void save());
byId('copy', HTMLButtonElement).addEventListener('click', () => void copy());

async function save(): Promise<void> {
  try {
    const by = model.loaded ? modelName(model.loaded.choice) : '';
    const name = ['live', sourceNow()?.name.replace(/\.\w+$/, ''), by, tab].join('-');
    const url = URL.createObjectURL(await still());
    const link = document.createElement('a');
    link.download = `${name.replace(/[^\w-]+/g, '-').toLowerCase()}.png`;
    link.href = url;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    dismiss('save');
  } catch (error) {
    showError('save', 'The still could not be saved.', error);
  }
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

/** Writes the state into the page's address, and shows the code for it. */
function remember(): void {
  if (!started) return;
  showCode();
  const { weights, size } = model.choice;
  writeAddress({
    tab,
    size: weights === 'file' ? undefined : size,
    side: Number(side.value) as Side,
    opacity: opacityNow(),
    crisp: !isSmooth(),
    region: Number(region.value),
    picks: picksNow(),
  });
}

function showCode(): void {
  if (!started) return;
  const next = code({
    tab,
    choice: model.choice,
    source: sourceNow()?.kind ?? 'example',
    facing,
    side: Number(side.value),
    software: model.support?.adapter?.software ?? false,
    smooth: isSmooth(),
    opacity: opacityNow(),
    picks: picksNow(),
  });
  // Replacing the text would end a selection in it.
  if (byId('code', HTMLElement).textContent !== next) setText('code', next);
}

/** Sets what the address says, and the size of the input, which depends on the speed of the adapter. */
function applyAddress(software: boolean): void {
  const first = address.side ?? (software ? 112 : 322);
  side.value = String(first);
  setSide(first);
  byId('opacity', HTMLInputElement).value = String(address.opacity ?? 80);
  byId('opacity', HTMLInputElement).dispatchEvent(new Event('input'));
  crisp.checked = address.crisp ?? false;
  region.value = String(address.region ?? (software ? 1 : 3));
  shownTab.show(tab);
  setTab(tab);
  for (const each of address.picks ?? []) pick(each);
}

model.subscribe(showCode);
model.subscribe(() => {
  const { support } = model;
  if (started || !support) return;
  started = true;
  if (!support.ok) return showUnsupported(support);
  applyAddress(support.adapter?.software ?? false);
  remember();
  // The example moves only after a click if the visitor prefers reduced motion.
  void openExample().then(() => {
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) setPlaying(true, true);
  });
});
await model.start({ size: address.size });
