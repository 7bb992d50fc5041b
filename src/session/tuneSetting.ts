/** What `tune` is asked to choose. */
import type { TuningStore } from '../gpu/measure/tuningStore.js';

/** What `tune` is asked to choose. */
export interface TuneSetting {
  /** Sides of the square images to measure, in pixels. */
  readonly sizesPx: readonly number[];
  /** The store from which an earlier result is read, and in which a new result is stored. */
  readonly store: TuningStore | undefined;
  /** Whether the arithmetic of linear layers may change. */
  readonly arithmetic: boolean;
  /** Stops the measurement. */
  readonly signal?: AbortSignal | undefined;
}
