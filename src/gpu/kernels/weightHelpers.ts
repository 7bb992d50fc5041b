/**
 * Helper shaders through which kernels read weights. They are not in `kernels.ts`, because `pipelines.ts`
 * needs the helpers but not the kernels of a forward pass.
 */
import weightsF16 from '../../../shaders/shared/weights_f16.wgsl';
import weightsF16Packed from '../../../shaders/shared/weights_f16_packed.wgsl';
import weightsF32 from '../../../shaders/shared/weights_f32.wgsl';
import weightsInt8 from '../../../shaders/shared/weights_int8.wgsl';
import type { WeightStorage } from './kernel.js';

/**
 * For each way to store weights: the text of the helper shader that defines `Weights4`, `weights4` and
 * `scale4`.
 */
export const weightHelpers: Readonly<Record<WeightStorage, string>> = {
  f32: weightsF32,
  f16: weightsF16,
  'f16-packed': weightsF16Packed,
  int8: weightsInt8,
};
