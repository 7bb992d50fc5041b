/** Holds the worker's objects for which the page has handles, and converts results for sending. */
import {
  checkForUpdate,
  checkSupport,
  DeviceError,
  DINOv2,
  Features,
  GpuPatchMap,
  ImageClassifier,
  listCached,
  PatchMap,
  PatchSegmenter,
  PatchTracker,
  PCA,
  Profile,
  removeCached,
} from '../index.js';
import { correspondenceData } from '../tasks/correspondences.js';
import { modelDisposed } from '../errors.js';
import { checkNames, checkOptions } from '../optionNames.js';
import { computed, prepareLive } from './liveModel.js';
import { convert, KIND, type ObjectKind, type SentResult } from './protocol.js';
import { sendError } from './sendError.js';

/** Targets of calls other than objects: classes, and `functions`, which belong to no class. */
export const classes: Readonly<Record<string, object>> = {
  DINOv2,
  ImageClassifier,
  PCA,
  PatchSegmenter,
  PatchTracker,
  functions: {
    checkSupport: () => checkSupport(),
    checkForUpdate,
    correspondences: correspondenceData,
    listCached: (options: object) => (checkOptions('listCached', options), listCached()),
    removeCached: (id: string | undefined, options: object) => (
      checkOptions('removeCached', options),
      removeCached(id)
    ),
    /** Reports an unknown option name if the options themselves are not sent. */
    checkNames,
    computed,
    prepareLive,
  },
};

interface ObjectOf {
  readonly DINOv2: DINOv2;
  readonly Features: Features;
  readonly ImageClassifier: ImageClassifier;
  readonly GpuPatchMap: GpuPatchMap;
  readonly PatchTracker: PatchTracker;
}

/**
 * For each class whose objects stay in the worker: the properties that a handle copies, and the error
 * message after disposal.
 */
const REMOTE_CLASSES = {
  DINOv2: [
    DINOv2,
    ['config', 'dtype', 'dtypeReason', 'loaded', 'preprocessing', 'adapter', 'parameterCount', 'classifier'],
    modelDisposed().message,
  ],
  Features: [
    Features,
    [
      'batch',
      'rows',
      'cols',
      'embedDim',
      'numHeads',
      'depth',
      'numRegisterTokens',
      'numTokens',
      'placements',
    ],
    'These features are disposed. Read values before dispose(), or compute the features again.',
  ],
  ImageClassifier: [
    ImageClassifier,
    ['labels', 'numClasses', 'blocks', 'problemType', 'scoreFunction', 'layers'],
    'The model of this classifier is disposed. Load it again.',
  ],
  GpuPatchMap: [
    GpuPatchMap,
    ['rows', 'cols'],
    'This map is disposed. Read it before dispose(), or compute it again.',
  ],
  PatchTracker: [PatchTracker, ['rows', 'cols', 'embedDim'], 'This tracker is disposed. Start a new one.'],
} as const satisfies {
  readonly [Kind in ObjectKind]: readonly [unknown, readonly (keyof ObjectOf[Kind])[], string];
};

/** Classes whose objects are plain data, of which the page gets a copy. */
const DATA_CLASSES = { PCA, Profile, PatchMap, PatchSegmenter } as const;

const objects = new Map<number, object>();
let lastId = 0;

/** Returns the object to which the worker gave the number `id`. @throws DeviceError DISPOSED */
export function objectOf(id: number, kind: ObjectKind): object {
  const object = objects.get(id);
  if (!object) throw new DeviceError('DISPOSED', REMOTE_CLASSES[kind][2]);
  return object;
}

export function dispose(id: number): void {
  const object = objects.get(id) as Partial<Features> | undefined;
  objects.delete(id);
  object?.dispose?.();
}

/**
 * Replaces the objects in a result by stand-ins (see protocol.ts), so that the result can be sent to the
 * page.
 * @param transfer receives the buffers of all arrays in the result, which the worker no longer uses
 */
export function sendResult(result: unknown, transfer: Set<Transferable>): unknown {
  const state = (object: object, names: readonly string[]): object =>
    Object.fromEntries(names.map((name) => [name, convert(Reflect.get(object, name), stand)]));
  const stand = (each: object): unknown => {
    if (ArrayBuffer.isView(each) && each.buffer instanceof ArrayBuffer) transfer.add(each.buffer);
    for (const [kind, [Class, names]] of Object.entries(REMOTE_CLASSES))
      if (each instanceof Class) {
        objects.set(++lastId, each);
        return { [KIND]: kind as ObjectKind, id: lastId, state: state(each, names) } satisfies SentResult;
      }
    for (const [kind, Class] of Object.entries(DATA_CLASSES))
      if (each instanceof Class) {
        const named = kind as keyof typeof DATA_CLASSES;
        const sent = { [KIND]: named, state: state(each, Object.keys(each)), text: String(each) };
        return sent satisfies SentResult;
      }
    return each instanceof Error ? sendError(each) : each;
  };
  return convert(result, stand);
}
