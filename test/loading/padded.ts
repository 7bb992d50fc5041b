import { encodeSafetensors, parseSafetensors } from '../../src/safetensors.ts';

const PADDING_BYTES = 2 ** 23;

/**
 * Inserts an unrelated 8 MiB tensor in the middle of a small checkpoint. The file then fills three cache
 * blocks, with the model's tensors in the first and the last.
 */
export function padded(file: Uint8Array): Uint8Array<ArrayBuffer> {
  const list = [...parseSafetensors(file).tensors].map(
    ([name, { dtype, shape, begin, end }]) =>
      [name, { dtype, shape, data: file.subarray(begin, end) }] as const,
  );
  const data = Uint8Array.from({ length: PADDING_BYTES }, (_, i) => (i * 2_654_435_761) >>> 24);
  const padding = ['padding', { dtype: 'F32', shape: [PADDING_BYTES / 4], data }] as const;
  const middle = list.length >> 1;
  return encodeSafetensors([...list.slice(0, middle), padding, ...list.slice(middle)]);
}
