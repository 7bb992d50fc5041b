/** Shows the numbers and texts around the pictures. */
import type { DINOv2, Features, LoadProgress, Support } from '../src/index.js';
import { byId, setText } from './dom.js';
import { duration, megabytes, millions } from './format.js';
import { downloadBytes, modelName, weightsName, type Loaded, type ModelChoice } from './state.js';

const loading = byId('loading', HTMLElement);
const bar = byId('loading-bar', HTMLProgressElement);
const untrained = byId('untrained', HTMLElement);

export function setStatus(text: string): void {
  setText('status', text);
}

export function showLoading(choice: ModelChoice): void {
  untrained.hidden = true;
  loading.hidden = false;
  bar.removeAttribute('value');
  setText(
    'loading-what',
    `Loading ${modelName(choice)}${choice.weights === 'file' ? '' : `, ${choice.weights === 'hub' ? 'trained' : 'synthetic'}`}`,
  );
  setText('loading-bytes', '');
}

export function showProgress({ loadedBytes, totalBytes, loadedTensors, totalTensors }: LoadProgress): void {
  if (totalBytes) bar.value = loadedBytes / totalBytes;
  else if (totalTensors) bar.value = loadedTensors / totalTensors;
  const tensors = totalTensors ? `, ${loadedTensors} of ${totalTensors} tensors` : '';
  setText(
    'loading-bytes',
    totalBytes
      ? `${megabytes(loadedBytes)} of ${megabytes(totalBytes)}`
      : `${megabytes(loadedBytes)}${tensors}`,
  );
}

/** Hides the progress bar after a load has succeeded, failed or been aborted. */
export function hideLoading(loaded: Pick<Loaded, 'choice'> | undefined): void {
  loading.hidden = true;
  untrained.hidden = loaded?.choice.weights !== 'synthetic';
  if (loaded) setText('load-trained', `Load trained weights (${megabytes(downloadBytes(loaded.choice))})`);
}

export function showModel({ model, choice, loadMs }: Loaded): void {
  const { embedDim, depth, numHeads } = model.config;
  setText(
    'running',
    `${choice.weights === 'file' ? 'From the file' : modelName(choice)}: ${millions(model.parameterCount)} parameters, ${depth} blocks, ${numHeads} heads, ${embedDim} wide`,
  );
  setText(
    'running-weights',
    `${weightsName(choice)}; ${choice.dtype === 'fp32' ? 'float32' : 'float16'} on the GPU`,
  );
  setText('load-time', duration(loadMs));
}

export function showUnsupported({ reason, code }: Support): void {
  byId('unsupported', HTMLElement).hidden = false;
  setText('unsupported-reason', reason ?? '');
  setText('unsupported-code', code ?? '');
  setText('adapter', 'none');
}

export function showAdapter({ vendor, architecture, description, software }: DINOv2['adapter']): void {
  const name = description || [vendor, architecture].filter((part) => part !== '').join(' ') || 'unnamed';
  setText('adapter', software ? `${name} (software)` : name);
  byId('slow', HTMLElement).hidden = !software;
}

export function showGrid({ rows, cols, numTokens, numRegisterTokens }: Features): void {
  setText('grid', `${rows} × ${cols}`);
  setText('tokens', String(numTokens));
  byId('tokens', HTMLElement).title = `1 class token, ${numRegisterTokens} registers, ${rows * cols} patches`;
}

/** Enables or disables the buttons that save the features and that measure the time of a forward pass. */
export function setResult(there: boolean): void {
  for (const id of ['save', 'measure']) byId(id, HTMLButtonElement).disabled = !there;
}

export function showForward(ms: number, kind: string): void {
  setText('forward', duration(ms));
  setText('forward-label', `Forward, ${kind}`);
}

export async function showPlan(model: DINOv2, { rows, cols }: Features): Promise<void> {
  const { patchSize } = model.config;
  const plan = await model.describe({ height: rows * patchSize, width: cols * patchSize });
  setText('plan', plan);
  setText('dispatches', /(\d+) dispatches/.exec(plan)?.[1] ?? '–');
}

export function showMemory(model: DINOv2): void {
  setText('memory', megabytes(model.gpuBytes));
}
