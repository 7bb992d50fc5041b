/** Errors of inputs that a forward pass refuses. */
import { CheckpointError, DeviceError, OptionError, type DINOv2Error } from '../errors.js';
import { MAX_WORKGROUPS } from '../gpu/workgroups.js';
import type { Grid } from '../model/vit.js';

/**
 * The error of an input that has too many tokens, or whose mask cannot be used.
 *
 * @param numTokens tokens of an image
 * @param masked number of values of the option `maskedPatches`; undefined if it is not set
 */
export function refused(
  { batch, rows, cols }: Grid,
  numTokens: number,
  masked: number | undefined,
): DINOv2Error {
  const count = batch * rows * cols;
  if (masked !== undefined && masked !== count)
    return new OptionError(
      'OPTION_VALUE',
      `maskedPatches: expected ${batch} × ${rows} × ${cols} = ${count} values, found ${masked}. Give one value for each patch of each image, row by row.`,
    );
  if (numTokens > MAX_WORKGROUPS)
    return new DeviceError(
      'DEVICE_LIMIT',
      `An image of ${rows} × ${cols} patches is too large: expected at most ${MAX_WORKGROUPS} tokens, found ${numTokens}. Use a smaller image.`,
    );
  return new CheckpointError(
    'CHECKPOINT_TENSORS',
    'maskedPatches: the checkpoint has no mask token (a tensor mask_token or embeddings.mask_token). Leave maskedPatches out, or load a checkpoint that has a mask token, such as facebook/dinov2-small.',
  );
}
