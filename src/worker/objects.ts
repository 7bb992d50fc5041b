/** Objects of the library that a page has handles of, and how results leave the worker. */
import {
  checkForUpdate,
  checkSupport,
  DeviceError,
  DINOv2,
  Features,
  ImageClassifier,
  listCached,
  PCA,
  Profile,
  removeCached,
} from '../index.js';
import { checkNames, checkOptions } from '../optionNames.js';
import { convert, KIND, type ObjectKind, type SentResult } from './protocol.js';
import { sendError } from './sendError.js';

/** What a call's target can be, besides an object: classes, and functions. */
export const classes: Readonly<Record<string, object>> = {
  DINOv2,
  ImageClassifier,
  PCA,
  functions: {
    checkSupport: () => checkSupport(),
    checkForUpdate,
    listCached(options: object) {
      checkOptions('listCached', options);
      return listCached();
    },
    removeCached(id: string | undefined, options: object) {
      checkOptions('removeCached', options);
      return removeCached(id);
    },
    /** For options that could not be sent: throws as the call would have. */
    checkNames,
  },
};

/** The state that is sent with an object, for getters that answer at once. */
const MODEL = [
  'config',
  'dtype',
  'dtypeReason',
  'loaded',
  'preprocessing',
  'adapter',
  'parameterCount',
  'classifier',
] as const satisfies readonly (keyof DINOv2)[];
const FEATURES = [
  'batch',
  'rows',
  'cols',
  'embedDim',
  'numHeads',
  'depth',
  'numRegisterTokens',
  'numTokens',
] as const satisfies readonly (keyof Features)[];
const CLASSIFIER = [
  'labels',
  'numClasses',
  'blocks',
  'problemType',
  'scoreFunction',
  'layers',
] as const satisfies readonly (keyof ImageClassifier)[];

const DISPOSED: Readonly<Record<ObjectKind, string>> = {
  DINOv2: 'This model was disposed of. Load it again.',
  Features: 'These features were disposed of. Read what you need before dispose(), or compute them again.',
  ImageClassifier: 'The model of this classifier was disposed of. Load it again.',
};

const objects = new Map<number, object>();
let lastId = 0;

/** @throws DeviceError DISPOSED */
export function objectOf(id: number, kind: ObjectKind): object {
  const object = objects.get(id);
  if (!object) throw new DeviceError('DISPOSED', DISPOSED[kind]);
  return object;
}

export function dispose(id: number): void {
  const object = objects.get(id) as Partial<Features> | undefined;
  objects.delete(id);
  object?.dispose?.();
}

/**
 * A result as it is sent: objects that stay here as their numbers and state, errors by their class.
 * @param transfer gets the memory of all arrays: it goes to the page, and nobody here has a use for it
 */
export function sendResult(result: unknown, transfer: Set<Transferable>): unknown {
  const send = (value: unknown): unknown => convert(value, special);
  const state = (object: object, names: readonly string[]): object =>
    send(Object.fromEntries(names.map((name) => [name, Reflect.get(object, name) as unknown]))) as object;
  const kept = (kind: ObjectKind, object: object, names: readonly string[]): SentResult => {
    objects.set(++lastId, object);
    return { [KIND]: kind, id: lastId, state: state(object, names) };
  };
  const plain = (kind: 'PCA' | 'Profile', object: object): SentResult => ({
    [KIND]: kind,
    state: state(object, Object.keys(object)),
    text: String(object),
  });
  const special = (each: object): unknown => {
    if (ArrayBuffer.isView(each) && each.buffer instanceof ArrayBuffer) transfer.add(each.buffer);
    if (each instanceof DINOv2) return kept('DINOv2', each, MODEL);
    if (each instanceof Features) return kept('Features', each, FEATURES);
    if (each instanceof ImageClassifier) return kept('ImageClassifier', each, CLASSIFIER);
    if (each instanceof PCA) return plain('PCA', each);
    if (each instanceof Profile) return plain('Profile', each);
    if (each instanceof Error) return { [KIND]: 'error', error: sendError(each) };
    return each;
  };
  return send(result);
}
