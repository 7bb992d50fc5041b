/** Exports the parts of the library that the benchmarks use. The package does not export all these parts. */
export { DINOv2 } from '../src/dinov2.js';
export { syntheticTensor } from '../src/weights/synthetic.js';
export { configOf } from '../src/model/config.js';
export { buildForward } from '../src/model/vit.js';
export { Gpu } from '../src/gpu/device.js';
export { describeAdapter } from '../src/gpu/adapter.js';
export { EVERY_TILE } from '../src/gpu/kernels/tunedKernels.js';
export { targetOf } from '../src/gpu/lowering.js';
export { selfTest } from '../src/gpu/checks/selfTest.js';
export { F16_TARGET } from '../src/weights/f16Arithmetic.js';
export { packMatrix } from '../src/weights/packing.js';
export { f32ToF16 } from '../src/numerics/float16.js';
export { measure, toMarkdown } from './measure.js';
