/** What a page and its worker say to each other. Types, and the number that both must agree on. */
import type { AdapterDescription } from '../gpu/adapter.js';
import type { ProfileData } from '../gpu/measure/profile.js';
import type { PixelOptions, Pixels } from '../image/preprocess.js';
import type { Preprocessing } from '../image/preprocessing.js';
import type { RawImage } from '../image/source.js';
import type { AttentionOptions } from '../model/attention.js';
import type { DINOv2Config, ModelSize } from '../model/config.js';
import type { HiddenStateOptions, IntermediateLayerOptions, LayerWithClassToken } from '../model/features.js';
import type { Dtype } from '../weights/precision.js';
import type {
  BySizeOptions,
  EmbedAllOptions,
  EmbedOptions,
  FeatureOptions,
  ForwardOptions,
  LoadOptions,
  LoadReport,
  PixelSize,
  PretrainedOptions,
  TuneOptions,
  TuningReport,
} from '../options.js';
import type { CachedModel } from '../cache/cachedModels.js';
import type { SourceState } from '../cache/revalidate.js';
import type { Support } from '../support.js';
import type { Classification, ClassifierFiles, ClassifyOptions, ScoreFunction } from '../tasks/classifier.js';
import type { ProblemType } from '../tasks/classLabels.js';
import type { Embedding } from '../tasks/embedAll.js';
import type { PcaBasis, PcaJSON } from '../tasks/pcaBasis.js';
import type { PcaDrawOptions, PcaFitOptions } from '../tasks/pca.js';

/**
 * Raised with every change of what is below: a page and a worker of two versions do not misunderstand each
 * other.
 */
export const PROTOCOL = 4;

/** An error on its way. Those of the page are known to it by their place in the list of the call. */
export type SentError =
  | { readonly from: 'abort' }
  | { readonly from: 'page'; readonly index: number }
  | { readonly from: 'value'; readonly value: unknown }
  | {
      readonly from: 'worker';
      /** Which class to make it of. */
      readonly kind: string;
      readonly name: string;
      readonly code: string | undefined;
      readonly status: number | undefined;
      readonly message: string;
      readonly stack: string | undefined;
      readonly cause: SentError | undefined;
    };

/** An image on its way. What was made for the journey alone is closed at its end. */
export type SentImage =
  | {
      readonly kind: 'image';
      readonly image: string | Blob | Uint8Array | ImageData | RawImage | ImageBitmap | VideoFrame;
    }
  /**
   * Nothing that can be used: the library says so in the worker, in the words that it has for the class of
   * the thing.
   */
  | {
      readonly kind: 'unusable';
      readonly name: string;
      readonly url?: string;
      readonly cause?: SentError;
      readonly data?: RawImage;
    }
  | { readonly kind: 'error'; readonly error: SentError };

/**
 * A part of a checkpoint on its way: what can be cloned, or a stream that the page reads when it is asked to.
 */
export type SentBytes =
  | { readonly bytes: string | Blob | FileSystemFileHandle | Uint8Array | ArrayBuffer }
  | { readonly stream: number };

type Sent<Options> = Omit<Options, 'signal' | 'onProgress' | 'device' | 'fetch' | 'baseUrl' | 'store'>;

export interface LoadRequest {
  readonly how:
    | {
        readonly kind: 'pretrained';
        readonly id: string;
        readonly options: Sent<PretrainedOptions> & { readonly baseUrl?: string | undefined };
      }
    | {
        readonly kind: 'files';
        /** All of `ModelFiles` but the weights, under their names. */
        readonly files: Readonly<Record<string, unknown>>;
        readonly weights: readonly SentBytes[];
        readonly options: Sent<LoadOptions>;
      }
    | {
        readonly kind: 'synthetic';
        readonly size: ModelSize | DINOv2Config;
        readonly options: Sent<LoadOptions> & { readonly registers?: boolean };
      };
  /** What relative URLs count from. */
  readonly base: string | undefined;
  readonly progress: boolean;
  readonly fetch: boolean;
}

export interface ClassifierState {
  readonly classifier: number;
  readonly labels: readonly string[];
  readonly numClasses: number;
  readonly blocks: 1 | 4;
  readonly problemType: ProblemType | undefined;
  readonly scoreFunction: ScoreFunction;
  readonly layers: readonly number[];
}

export interface ModelState {
  readonly model: number;
  readonly config: DINOv2Config;
  readonly dtype: Dtype;
  readonly dtypeReason: string;
  readonly loaded: LoadReport;
  readonly preprocessing: Preprocessing;
  readonly adapter: AdapterDescription;
  readonly parameterCount: number;
  readonly classifier: ClassifierState | undefined;
}

export interface FeaturesState {
  readonly features: number;
  readonly batch: number;
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly numHeads: number;
  readonly depth: number;
  readonly numRegisterTokens: number;
  readonly numTokens: number;
}

export interface GroupState {
  readonly indices: readonly number[];
  readonly features: FeaturesState;
}

export type SentEmbedded =
  ({ readonly index: number } & Embedding) | { readonly index: number; readonly error: SentError };

type Numbers = Float32Array<ArrayBuffer>;
interface OfModel<Options> {
  readonly model: number;
  readonly options: Sent<Options>;
}
interface OfImages<Options> extends OfModel<Options> {
  readonly images: SentImage | readonly SentImage[];
}

/** What a page can ask for: by name, what goes in and what comes out. */
export interface Operations {
  load(request: LoadRequest): ModelState;
  disposeModel(request: { readonly model: number }): void;
  gpuBytes(request: { readonly model: number }): number;
  features(request: OfImages<FeatureOptions>): FeaturesState;
  featuresBySize(
    request: OfModel<BySizeOptions> & { readonly images: readonly SentImage[] },
  ): readonly GroupState[];
  embed(request: OfImages<EmbedOptions>): Numbers | Numbers[];
  embedAll(request: OfModel<EmbedAllOptions>): void;
  pixels(request: OfImages<PixelOptions>): Pixels;
  forward(
    request: OfModel<ForwardOptions> & { readonly pixels: Float32Array; readonly size: PixelSize },
  ): FeaturesState;
  fingerprint(request: { readonly model: number }): string;
  describe(request: { readonly model: number; readonly size: PixelSize | undefined }): string;
  profile(request: OfImages<PixelOptions>): ProfileData;
  tune(request: OfModel<TuneOptions> & { readonly store: 'default' | 'page' | false }): TuningReport;

  disposeFeatures(request: { readonly features: number }): void;
  tokens(request: {
    readonly features: number;
    readonly which: 'clsToken' | 'registerTokens' | 'patchTokens' | 'lastHiddenState';
  }): Numbers;
  hiddenState(request: {
    readonly features: number;
    readonly layer: number;
    readonly options: HiddenStateOptions;
  }): Numbers;
  intermediateLayers(request: {
    readonly features: number;
    readonly n: number | readonly number[] | undefined;
    readonly options: IntermediateLayerOptions;
  }): Numbers[] | LayerWithClassToken[];
  attention(request: {
    readonly features: number;
    readonly layer: number;
    readonly options: Sent<AttentionOptions>;
  }): Numbers;

  openClassifier(request: {
    readonly model: number;
    readonly weights: SentBytes;
    /** All of `ClassifierFiles` but the weights. */
    readonly files: Omit<ClassifierFiles, 'weights'>;
    readonly options: object;
    readonly base: string | undefined;
  }): ClassifierState;
  disposeClassifier(request: { readonly classifier: number }): void;
  classify(request: {
    readonly classifier: number;
    readonly images: SentImage | readonly SentImage[];
    readonly options: Sent<ClassifyOptions>;
  }): Classification[] | Classification[][];
  logits(request: { readonly classifier: number; readonly features: number }): Numbers[];

  fitPca(request: { readonly features: readonly number[]; readonly options: Sent<PcaFitOptions> }): PcaBasis;
  pcaColours(request: {
    readonly pca: PcaJSON;
    readonly features: number;
    readonly options: Sent<PcaDrawOptions>;
  }): Uint8ClampedArray<ArrayBuffer>;

  checkSupport(request: Record<string, never>): Support;
  listCached(request: { readonly options: object }): CachedModel[];
  checkForUpdate(request: { readonly id: string; readonly options: object }): SourceState;
  removeCached(request: { readonly id: string | undefined; readonly options: object }): number;
  /** Of options that could not be sent: throws as the call would have. */
  checkNames(request: { readonly where: string; readonly names: readonly string[] }): void;
}

export type Operation = keyof Operations;
export type Request<Name extends Operation> = Parameters<Operations[Name]>[0];
export type Reply<Name extends Operation> = ReturnType<Operations[Name]>;

export interface SentFetch {
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly cache: RequestCache | undefined;
  /** Of the call: what a later `read` or `stop` means. */
  readonly fetch: number;
}

export interface SentResponse {
  readonly status: number;
  readonly statusText: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly url: string;
  readonly type: string;
  readonly body: boolean;
}

/** What the worker can ask of the page during a call: functions that stay in the page. */
export interface Services {
  progress(progress: Parameters<NonNullable<LoadOptions['onProgress']>>[0]): void;
  fetch(request: SentFetch): SentResponse;
  /** The next piece of an answer's body, or of a stream; undefined at its end. */
  read(
    request: { readonly fetch: number } | { readonly stream: number },
  ): Uint8Array<ArrayBuffer> | undefined;
  stop(request: { readonly fetch: number } | { readonly stream: number }): void;
  next(request: Record<string, never>): SentImage | undefined;
  leave(request: Record<string, never>): void;
  /** A result of `embedAll`; answered when the page wants the next: false, if none. */
  give(embedded: SentEmbedded): boolean;
  getTuning(request: { readonly key: string }): unknown;
  setTuning(request: { readonly key: string; readonly value: unknown }): void;
}

export type Service = keyof Services;
/** An answer of the page, and what goes along without a copy. */
export interface Handed<Value> {
  readonly value: Value;
  readonly transfer: Transferable[];
}
export type PageServices = {
  readonly [Name in Service]?: (
    request: Parameters<Services[Name]>[0],
  ) => Promise<Handed<ReturnType<Services[Name]>>>;
};

/** From the page. */
export type ToWorker =
  | { readonly kind: 'call'; readonly id: number; readonly operation: Operation; readonly request: unknown }
  /** `index`: of the page's error that is the reason; else the caller's signal. */
  | { readonly kind: 'abort'; readonly id: number; readonly index?: number }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | {
      readonly kind: 'refusal';
      readonly id: number;
      readonly call: number;
      readonly index: number;
      readonly name: string;
      readonly message: string;
    };

/** From the worker. */
export type FromWorker =
  /** `lock`: a lock that it holds as long as it lives. */
  | { readonly kind: 'ready'; readonly protocol: number; readonly lock: string | undefined }
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly error: SentError }
  | {
      readonly kind: 'ask';
      readonly id: number;
      readonly call: number;
      readonly service: Service;
      readonly request: unknown;
    };
