/** Features whose numbers are on the worker's GPU. */
import { DeviceError, OptionError } from '../errors.js';
import type { AttentionOptions } from '../model/attention.js';
import type { HiddenStateOptions, IntermediateLayerOptions, LayerWithClassToken } from '../model/features.js';
import type { Connection } from './connection.js';
import type { Place } from './places.js';
import type { FeaturesState } from './protocol.js';
import { toSend } from './requests.js';
import { abandoned, disposalOfFeatures } from './unwanted.js';

type Numbers = Float32Array<ArrayBuffer>;

const places = new WeakMap<Features, Place>();

/**
 * What `Features` of 'dinov2-webgpu' is, with the work in the worker: every method is a question to it, whose
 * answer comes without a copy. `buffer` and `gpu` are not there, as a page cannot use a worker's. See
 * `Features` there for shapes and errors.
 */
export class Features {
  readonly batch: number;
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly numHeads: number;
  readonly depth: number;
  readonly numRegisterTokens: number;
  readonly numTokens: number;
  readonly #connection: Connection;
  readonly #id: number;
  readonly #free: () => void;
  #disposed = false;

  /** Models make them. */
  constructor(
    connection: Connection,
    {
      features: id,
      batch,
      rows,
      cols,
      embedDim,
      numHeads,
      depth,
      numRegisterTokens,
      numTokens,
    }: FeaturesState,
  ) {
    this.batch = batch;
    this.rows = rows;
    this.cols = cols;
    this.embedDim = embedDim;
    this.numHeads = numHeads;
    this.depth = depth;
    this.numRegisterTokens = numRegisterTokens;
    this.numTokens = numTokens;
    this.#connection = connection;
    this.#id = id;
    places.set(this, { connection, id });
    connection.retain();
    this.#free = () => {
      connection.tell(disposalOfFeatures(id));
      connection.release();
    };
    abandoned.register(this, this.#free, this);
  }

  async clsToken(): Promise<Numbers> {
    return this.#tokens('clsToken');
  }

  poolerOutput(): Promise<Numbers> {
    return this.clsToken();
  }

  async registerTokens(): Promise<Numbers> {
    return this.#tokens('registerTokens');
  }

  async patchTokens(): Promise<Numbers> {
    return this.#tokens('patchTokens');
  }

  async lastHiddenState(): Promise<Numbers> {
    return this.#tokens('lastHiddenState');
  }

  async hiddenState(layer: number, options: HiddenStateOptions = {}): Promise<Numbers> {
    return this.#connection.call(
      'hiddenState',
      { features: this.#place(), layer, options },
      { holding: [this] },
    );
  }

  async getIntermediateLayers(
    n: number | readonly number[],
    options: IntermediateLayerOptions & { readonly returnClassToken: true },
  ): Promise<LayerWithClassToken[]>;
  async getIntermediateLayers(
    n?: number | readonly number[],
    options?: IntermediateLayerOptions & { readonly returnClassToken?: false | undefined },
  ): Promise<Numbers[]>;
  async getIntermediateLayers(
    n?: number | readonly number[],
    options: IntermediateLayerOptions = {},
  ): Promise<Numbers[] | LayerWithClassToken[]> {
    return this.#connection.call(
      'intermediateLayers',
      { features: this.#place(), n, options },
      { holding: [this] },
    );
  }

  async attention(layer: number, given: AttentionOptions = {}): Promise<Numbers> {
    const { options, signal } = toSend('attention', given);
    return this.#connection.call(
      'attention',
      { features: this.#place(), layer, options },
      { signal, holding: [this] },
    );
  }

  /** Frees the GPU memory. Further calls do nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    abandoned.unregister(this);
    places.delete(this);
    this.#free();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #tokens(which: 'clsToken' | 'registerTokens' | 'patchTokens' | 'lastHiddenState'): Promise<Numbers> {
    return this.#connection.call('tokens', { features: this.#place(), which }, { holding: [this] });
  }

  #place(): number {
    if (this.#disposed) throw featuresDisposed();
    return this.#id;
  }
}

const featuresDisposed = (): DeviceError =>
  new DeviceError(
    'DISPOSED',
    'These features were disposed of. Read what you need before dispose(), or compute them again.',
  );

/** Where features are. @throws OptionError OPTION_VALUE for others than this entry's; DeviceError DISPOSED */
export function placeOf(where: string, features: Features): Place {
  const place = places.get(features);
  if (place) return place;
  if (features instanceof Features) throw featuresDisposed();
  throw new OptionError(
    'OPTION_VALUE',
    `${where}: expected features that a model of 'dinov2-webgpu/worker' gave, found something else. Import model, PCA and classifier from one entry.`,
  );
}
