/** Connects the controls of the page with their actions, and starts the page. */
import { byId, setText } from '../shared/dom.js';
import { openFilesWith, sayOnly, startFiles } from '../shared/files.js';
import { shortName } from '../shared/format.js';
import { choiceOfFiles } from '../shared/modelForm.js';
import { startModelLine } from '../shared/modelLine.js';
import { decode } from '../shared/picture.js';
import { startShell } from '../shared/shell.js';
import { startTabs } from '../shared/tabs.js';
import { showUnsupported } from '../shared/unsupported.js';
import { inputs, readAddress, tabs } from './address.js';
import { frames, sides, type Side } from './frame.js';
import { change, choices, model, pictureOf, setFirst, swap, take, whenChanged } from './page.js';
import { pairs, readSample, samples, thumbnail } from './photos.js';
import { startPointing } from './pointing.js';

const OWN = 'own';

const count = byId('count', HTMLInputElement);
const least = byId('least', HTMLInputElement);
const mutual = byId('mutual', HTMLInputElement);
const input = byId('input', HTMLSelectElement);
const opacity = byId('opacity', HTMLInputElement);
const address = readAddress();

startShell('../');
startModelLine(model);
const tabRow = startTabs(tabs, (tab) => change({ tab }));
startPointing();
tabRow.show(address.tab ?? 'matches');
byId('main', HTMLElement).removeAttribute('data-starting');

const choiceOf = (side: Side): HTMLSelectElement => byId(`choice-${side}`, HTMLSelectElement);
const takeSample = (side: Side, name: string): Promise<void> => take(side, name, () => readSample(name));
const takeOwn = (side: Side, file: File): void =>
  void take(side, OWN, async () => ({
    name: file.name,
    bitmap: await decode(file, model.loaded?.model),
  }));

/** The slot for a picture that is pasted: the one that the visitor used last. */
let used: Side = 'b';
const sideOf = (target: EventTarget | null): Side | undefined => {
  const slot = target instanceof Element ? target.closest<HTMLElement>('.slot') : null;
  return slot?.dataset['side'] as Side | undefined;
};
for (const type of ['pointerdown', 'focusin', 'dragover'] as const)
  addEventListener(type, ({ target }) => void (used = sideOf(target) ?? used), { capture: true });
addEventListener('drop', ({ target }) => void (used = sideOf(target) ?? used), { capture: true });
addEventListener('dragover', ({ target }) => markDrop(sideOf(target)), { capture: true });
for (const type of ['drop', 'dragleave'] as const)
  addEventListener(type, () => markDrop(undefined), { capture: true });
function markDrop(side: Side | undefined): void {
  for (const each of sides) frames[each].element.classList.toggle('over', each === side);
}

const takeFiles = startFiles({
  onPictures(given) {
    const [first, second] = given;
    sayOnly(given, 2);
    if (!second) return takeOwn(used, first!);
    takeOwn('a', first!);
    takeOwn('b', second);
  },
  onWeights: (checkpoint) => void model.load(choiceOfFiles(checkpoint)),
});
for (const side of sides) {
  for (const [name, { label }] of Object.entries(samples)) choiceOf(side).add(new Option(label, name));
  choiceOf(side).addEventListener('change', () => void takeSample(side, choiceOf(side).value));
  openFilesWith(byId(`open-${side}`, HTMLButtonElement), byId(`file-${side}`, HTMLInputElement), (files) => {
    used = side;
    takeFiles(files);
  });
}
byId('swap', HTMLButtonElement).addEventListener('click', swap);

for (const { a, b, label } of pairs) {
  const made = document.createElement('button');
  made.type = 'button';
  made.dataset['pair'] = `${a},${b}`;
  made.append(thumbnail(a), thumbnail(b), label);
  made.addEventListener('click', () => {
    void takeSample('a', a);
    void takeSample('b', b);
  });
  byId('pairs', HTMLElement).append(made);
}

count.addEventListener('input', () => change({ count: count.valueAsNumber }));
least.addEventListener('input', () => change({ least: least.valueAsNumber }));
mutual.addEventListener('change', () => change({ mutual: mutual.checked }));
input.addEventListener('change', () =>
  change({ input: inputs.find((each) => String(each) === input.value) ?? 224 }),
);
byId('release', HTMLButtonElement).addEventListener('click', () =>
  change({ patch: undefined, region: undefined }),
);
const setOpacity = (): void =>
  document.documentElement.style.setProperty('--opacity', String(opacity.valueAsNumber / 100));
opacity.addEventListener('input', setOpacity);
setOpacity();

const LEADS = {
  matches: 'Lines connect the patches that are most alike.',
  similarity: 'Point at a patch: what is alike lights up in both.',
  pca: 'One basis for both: alike parts get the same colour.',
} as const;

/** Sets the controls to the state of the page. */
whenChanged(() => {
  const { tab, patch, region } = choices;
  tabRow.show(tab);
  setText('lead', LEADS[tab]);
  count.value = String(choices.count);
  least.value = String(choices.least);
  setText('count-text', String(choices.count));
  setText('least-text', choices.least.toFixed(2));
  mutual.checked = choices.mutual;
  input.value = String(choices.input);
  const release = byId('release', HTMLButtonElement);
  release.disabled = !patch && !(region && tab === 'matches');
  release.textContent = region && tab === 'matches' ? 'Release the region' : 'Release the patch';
  for (const side of sides) showChoice(side);
  const pair = sides.map((side) => pictureOf(side)?.choice).join();
  for (const each of document.querySelectorAll<HTMLElement>('[data-pair]'))
    each.setAttribute('aria-pressed', String(each.dataset['pair'] === pair));
});

/** Sets the list of a slot to its picture. The visitor's own picture is in the list while it is shown. */
function showChoice(side: Side): void {
  const picture = pictureOf(side);
  const list = choiceOf(side);
  list.querySelector(`option[value="${OWN}"]`)?.remove();
  if (picture?.choice === OWN) list.add(new Option(shortName(picture.name), OWN));
  if (picture) list.value = picture.choice;
}

let started = false;
model.subscribe(() => {
  const { support } = model;
  if (started || !support) return;
  started = true;
  if (!support.ok) return showUnsupported(support);
  const { tab, count: most, least: score, mutual: both, patch, region } = address;
  setFirst({
    tab: tab ?? 'matches',
    input: address.input ?? (support.adapter?.software ? 224 : 448),
    count: Math.min(200, Math.max(1, most ?? 30)),
    least: score ?? 0,
    mutual: both ?? true,
    patch,
    region,
  });
  const known = (name: string | undefined, other: string): string =>
    name !== undefined && name in samples ? name : other;
  const first = { a: known(address.a, pairs[0].a), b: known(address.b, pairs[0].b) };
  for (const side of sides) {
    choiceOf(side).value = first[side];
    void takeSample(side, first[side]);
  }
});
await model.start({ size: address.size });
