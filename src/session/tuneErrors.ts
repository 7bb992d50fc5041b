/** The errors of stores that should have kept the result of `tune`, for the health of a model. */
import type { Gpu } from '../gpu/device.js';

/** The last error of the store on each device, as text. */
export const tuneStoreErrors: WeakMap<Gpu, string> = new WeakMap();
