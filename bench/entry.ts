/** What the benchmarks use of the library, part of it not exported by the package. */
export { DINOv2 } from '../src/dinov2.js';
export { syntheticTensor } from '../src/checkpoint/synthetic.js';
export { configOf } from '../src/model/config.js';
export { buildForward } from '../src/model/vit.js';
export { describeAdapter, Gpu } from '../src/gpu/device.js';
export { EVERY_TILE, targetOf } from '../src/gpu/lowering.js';
export { selfTest } from '../src/gpu/selfTest.js';
export { packMatrix } from '../src/checkpoint/packing.js';
export { f32ToF16 } from '../src/checkpoint/float.js';
export { measure, toMarkdown } from './measure.js';
