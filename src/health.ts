/** The health of a model, and the report for an issue. `model.health()` and `model.report()` load this file. */
import { version } from '../package.json';
import { DINOv2Error, type DeviceCode } from './errors.js';
import type { AdapterDescription } from './gpu/adapter.js';
import type { Gpu } from './gpu/device.js';
import { kernelName } from './gpu/kernels/kernel.js';
import { alternatives } from './gpu/lowering.js';
import type { Features } from './features.js';
import type { Preprocessing } from './image/preprocessing.js';
import type { DINOv2Config } from './model/config.js';
import { buildForward } from './model/vit.js';
import type { ForwardOptions, LoadReport, PixelSize } from './options.js';
import type { DeviceLoss } from './session/deviceLoss.js';
import type { Sessions } from './session/sessions.js';
import { tuneStoreErrors } from './session/tuneErrors.js';
import type { Dtype } from './weights/precision.js';
import { createSimd } from './weights/simd.js';

/** The health of a model: what was tested, what was rejected, what was lost, and what is used instead. */
export interface Health {
  /** `passed`: the kernels of this model passed the self-test. `off`: the option `selfTest` was false. */
  readonly selfTest: 'passed' | 'off';
  /** Duration of the self-test in milliseconds; undefined if it was off. Kernels are tested once per device. */
  readonly selfTestMs: number | undefined;
  /** Number type of the weight matrices. */
  readonly dtype: Dtype;
  /** The reason for `dtype`, as a sentence, and what `tune` with the option `arithmetic` chose, with its reason. */
  readonly dtypeReason: string;
  /** How images are prepared, and why, as a sentence. `model.preprocessing` holds the values. */
  readonly preprocessing: string;
  /** The kernels, or storage layouts of weights, that this GPU compiled or computed wrongly. */
  readonly rejected: readonly { readonly code: DeviceCode; readonly message: string }[];
  /** The reason for which the device is lost. Undefined while the device works. */
  readonly lost: string | undefined;
  /** The losses of the model's devices that calls have noticed, the oldest first. */
  readonly losses: readonly NotedLoss[];
  /** What the library does in a slower way than usual, each with the reason, as sentences. */
  readonly fallbacks: readonly string[];
  /** An error of the GPU that no call has caught. It is a bug of the library. Undefined if there is none. */
  readonly uncaughtError: string | undefined;
}

/** A loss of a model's device, and what became of it, as plain data. */
export interface NotedLoss extends Omit<DeviceLoss, 'error'> {
  /** The error of the last attempt to recover; undefined if there was none, or if it succeeded. */
  readonly error?: string | undefined;
}

/** The members of a model that its health and report need. */
export interface Examined {
  /** The configuration of the model. */
  readonly config: DINOv2Config;
  /** The report of the load. */
  readonly loaded: LoadReport;
  /** How images are prepared. */
  readonly preprocessing: Preprocessing;
  /** Runs a forward pass. */
  forward(pixels: Float32Array, size: PixelSize, options: ForwardOptions): Promise<Features>;
}

/** Collects the health of a model. Runs nothing on the GPU. @throws DeviceError DISPOSED */
export function healthOf({ loaded, preprocessing }: Examined, sessions: Sessions): Health {
  sessions.alive();
  const { losses, tuned } = sessions;
  const { gpu, parts } = sessions.current;
  const { dtype, reason, selfTestMs, failures = [] } = parts.precision;
  return {
    selfTest: selfTestMs === undefined ? 'off' : 'passed',
    selfTestMs,
    dtype,
    dtypeReason: tuned?.arithmetic ? `${reason} tune(): ${tuned.arithmetic.reason}` : reason,
    preprocessing: `${wordsOf(preprocessing)}, ${origins[preprocessing.source]}.`,
    rejected: failures.map(({ code, message }) => ({ code, message })),
    lost: lossOf(gpu),
    losses: losses.map((loss) => ({ ...loss, error: loss.error?.message })),
    fallbacks: fallbacksOf(gpu, loaded),
    uncaughtError: gpu.uncaptured?.message,
  };
}

/** For each source of a preprocessing: the reason why it is used. */
const origins: Readonly<Record<Preprocessing['source'], string>> = {
  'preprocessor_config.json': 'from preprocessor_config.json, or from the option preprocessor',
  'config.json': "from timm's pretrained_cfg in config.json, because there is no preprocessor_config.json",
  default:
    'which is the default (as facebook/dinov2), because no file says otherwise: there is no preprocessor_config.json, or the server refused access to it (status 403) ' +
    'or sent a web page instead, or the option preprocessor is null, or the model was loaded without this file. ' +
    'If the model was trained with other values, the features are wrong',
};

/** Lists the values of a preprocessing. */
const wordsOf = ({ resize, crop, resample, normalization, convention }: Preprocessing): string =>
  `resize ${JSON.stringify(resize ?? 'none')}, crop ${JSON.stringify(crop ?? 'none')}, ${resample}, ${JSON.stringify(normalization)}, rounded as in ${convention}`;

function lossOf(gpu: Gpu): string | undefined {
  try {
    gpu.check();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function fallbacksOf(gpu: Gpu, { cache, cacheReason, fetchedBytes }: LoadReport): string[] {
  const { adapterInfo, features } = gpu.device;
  const lanes = adapterInfo?.subgroupMinSize;
  const found: string[] = [];
  if (
    gpu.software &&
    !gpu.laneKernels &&
    features.has('subgroups') &&
    lanes === adapterInfo.subgroupMaxSize &&
    (lanes === 4 || lanes === 8)
  )
    found.push('The kernels for software adapters could not be loaded, so the kernels for GPUs are used.');
  if (!gpu.alternativesAgree)
    found.push(
      'Kernels of one operation round differently on this driver, so each operation uses one kernel.',
    );
  if (cache === 'none' && fetchedBytes > 0)
    found.push(`The checkpoint is not cached, so the next load downloads it again: ${cacheReason}.`);
  if (!createSimd())
    found.push('WebAssembly with SIMD is not available to this page, so weights are packed by JavaScript.');
  const storeError = tuneStoreErrors.get(gpu);
  if (storeError !== undefined) found.push(`The result of tune() could not be stored: ${storeError}.`);
  return found;
}

/** Number of timed forward passes of a report. */
const FORWARDS = 3;
/** The forward passes of a report end after this time. */
const FORWARDS_MS = 5000;

/** Writes the report of a model as a Markdown list. Addresses are left out. @throws DeviceError DISPOSED */
export async function reportOf(model: Examined, sessions: Sessions): Promise<string> {
  const { config, loaded } = model;
  const health = healthOf(model, sessions);
  const { gpu, parts } = sessions.current;
  const { nodes } = buildForward(config, { batch: 1, rows: 1, cols: 1 }).graph;
  const target = await sessions.current.forwards.withPrograms(async ({ target: used }) => used);
  const variants = nodes.flatMap((node) => alternatives(node, target).map(({ variant }) => variant));
  const { limits, features } = gpu.device;
  const facts: (readonly [string, string])[] = [
    ['Library', `dinov2-webgpu ${version}, ${placeOf()}`],
    ['Browser', browserOf()],
    ['Adapter', nameOf(gpu.info)],
    ['Features', [...features].sort().join(', ')],
    [
      'Limits',
      `buffer ${limits.maxBufferSize}, binding ${limits.maxStorageBufferBindingSize}, texture ${limits.maxTextureDimension2D}, workgroup memory ${limits.maxComputeWorkgroupStorageSize}, invocations ${limits.maxComputeInvocationsPerWorkgroup}`,
    ],
    [
      'Model',
      `${config.depth} blocks, ${config.embedDim} channels, ${config.numHeads} heads, patches of ${config.patchSize}, ${config.numRegisterTokens} registers, ${config.ffn}`,
    ],
    ['Preprocessing', health.preprocessing],
    ['Weights', `${health.dtype} stored as ${parts.precision.storage}. ${health.dtypeReason}`],
    ['Kernels', [...new Set(variants.map(({ kernel }) => kernelName(kernel)))].join(', ')],
    [
      'Self-test',
      health.selfTestMs === undefined ? 'switched off' : `passed in ${health.selfTestMs.toFixed(0)} ms`,
    ],
    ['Rejected', listOf(health.rejected.map(({ code, message }) => `${code}: ${message}`))],
    ['Device', health.lost ?? 'works'],
    ['Losses', listOf(health.losses.map(wordsOfLoss))],
    ['Fallbacks', listOf(health.fallbacks)],
    ['GPU error', health.uncaughtError ?? 'none'],
    ['GPU memory', `${gpu.memory.bytes} bytes in ${gpu.memory.buffers} buffers`],
    [
      'Load',
      `${loaded.loadMs.toFixed(0)} ms; ${loaded.fetchedBytes} bytes from the network, ${loaded.cachedBytes} from the cache (${loaded.cache}: ${loaded.cacheReason})`,
    ],
    ['Forward', await timesOf(model)],
  ];
  return facts.map(([name, value]) => `- ${name}: ${withoutAddresses(value)}`).join('\n');
}

const listOf = (items: readonly string[]): string => (items.length === 0 ? 'none' : items.join(' '));

function wordsOfLoss({ time, reason, message, newAdapter, recoveredMs, error }: NotedLoss): string {
  const end =
    recoveredMs === undefined
      ? (error ?? 'not recovered')
      : `recovered in ${recoveredMs.toFixed(0)} ms${newAdapter === undefined ? '' : ` on ${newAdapter}`}`;
  return `${new Date(time).toISOString()}: ${reason} (${message}); ${end}.`;
}

/** Describes the adapter in words. */
const nameOf = ({ vendor, architecture, description, software }: AdapterDescription): string =>
  `${[vendor, architecture, description].filter((part) => part !== '').join(', ') || 'not named by the browser'}${software ? ' (emulated on the processor)' : ''}`;

const placeOf = (): string =>
  'WorkerGlobalScope' in globalThis
    ? 'in a worker'
    : 'document' in globalThis
      ? 'in a page'
      : 'without a page';

function browserOf(): string {
  const { process, navigator } = globalThis as {
    readonly process?: { readonly versions?: { readonly node?: string }; readonly platform?: string };
    readonly navigator?: Partial<Navigator>;
  };
  const node = process?.versions?.node;
  return node === undefined ? (navigator?.userAgent ?? 'unknown') : `Node ${node}, ${process?.platform}`;
}

/** Runs forward passes on black images of 16 × 16 patches, and lists their times. */
async function timesOf(model: Examined): Promise<string> {
  const px = 16 * model.config.patchSize;
  const pixels = new Float32Array(3 * px * px);
  const signal = AbortSignal.timeout(FORWARDS_MS);
  const timesMs: string[] = [];
  let end = '';
  try {
    while (timesMs.length < FORWARDS) {
      const startMs = performance.now();
      const features = await model.forward(pixels, { height: px, width: px }, { signal });
      try {
        await features.clsToken();
      } finally {
        features.dispose();
      }
      timesMs.push((performance.now() - startMs).toFixed(1));
    }
  } catch (error) {
    end = signal.aborted
      ? `ended after ${FORWARDS_MS / 1000} s`
      : `failed: ${error instanceof DINOv2Error ? `${error.code}: ${error.message}` : String(error)}`;
  }
  const times = timesMs.length > 0 ? `${timesMs.join(', ')} ms` : '';
  return `${px} × ${px}: ${[times, end].filter((part) => part !== '').join('; ')}`;
}

/** Replaces addresses and paths, which may contain tokens or names of people. */
const withoutAddresses = (text: string): string =>
  text
    .replaceAll(/\b(?:[a-z][a-z0-9+.-]*:\/\/|blob:|data:|file:)[^\s)\]}'"]+/gi, '[address]')
    .replaceAll(/(?<![\w.\]])(?:~|[a-z]:)?[\\/](?:[^\\/\n()'",;:]+[\\/])+[^\s()'",;:]*/gi, '[path]')
    .replaceAll(/\s*\n\s*/g, ' ');
