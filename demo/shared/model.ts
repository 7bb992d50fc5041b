/**
 * The model of a page: loads it, replaces it, reports progress and failures. The line above the page's content
 * (modelLine.ts) shows this state; the page gets each new model by a callback.
 */
import {
  checkSupport,
  DINOv2Error,
  listCached,
  type Dtype,
  type LoadProgress,
  type Support,
} from '../../src/index.js';
import { Latest } from './latest.js';
import { loadModel, type ModelClass } from './loading.js';
import {
  firstChoice,
  hubId,
  keepChoice,
  keptChoice,
  modelName,
  type Loaded,
  type ModelChoice,
  type Size,
} from './modelChoice.js';
import { dismiss, showError } from './toasts.js';

/** What the pages need of a model, in the page or in a worker. */
export interface PageModel {
  dispose(): void;
  /** Recovers the model from the loss of its device. */
  recover(): Promise<void>;
  /** The element type of the weights on the GPU. */
  readonly dtype?: Dtype;
  /** Present only if the model runs in the page. */
  readonly device?: GPUDevice;
}

/** Number of losses of the GPU in a minute from which the page recovers. */
const MOST_LOSSES = 2;

/** A load in progress. */
export interface Loading {
  readonly choice: ModelChoice;
  /** The newest report of the load; undefined before the first. */
  readonly progress: LoadProgress | undefined;
}

export interface StartOptions {
  /** The size of the model in the page's address. It takes precedence over the stored choice. */
  readonly size?: Size | undefined;
  /**
   * What is loaded if no trained model is in the cache. `synthetic`: a model without training, which needs no
   * download. `nothing`: the visitor must choose. Default: `synthetic`.
   */
  readonly without?: 'synthetic' | 'nothing';
}

export class ModelState<Model extends PageModel> {
  readonly #from: ModelClass<Model>;
  readonly #onModel: (loaded: Loaded<Model> | undefined) => void | Promise<void>;
  readonly #loads = new Latest();
  readonly #listeners: (() => void)[] = [];
  #loaded: Loaded<Model> | undefined;
  #loading: Loading | undefined;
  #support: Support | undefined;
  #offered: ModelChoice | undefined;
  /** When the GPU was lost in the last minute, by `performance.now`. */
  #lossesMs: readonly number[] = [];

  /**
   * @param from the class `DINOv2` of `src/index.js` or of `src/worker.js`
   * @param onModel called with each new model, and with undefined after the GPU was lost or a load has failed
   * that leaves the page without a model. The previous model is disposed of after the returned promise has resolved.
   */
  constructor(from: ModelClass<Model>, onModel: (loaded: Loaded<Model> | undefined) => void | Promise<void>) {
    this.#from = from;
    this.#onModel = onModel;
  }

  /** The model in use, with its choice. */
  get loaded(): Loaded<Model> | undefined {
    return this.#loaded;
  }
  /** The load in progress. */
  get loading(): Loading | undefined {
    return this.#loading;
  }
  /** What this browser supports; undefined until `start` has found it out. */
  get support(): Support | undefined {
    return this.#support;
  }
  /**
   * The trained model that the visitor may want: of the model in use, or the one that was chosen on the last
   * visit and is not in the cache any more. Undefined if the model in use is trained.
   */
  get offer(): ModelChoice | undefined {
    if (this.#loaded?.choice.weights !== 'synthetic') return undefined;
    return this.#offered ?? { ...this.#loaded.choice, weights: 'hub' };
  }
  /** The choice that is being loaded, is loaded, or would be loaded first. */
  get choice(): ModelChoice {
    return this.#loading?.choice ?? this.#loaded?.choice ?? keptChoice() ?? firstChoice;
  }

  /** Calls `listener` after each change of the state. */
  subscribe(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Loads the model of the last visit if this needs no download, otherwise what the options say.
   * @returns the result of `checkSupport`
   */
  async start({ size, without = 'synthetic' }: StartOptions = {}): Promise<Support> {
    const support = await checkSupport();
    this.#support = support;
    this.#changed();
    if (!support.ok) return support;
    const kept = keptChoice();
    const wanted = { ...(kept ?? firstChoice), ...(size && { size }) };
    if (wanted.weights === 'hub' && (await isCached(wanted))) {
      if (await this.#load(wanted)) return support;
    }
    if (wanted.weights === 'hub') this.#offered = wanted;
    if (!this.#loading && !this.#loaded && (without === 'synthetic' || kept?.weights === 'synthetic'))
      await this.#load({ ...wanted, weights: 'synthetic' });
    return support;
  }

  /** Loads a model that the visitor has chosen, and stores the choice for the next visit. */
  async load(choice: ModelChoice): Promise<void> {
    if (await this.#load(choice)) keepChoice(choice);
  }

  /** Stops the load in progress. The model in use stays. */
  cancel(): void {
    this.#loads.abort();
  }

  /**
   * Recovers the model if `error` says that its GPU is lost. If it cannot recover, or if its worker is lost,
   * offers to load it again.
   * @returns false if the error says something else
   */
  lostBy(error: unknown): boolean {
    if (!(error instanceof DINOv2Error) || !['DEVICE_LOST', 'WORKER_LOST', 'DISPOSED'].includes(error.code))
      return false;
    // DISPOSED means that a newer model has already replaced the model of this error.
    if (this.#loaded && error.code !== 'DISPOSED') void this.#lose(this.#loaded, error);
    return true;
  }

  async #load(choice: ModelChoice): Promise<boolean> {
    this.#loading = { choice, progress: undefined };
    this.#changed();
    let done = false;
    try {
      const next = await this.#loads.start((signal) =>
        loadModel(this.#from, choice, signal, (progress) => {
          if (signal.aborted) return;
          this.#loading = { choice, progress };
          this.#changed();
        }),
      );
      if (!next && this.#loads.busy) return false; // a newer load shows its progress instead
      this.#loading = undefined;
      if (next) await this.#become(next);
      done = next !== undefined;
    } catch (error) {
      this.#loading = undefined;
      showError('model', `${modelName(choice)} could not be loaded.`, error, {
        text: 'Try again',
        run: () => void this.load(choice),
      });
    }
    this.#changed();
    // Without a model there is nothing to wait for: the page says so instead of "Loading".
    if (!done && !this.#loaded) void this.#onModel(undefined);
    return done;
  }

  async #become(next: Loaded<Model>): Promise<void> {
    const before = this.#loaded;
    this.#loaded = next;
    this.#offered = undefined;
    dismiss('model');
    this.#changed();
    void next.model.device?.lost.then(({ message }) => {
      if (this.#loaded === next)
        void this.#lose(next, new DINOv2Error('DEVICE_LOST', `The GPU device was lost. ${message}`.trim()));
    });
    await this.#onModel(next);
    before?.model.dispose();
  }

  /** Recovers a model whose GPU is lost. If that fails, offers to load it again. */
  async #lose(lost: Loaded<Model>, error: unknown): Promise<void> {
    this.#loaded = undefined;
    this.#loading = { choice: lost.choice, progress: undefined };
    this.#changed();
    void this.#onModel(undefined);
    let failure: unknown = error;
    // A picture that crashes the GPU would do so again after each recovery.
    const nowMs = performance.now();
    this.#lossesMs = [...this.#lossesMs.filter((ms) => ms > nowMs - 60_000), nowMs];
    if (this.#lossesMs.length <= MOST_LOSSES)
      try {
        await lost.model.recover();
        if (this.#loads.busy || this.#loaded) return lost.model.dispose(); // the visitor has chosen another model
        // The recovery has called the `onProgress` of the load, which set this.
        this.#loading = undefined;
        return await this.#become({ ...lost });
      } catch (cause) {
        failure = cause;
      }
    lost.model.dispose();
    if (this.#loads.busy || this.#loaded) return;
    this.#loading = undefined;
    this.#changed();
    void this.#onModel(undefined);
    showError('model', 'The GPU was lost, and with it the model.', failure, {
      text: 'Load the model again',
      run: () => void this.load(lost.choice),
    });
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

const isCached = async (choice: ModelChoice): Promise<boolean> =>
  (await listCached()).some(({ id, complete }) => complete && id === hubId(choice));
