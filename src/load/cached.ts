/**
 * Loads a checkpoint from the browser's storage, as far as it is there, and keeps there what has to be
 * fetched.
 */
import { exclusively } from '../cache/cachedModels.js';
import {
  CACHE_FORMAT,
  cacheKey,
  CachedHead,
  CacheWriter,
  NOTHING,
  placeBytes,
  readPlan,
  replay,
  tidy,
  writePlan,
  type CachePlan,
  type SealedPlan,
} from '../cache/cacheEntry.js';
import { untilAborted } from '../platform/abort.js';
import { openStore, type CacheFolder, type CacheStore } from '../storage/store.js';
import { watchForHead } from '../weights/head.js';
import { MatrixSample, originalOf } from '../weights/matrixSample.js';
import { mayStartOver, startOver } from '../io/part.js';
import type { Candidate } from '../weights/precision.js';
import { parameterBytes, WeightMemory } from '../weights/weightMemory.js';
import type { Task } from '../gpu/task.js';
import type { SourceState } from '../cache/revalidate.js';
import { readQuantized, RowScales } from '../weights/quantized.js';
import type { SafetensorsHeader } from '../safetensors.js';
import { presentParameters, scaleBytes } from '../weights/weights.js';
import { DeviceError, SourceError } from '../errors.js';
import type { DINOv2Config } from '../model/config.js';
import { parameters } from '../model/parameters.js';
import { build, counting, decide, fill, type LoadedModel, type Making } from './build.js';
import { describedBy, parseJson } from './configFile.js';
import { loadFresh, outcome } from './fresh.js';
import { preprocessingOfText } from './preprocessorFile.js';
import { headWidths, settle } from './settle.js';
import type { CacheRequest, Checkpoint, CheckpointSource } from './source.js';

/** The self-test has chosen another element type than the entry of the cache has: load again, with that one. */
export class OtherDtype extends Error {
  readonly chosen: Candidate;

  constructor(chosen: Candidate) {
    super(`expected weights stored as ${chosen.dtype}`);
    this.chosen = chosen;
  }
}

/**
 * Loads from the browser's storage what is there, and keeps what has to be fetched.
 * @throws OtherDtype where `making.likely` is not what the self-test chooses
 */
export async function loadCached(
  source: CheckpointSource,
  cache: CacheRequest,
  making: Making,
): Promise<LoadedModel> {
  const { likely, signal } = making;
  const store = await openStore(cache.kind);
  if (typeof store === 'string') return loadFresh(source, making, async () => store);
  const chosen = making.prefix === undefined ? '' : `#prefix=${making.prefix}`; // another model of the same file
  const key = await cacheKey(cache.folder + chosen, likely.dtype);
  return exclusively(key, signal, async () => {
    const folder = await store.folder(key).catch((error: unknown) => `the cache failed: ${String(error)}`);
    if (typeof folder === 'string') return loadFresh(source, making, async () => folder);
    const kept = making.reload ? undefined : await readPlan(folder); // what could not be loaded before is removed, or cannot be
    const known = kept && sameIntegrity(kept.plan.integrity, cache.integrity) ? kept : undefined;
    let leaving: Promise<void> | undefined;
    try {
      const asked = known && cache.ask ? await ask(cache.ask, known.plan, signal) : { reason: '' };
      if (known && asked.state !== 'changed')
        return await loadKnown(source, store, folder, known, making, asked.reason);
      const changed = asked.state === 'changed';
      leaving = folder.leaveTornBlock?.(); // while the source answers
      return await loadFresh(
        source,
        changed ? { ...making, reload: true } : making,
        async (precision, checkpoint, config, prefix) => {
          await leaving;
          if (precision.dtype !== likely.dtype) throw new OtherDtype(precision);
          return begin(cache, store, folder, precision, checkpoint, config, prefix);
        },
      );
    } catch (error) {
      await leaving; // it makes files, and the lock is let go of
      if (isInterruption(error, signal)) throw error;
      await store.remove(key).catch(() => undefined); // the first error is the one to tell
      throw error;
    }
  });
}

/** What a source says of an entry, and words for it: no answer is one too. */
async function ask(
  question: NonNullable<CacheRequest['ask']>,
  plan: CachePlan,
  signal: AbortSignal,
): Promise<{ readonly state?: SourceState; readonly reason: string }> {
  try {
    const state = await question(plan);
    return {
      state,
      reason:
        state === 'unknown'
          ? '; its server does not tell whether it is the newest'
          : '; its server has no other',
    };
  } catch (error) {
    signal.throwIfAborted();
    return {
      reason: `; whether it is the newest could not be asked (${error instanceof Error ? error.message : String(error)})`,
    };
  }
}

/** Loads an entry of the cache, and the rest of one that was interrupted. */
async function loadKnown(
  source: CheckpointSource,
  store: CacheStore,
  folder: CacheFolder,
  known: SealedPlan,
  making: Making,
  asked: string,
): Promise<LoadedModel> {
  const { plan } = known;
  const { gpu, report, signal } = making;
  const json = plan.config === null ? undefined : parseJson(plan.config);
  const described = plan.config === null ? {} : describedBy(json);
  const { config, tensors } = settle(wholeHeader(plan), described, making);
  const preprocessing = source.preprocessing ?? preprocessingOfText(plan.preprocessor, json);
  const decision = decide(making, config);
  const precision = await untilAborted(() => decision.known, signal);
  if (precision.dtype !== plan.dtype) throw new OtherDtype(precision);
  const totalBytes = plan.files.reduce((sum, { fileBytes }) => sum + fileBytes, 0);
  const totalTensors = plan.files.reduce((sum, { header }) => sum + header.tensors.size, 0);
  const present = new Set(plan.present);
  return build(
    making,
    decision,
    { ...described, config, tensors, preprocessing },
    async (storage, signal) => {
      const weights = await WeightMemory.create(
        gpu,
        parameters(config).filter(({ name }) => present.has(name)),
        storage,
      );
      try {
        const head = new CachedHead(plan);
        const header = wholeHeader(plan);
        const scales = new RowScales(readQuantized(header).scales);
        const writeWith =
          (task: Task) =>
          (name: string, offset: number, bytes: Uint8Array<ArrayBuffer>): void => {
            if (!head.write(name, bytes) && !scales.add(name, offset, bytes))
              weights.write(task, name, offset, bytes);
          };
        const told = (loadedBytes: number): void => report({ loadedBytes, totalBytes });
        const found = await gpu.task('weights', signal, (task) =>
          replay(folder, known, writeWith(task), told, signal),
        );
        if (found.complete) {
          weights.matrices = originalOf(new MatrixSample(found.sample).digest, header.metadata);
          report({ loadedBytes: totalBytes, totalBytes, loadedTensors: totalTensors, totalTensors });
          return {
            weights,
            head: head.head,
            report: {
              fetchedBytes: 0,
              cachedBytes: found.packedBytes,
              cache: store.kind,
              cacheReason: `read from the cache${asked}`,
            },
          };
        }
        const { place } = found;
        if (!place) throw startOver(new SourceError('SOURCE_CHANGED', `${plan.folder}: not in the cache`));
        // What cannot be removed is written over, or breaks the chain of seals: told, and no reason to fail.
        const untidy = await tidy(folder, found.segments).then(
          () => '',
          (error: unknown) =>
            `; what is left of the interrupted download could not be removed (${String(error)})`,
        );
        const { onProgress, fetched } = counting(report);
        const leaving = folder.leaveTornBlock?.(); // what has ended the download may have been a crash
        const { stream } = await source
          .open({ ...making, onProgress, resume: { versions: plan.files, place, integrity: plan.integrity } })
          .finally(() => leaving);
        const writer = new CacheWriter(store.kind, folder, plan, () => stream.place!(), found);
        const loaded = await fill(making, stream, config, storage, signal, {
          prefix: tensors.prefix,
          writer,
          into: weights,
          scales,
          head: head.head,
        });
        const { cache, cacheReason } = outcome(writer);
        return {
          ...loaded,
          report: {
            fetchedBytes: fetched() - placeBytes(plan, place),
            cachedBytes: found.packedBytes,
            cache,
            cacheReason: cacheReason + asked + untidy,
          },
        };
      } catch (error) {
        weights.destroy();
        throw error;
      }
    },
  );
}

/** Begins an entry, or says why there can be none. */
async function begin(
  cache: CacheRequest,
  store: CacheStore,
  folder: CacheFolder,
  { dtype, storage: weightStorage }: Candidate,
  { stream, texts }: Checkpoint,
  config: DINOv2Config,
  prefix: string,
): Promise<CacheWriter | string> {
  if (typeof texts === 'string') return texts;
  if (!stream.files || !stream.place || !texts) return 'the source is no checkpoint on a server';
  const present = presentParameters(stream, parameters(config), prefix);
  const { shape: head } = watchForHead(stream, headWidths(config), undefined, prefix);
  const packedBytes = present.reduce(
    (sum, parameter) => sum + parameterBytes(parameter, weightStorage),
    scaleBytes(stream) + (head ? 4 * head.numClasses * (head.inFeatures + 1) : 0),
  );
  try {
    const storage: Partial<StorageManager> = navigator.storage; // workers have no `persist`
    if (cache.persist) void storage.persist?.().catch(() => undefined); // some ask the visitor, whose answer no load waits for
    await tidy(folder, -1); // what is there is of another version: it takes no room from this one, and is not taken for it where there is none
    await removeOlder(store); // before room is asked for: theirs is free then
    const { quota = Infinity, usage = 0 } = (await storage.estimate?.()) ?? {};
    // What browsers tell is a guess, and the write is what counts; but what cannot fit is not begun.
    if (quota - usage < packedBytes) return `expected room for ${packedBytes} bytes, found ${quota - usage}`;
    const plan: CachePlan = {
      format: CACHE_FORMAT,
      id: cache.id,
      folder: cache.folder,
      dtype,
      ...texts,
      files: stream.files,
      integrity: cache.integrity,
      present: present.map(({ name }) => name),
      head,
      packedBytes,
    };
    const seal = await writePlan(folder, plan);
    return new CacheWriter(store.kind, folder, plan, () => stream.place!(), { ...NOTHING, seal });
  } catch (error) {
    return `writing to the cache failed: ${String(error)}`;
  }
}

/** One header of all files, as `openCheckpoint` gives it. */
const wholeHeader = ({ files: [first, ...others] }: CachePlan): SafetensorsHeader => ({
  ...first!.header,
  tensors: new Map([first!, ...others].flatMap(({ header }) => [...header.tensors])),
});

/** Entries of formats that no load reads any more. Those of newer ones are another version's. */
async function removeOlder(store: CacheStore): Promise<void> {
  for (const key of await store.keys())
    if (Number(/^v(\d+)-/.exec(key)?.[1] ?? Infinity) < CACHE_FORMAT) await store.remove(key);
}

function sameIntegrity(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  return Object.entries(b).every(([file, hash]) => a[file] === hash); // what was checked and is not asked for any more does no harm
}

/**
 * Whether what has come so far is good, and worth going on with: also where a network that wants a login sent
 * its page, or led elsewhere.
 */
function isInterruption(error: unknown, signal: AbortSignal): boolean {
  if (signal.aborted || error instanceof DeviceError || error instanceof OtherDtype) return true;
  return error instanceof SourceError && /FETCH|TRUNCATED|HTML|URL/.test(error.code) && !mayStartOver(error);
}
