/** What the worker does, by name. */
import {
  checkForUpdate,
  checkSupport,
  DINOv2,
  ImageClassifier,
  listCached,
  PCA,
  removeCached,
  DeviceError,
  type Classification,
  type Features,
  type ImageSource,
} from '../index.js';
import type { ByteSource } from '../io/sources.js';
import { checkNames, checkOptions } from '../optionNames.js';
import type { LoadOptions } from '../options.js';
import { arrive, leave } from './arrivals.js';
import { pageFetch, pageStream } from './pageFetch.js';
import type {
  ClassifierState,
  FeaturesState,
  LoadRequest,
  ModelState,
  Operations,
  SentBytes,
  SentImage,
  Service,
  Services,
} from './protocol.js';
import { sendError } from './sentErrors.js';

/** What an operation knows of the call that it is. */
export interface Context {
  /** Set off by the page. */
  readonly signal: AbortSignal;
  /** Asks the page, and waits for its answer. */
  ask<Name extends Service>(
    service: Name,
    request: Parameters<Services[Name]>[0],
    transfer?: Transferable[],
  ): Promise<ReturnType<Services[Name]>>;
  /** Tells the page. */
  tell<Name extends Service>(service: Name, request: Parameters<Services[Name]>[0]): void;
}

type Performers = {
  readonly [Name in keyof Operations]: (
    request: Parameters<Operations[Name]>[0],
    context: Context,
  ) => ReturnType<Operations[Name]> | Promise<ReturnType<Operations[Name]>>;
};

/** Things that the page has handles of. */
class Table<Thing> {
  readonly #things = new Map<number, Thing>();
  readonly #what: string;
  #next = 1;

  constructor(what: string) {
    this.#what = what;
  }

  add(thing: Thing): number {
    this.#things.set(this.#next, thing);
    return this.#next++;
  }

  /** @throws DeviceError DISPOSED */
  get(id: number): Thing {
    const thing = this.#things.get(id);
    if (thing === undefined)
      throw new DeviceError('DISPOSED', `The ${this.#what} was disposed of. Load or compute it again.`);
    return thing;
  }

  take(id: number): Thing {
    const thing = this.get(id);
    this.#things.delete(id);
    return thing;
  }
}

const models = new Table<DINOv2>('model');
const features = new Table<Features>('features');
const classifiers = new Table<ImageClassifier>('classifier');

/** Uses images that were sent, and closes those that were made for it. */
async function withImages<T>(
  sent: SentImage | readonly SentImage[],
  use: (images: ImageSource | ImageSource[]) => Promise<T>,
): Promise<T> {
  const isList = (value: SentImage | readonly SentImage[]): value is readonly SentImage[] =>
    Array.isArray(value);
  const images = isList(sent) ? sent.map(arrive) : arrive(sent);
  try {
    return await use(images);
  } finally {
    for (const image of Array.isArray(images) ? images : [images]) leave(image);
  }
}

async function load({ how, base, progress, fetch }: LoadRequest, context: Context): Promise<ModelState> {
  countFrom(base);
  const common: Pick<LoadOptions, 'signal' | 'onProgress'> = {
    signal: context.signal,
    ...(progress ? { onProgress: (news) => context.tell('progress', news) } : {}),
  };
  const model = await open(how, common, context, fetch);
  if (context.signal.aborted) {
    model.dispose();
    throw context.signal.reason;
  }
  const { config, dtype, dtypeReason, loaded, preprocessing, adapter, parameterCount, classifier } = model;
  return {
    model: models.add(model),
    config,
    dtype,
    dtypeReason,
    loaded,
    preprocessing,
    adapter,
    parameterCount,
    classifier: classifier && stateOfClassifier(classifier),
  };
}

function open(
  how: LoadRequest['how'],
  common: Pick<LoadOptions, 'signal' | 'onProgress'>,
  context: Context,
  fetch: boolean,
): Promise<DINOv2> {
  switch (how.kind) {
    case 'pretrained':
      return DINOv2.fromPretrained(how.id, {
        ...how.options,
        ...common,
        ...(fetch ? { fetch: pageFetch(context) } : {}),
      });
    case 'files': {
      const weights = how.weights.map((source) => bytesOf(source, context));
      return DINOv2.fromFiles(
        { ...how.files, weights: weights.length === 1 ? weights[0]! : weights },
        { ...how.options, ...common },
      );
    }
    default:
      return DINOv2.synthetic(how.size, { ...how.options, ...common });
  }
}

/** The library counts relative URLs from a document, where there is one: the page's, here as there. */
function countFrom(baseURI: string | undefined): void {
  if (baseURI !== undefined)
    Object.defineProperty(globalThis, 'document', { value: { baseURI }, configurable: true });
}

const bytesOf = (source: SentBytes, context: Context): ByteSource =>
  'stream' in source ? pageStream(context, { stream: source.stream }) : source.bytes;

const stateOfClassifier = (classifier: ImageClassifier): ClassifierState => {
  const { labels, numClasses, blocks, problemType, scoreFunction, layers } = classifier;
  return {
    classifier: classifiers.add(classifier),
    labels,
    numClasses,
    blocks,
    problemType,
    scoreFunction,
    layers,
  };
};

function stateOf(made: Features): FeaturesState {
  const { batch, rows, cols, embedDim, numHeads, depth, numRegisterTokens, numTokens } = made;
  return {
    features: features.add(made),
    batch,
    rows,
    cols,
    embedDim,
    numHeads,
    depth,
    numRegisterTokens,
    numTokens,
  };
}

export const operations: Performers = {
  load,
  disposeModel: ({ model }) => models.take(model).dispose(),
  gpuBytes: ({ model }) => models.get(model).gpuBytes,
  features: ({ model, images, options }, { signal }) =>
    withImages(images, async (image) =>
      stateOf(await models.get(model).features(image, { ...options, signal })),
    ),
  featuresBySize: ({ model, images, options }, { signal }) =>
    withImages(images, async (list) => {
      const groups = await models
        .get(model)
        .featuresBySize(Array.isArray(list) ? list : [list], { ...options, signal });
      return groups.map(({ indices, features: made }) => ({ indices, features: stateOf(made) }));
    }),
  embed: ({ model, images, options }, { signal }) =>
    withImages<Float32Array<ArrayBuffer> | Float32Array<ArrayBuffer>[]>(images, (image) => {
      const found = models.get(model);
      return Array.isArray(image)
        ? found.embed(image, { ...options, signal })
        : found.embed(image, { ...options, signal });
    }),
  async embedAll({ model, options }, { signal, ask, tell }) {
    let present: ImageSource | undefined;
    let left = false;
    const leavePresent = (): void => {
      if (present !== undefined) leave(present); // the next is asked for once this one is on the GPU
      present = undefined;
    };
    const iterator: AsyncIterator<ImageSource, undefined> = {
      async next() {
        leavePresent();
        const sent = await ask('next', {});
        if (!sent) return { done: true, value: undefined };
        present = arrive(sent);
        if (!left) return { done: false, value: present };
        leavePresent(); // it was on its way when the loop was left
        return { done: true, value: undefined };
      },
      async return() {
        left = true;
        leavePresent();
        tell('leave', {});
        return { done: true, value: undefined };
      },
    };
    const images = { [Symbol.asyncIterator]: () => iterator };
    for await (const embedded of models.get(model).embedAll(images, { ...options, signal })) {
      const { index, embedding, patches, error } = embedded;
      const more = embedding
        ? await ask('give', embedded, [embedding.buffer, ...(patches ? [patches.tokens.buffer] : [])])
        : await ask('give', { index, error: sendError(error) });
      if (!more) return;
    }
  },
  pixels: ({ model, images, options }, { signal }) =>
    withImages(images, (image) => models.get(model).pixels(image, { ...options, signal })),
  forward: async ({ model, pixels, size, options }, { signal }) =>
    stateOf(await models.get(model).forward(pixels, size, { ...options, signal })),
  fingerprint: ({ model }) => models.get(model).fingerprint(),
  describe: ({ model, size }) => models.get(model).describe(size),
  profile: ({ model, images, options }, { signal }) =>
    withImages(images, (image) => models.get(model).profile(image, { ...options, signal })),
  tune: ({ model, options, store }, { signal, ask }) => {
    const page = {
      get: (key: string) => ask('getTuning', { key }),
      set: async (key: string, value: unknown) => ask('setTuning', { key, value }),
    };
    return models.get(model).tune({
      ...options,
      signal,
      ...(store === 'default' ? {} : { store: store === 'page' ? page : store }),
    });
  },

  disposeFeatures: ({ features: id }) => features.take(id).dispose(),
  tokens: ({ features: id, which }) => features.get(id)[which](),
  hiddenState: ({ features: id, layer, options }) => features.get(id).hiddenState(layer, options),
  intermediateLayers: ({ features: id, n, options: { returnClassToken = false, ...options } }) => {
    const made = features.get(id);
    return returnClassToken
      ? made.getIntermediateLayers(n ?? 1, { ...options, returnClassToken })
      : made.getIntermediateLayers(n, options);
  },
  attention: ({ features: id, layer, options }, { signal }) =>
    features.get(id).attention(layer, { ...options, signal }),

  async openClassifier({ model, weights, files, options, base }, context) {
    countFrom(base);
    return stateOfClassifier(
      await ImageClassifier.fromFiles(
        models.get(model),
        { ...files, weights: bytesOf(weights, context) },
        { ...options, signal: context.signal },
      ),
    );
  },
  disposeClassifier: ({ classifier }) => void classifiers.take(classifier),
  classify: ({ classifier, images, options }, { signal }) =>
    withImages<Classification[] | Classification[][]>(images, (image) => {
      const found = classifiers.get(classifier);
      return Array.isArray(image)
        ? found.classify(image, { ...options, signal })
        : found.classify(image, { ...options, signal });
    }),
  logits: ({ classifier, features: id }) => classifiers.get(classifier).logits(features.get(id)),

  fitPca: async ({ features: ids, options }, { signal }) => {
    const { embedDim, mean, components, explainedVariance, explainedVarianceRatio, low, high, foreground } =
      await PCA.fit(
        ids.map((id) => features.get(id)),
        { ...options, signal },
      );
    return { embedDim, mean, components, explainedVariance, explainedVarianceRatio, low, high, foreground };
  },
  pcaColours: ({ pca, features: id, options }, { signal }) =>
    PCA.fromJSON(pca).rgb(features.get(id), { ...options, signal }),

  checkSupport: () => checkSupport(),
  listCached: ({ options }) => {
    checkOptions('listCached', options);
    return listCached();
  },
  checkForUpdate: ({ id, options }, { signal }) => checkForUpdate(id, { ...options, signal }),
  removeCached: ({ id, options }) => {
    checkOptions('removeCached', options);
    return removeCached(id);
  },
  checkNames: ({ where, names }) => checkNames(where, names),
};
