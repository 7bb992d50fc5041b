/** The page What runs: the kernels of a forward pass, their sources and times, and a benchmark. */
import { DINOv2, type KernelProfile, type Profile } from '../../src/index.js';
import { bugs } from '../../package.json';
import { byId, setText } from '../shared/dom.js';
import { duration } from '../shared/format.js';
import { startFiles } from '../shared/files.js';
import { Latest } from '../shared/latest.js';
import { ModelState } from '../shared/model.js';
import type { Loaded } from '../shared/modelChoice.js';
import { choiceOfFiles } from '../shared/modelForm.js';
import { startModelLine } from '../shared/modelLine.js';
import { startShell } from '../shared/shell.js';
import { dismiss, showError } from '../shared/toasts.js';
import { showUnsupported } from '../shared/unsupported.js';
import { aboutKernel, kernelsOf, summaryOf, type KernelOfPlan } from './plan.js';
import { factsOf, median, reportOf, type Timing } from './report.js';
import { sourceOf } from './sources.js';

/** Forward passes of the benchmark that count. */
const RUNS = 10;
/** The benchmark ends early after this time in ms. */
const BUDGET_MS = 20_000;

const px = byId('px', HTMLSelectElement);
const measure = byId('measure', HTMLButtonElement);
const bench = byId('bench', HTMLButtonElement);
const copy = byId('copy', HTMLButtonElement);
const kernels = byId('kernels', HTMLTableSectionElement);

const runs = new Latest();
let plan: KernelOfPlan[] = [];
let profile: Profile | undefined;
let timings: Timing[] = [];
/** The kernel whose source is shown. */
let chosen: string | undefined;

startShell('../');
const model = new ModelState<DINOv2>(DINOv2, show);
startModelLine(model);
startFiles({
  onWeights: (checkpoint) => void model.load(choiceOfFiles(checkpoint)),
  onPictures: ([first]) =>
    showError(
      'model',
      'The model could not be loaded.',
      new Error(`${first!.name} is not a .safetensors file.`),
    ),
});

const address = new URLSearchParams(location.search);
const sizes = [...px.options].map(({ value }) => value);
const sizeOfAddress = sizes.find((size) => size === address.get('px'));
chosen = address.get('kernel') ?? undefined;

/** Writes the state into the address. */
function remember(): void {
  const parts = new URLSearchParams({ px: px.value, ...(chosen !== undefined && { kernel: chosen }) });
  history.replaceState(history.state, '', `?${parts}`);
}

/** An image of one size whose pixels are computed by a formula. Its content does not change the times. */
function testImage(side: number): { data: Uint8Array; width: number; height: number; channels: 3 } {
  const data = Uint8Array.from({ length: 3 * side * side }, (_, i) => (i * 37) & 255);
  return { data, width: side, height: side, channels: 3 };
}
const inputOptions = (): { resize: 'square'; size: number } => ({ resize: 'square', size: Number(px.value) });

/** Shows the model: its plan without times, its facts. */
async function show(loaded: Loaded | undefined): Promise<void> {
  runs.abort();
  profile = undefined;
  timings = [];
  measure.disabled = bench.disabled = loaded === undefined;
  copy.disabled = true;
  if (!loaded) {
    setText('status', 'No model is loaded.');
    return;
  }
  const side = Number(px.value);
  const text = await loaded.model.describe({ height: side, width: side });
  plan = kernelsOf(text);
  setText('plan', text);
  setText('status', summaryOf(text));
  showFacts(loaded);
  showKernels();
  if (chosen === undefined || !plan.some(({ kernel }) => kernel === chosen))
    chosen = plan.find(({ kernel }) => /linear/.test(kernel))?.kernel ?? plan[0]?.kernel;
  await showSource();
}

function showFacts(loaded: Loaded): void {
  const facts = factsOf(loaded, model.support!);
  const list = byId('facts', HTMLElement);
  list.replaceChildren(
    ...facts.flatMap(([name, value]) => [
      Object.assign(document.createElement('dt'), { textContent: name }),
      Object.assign(document.createElement('dd'), { textContent: value }),
    ]),
  );
  void showReport(loaded);
}

/** The texts of `model.report()`, which runs forward passes. */
const reports = new WeakMap<DINOv2, Promise<string>>();

/** Shows the report of the model with the measurements so far. */
async function showReport(loaded: Loaded): Promise<void> {
  let report = reports.get(loaded.model);
  if (!report) reports.set(loaded.model, (report = loaded.model.report()));
  try {
    const text = await report;
    if (loaded !== model.loaded) return;
    setText('report', reportOf(text, timings, profile));
    copy.disabled = false;
    dismiss('report');
  } catch (error) {
    reports.delete(loaded.model);
    if (loaded === model.loaded && !model.lostBy(error))
      showError('report', 'The report could not be written.', error);
  }
}

/** Fills the table: one row for each kernel and layer if there are times, otherwise one for each kernel. */
function showKernels(): void {
  const rows: readonly (KernelOfPlan & Partial<KernelProfile>)[] = profile?.kernels ?? plan;
  kernels.replaceChildren(
    ...rows.map(({ kernel, label, dispatches, ...rates }) => {
      const row = document.createElement('tr');
      const open = document.createElement('button');
      open.type = 'button';
      open.dataset['kernel'] = kernel;
      open.append(
        kernel,
        Object.assign(document.createElement('small'), { textContent: label ?? aboutKernel(kernel) }),
      );
      open.addEventListener('click', () => {
        chosen = kernel;
        remember();
        void showSource();
      });
      const first = document.createElement('td');
      first.append(open);
      row.append(first, number(String(dispatches), 'count'), ...ratesOf(rates));
      return row;
    }),
  );
  const sum = document.createElement('tr');
  if (profile) {
    const { total, dispatches, forwardMs } = profile;
    sum.append(cell('The whole forward pass'), number(String(dispatches.length), 'count'));
    sum.append(...ratesOf({ ...total, ms: forwardMs, share: (total.share * total.ms) / forwardMs }));
  } else {
    const all = plan.reduce((sum, { dispatches }) => sum + dispatches, 0);
    sum.append(cell('Together'), number(String(all), 'count'));
    sum.append(...ratesOf({}));
  }
  byId('sum', HTMLTableSectionElement).replaceChildren(sum);
  markChosen();
}

function ratesOf({ ms, gflopsPerSecond, gigabytesPerSecond, share }: Partial<KernelProfile>): HTMLElement[] {
  const shown = document.createElement('td');
  shown.className = 'share';
  if (share === undefined) shown.textContent = '–';
  else {
    shown.style.setProperty('--share', String(Math.min(1, share)));
    shown.append(
      document.createElement('i'),
      Object.assign(document.createElement('span'), { textContent: `${(100 * share).toFixed(0)} %` }),
    );
  }
  return [
    number(ms === undefined ? '–' : duration(ms)),
    number(gflopsPerSecond === undefined ? '–' : gflopsPerSecond.toFixed(1), 'rate'),
    number(gigabytesPerSecond === undefined ? '–' : gigabytesPerSecond.toFixed(1), 'rate'),
    shown,
  ];
}

const cell = (text: string): HTMLElement =>
  Object.assign(document.createElement('td'), { textContent: text });
function number(text: string, kind = ''): HTMLElement {
  return Object.assign(cell(text), { className: `number ${kind}`.trim() });
}

function markChosen(): void {
  for (const each of kernels.querySelectorAll('button'))
    each.setAttribute('aria-pressed', String(each.dataset['kernel'] === chosen));
}

/** Shows the source of the chosen kernel, with its comments in a quieter colour. */
async function showSource(): Promise<void> {
  markChosen();
  const wanted = chosen;
  if (wanted === undefined) return;
  try {
    const { file, text } = await sourceOf(wanted);
    if (wanted !== chosen) return; // another kernel was chosen meanwhile
    setText('source-heading', `shaders/${file}`);
    setText('source-about', `${wanted}: ${aboutKernel(wanted) || 'a kernel of this model'}.`);
    byId('source', HTMLElement).replaceChildren(
      ...text.split('\n').flatMap((line) => {
        const at = line.indexOf('//');
        if (at < 0) return [`${line}\n`];
        const comment = document.createElement('span');
        comment.className = 'comment';
        comment.textContent = `${line.slice(at)}\n`;
        return [line.slice(0, at), comment];
      }),
    );
    byId('source', HTMLElement).scrollTop = 0;
    dismiss('source');
  } catch (error) {
    showError('source', `The source of ${wanted} could not be loaded.`, error);
  }
}

/** Runs an action on the model. A newer action aborts it. */
async function act(
  topic: string,
  title: string,
  busy: string,
  statusId: string,
  action: (loaded: Loaded, signal: AbortSignal) => Promise<string>,
): Promise<void> {
  const { loaded } = model;
  if (!loaded) return;
  setText(statusId, busy);
  try {
    const text = await runs.start((signal) => action(loaded, signal));
    if (text === undefined) return setText(statusId, ' ');
    setText(statusId, text);
    showFacts(loaded);
    dismiss(topic);
  } catch (error) {
    setText(statusId, ' ');
    if (!model.lostBy(error)) showError(topic, title, error);
  }
}

const measureKernels = (): Promise<void> =>
  act(
    'measure',
    'The kernels could not be measured.',
    'Measuring each kernel…',
    'status',
    async (loaded, signal) => {
      profile = await loaded.model.profile(testImage(Number(px.value)), { ...inputOptions(), signal });
      const { ceilings, timer } = profile;
      showKernels();
      setText(
        'ceilings',
        `Fastest rates in simple programs: ${(ceilings.flopsPerSecond / 1e9).toFixed(0)} GFLOP/s and ${(ceilings.bytesPerSecond / 1e9).toFixed(0)} GB/s. ` +
          (timer === 'submits'
            ? 'Timed with the clock of the page, because this browser offers no timestamps of the GPU.'
            : 'Timed with timestamps of the GPU.'),
      );
      return `The forward pass takes ${duration(profile.forwardMs)} on the GPU.`;
    },
  );

const runBenchmark = (): Promise<void> =>
  act('bench', 'The benchmark failed.', 'Running…', 'bench-status', async (loaded, signal) => {
    const side = Number(px.value);
    const image = testImage(side);
    const timesMs: number[] = [];
    const beginMs = performance.now();
    for (
      let run = 0;
      run <= RUNS && (timesMs.length === 0 || performance.now() - beginMs < BUDGET_MS);
      run++
    ) {
      const startMs = performance.now();
      const features = await loaded.model.features(image, { ...inputOptions(), signal });
      try {
        await features.clsToken();
      } finally {
        features.dispose();
      }
      if (run > 0) timesMs.push(performance.now() - startMs);
      setText('bench-status', `Running: ${timesMs.length} of ${RUNS}`);
    }
    timings = [...timings.filter((timing) => timing.px !== side), { px: side, timesMs }].toSorted(
      (a, b) => a.px - b.px,
    );
    return `${side} × ${side}: ${duration(median(timesMs))} an image (median of ${timesMs.length}), ${(1000 / median(timesMs)).toFixed(1)} images per second.`;
  });

measure.addEventListener('click', () => void measureKernels());
bench.addEventListener('click', () => void runBenchmark());
px.addEventListener('change', () => {
  remember();
  void show(model.loaded);
});
copy.addEventListener('click', () => {
  void (async () => {
    const text = byId('report', HTMLElement);
    try {
      await navigator.clipboard.writeText(text.textContent ?? '');
      copy.textContent = 'Copied';
    } catch {
      getSelection()?.selectAllChildren(text); // the browser denied access to the clipboard
      copy.textContent = 'Selected: copy it';
    }
    setTimeout(() => (copy.textContent = 'Copy the report'), 3000);
  })();
});
byId('send', HTMLAnchorElement).href = `${bugs}/new?template=timings.yml`;

let started = false;
model.subscribe(() => {
  if (started || !model.support) return;
  started = true;
  if (!model.support.ok) return showUnsupported(model.support);
  px.value = sizeOfAddress ?? (model.support.adapter?.software ? '112' : '224');
});
await model.start();
