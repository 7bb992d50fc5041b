// The library's decoders yield to other tasks regularly, and stop at the next yield after an abort.
import { afterEach, expect, it, vi } from 'vitest';
import { decodeFile } from '../../src/image/decode.js';
import { decodeCmyk } from '../../src/image/jpegCmyk.js';
import { bmpOf, cmykOf, gifOf, pngOf, runsBmpOf, wavesAt } from './largeFiles.js';

afterEach(() => vi.restoreAllMocks());

const flat = (): void => undefined;
const decode = (bytes: Buffer, signal?: AbortSignal) =>
  decodeFile(new Uint8Array(bytes), 'file', '', { losesAlpha: () => Promise.resolve(true), signal });

it.each<[string, () => Buffer, (bytes: Buffer, signal?: AbortSignal) => Promise<unknown>]>([
  ['PNG', () => pngOf(1000, 800, 8, wavesAt), decode],
  ['PNG of a single row', () => pngOf(1_000_000, 1, 8, wavesAt), decode],
  ['PNG with 16 bits per channel, of one colour', () => pngOf(1000, 800, 16, flat), decode],
  ['truncated PNG', () => pngOf(600, 400, 8, wavesAt).subarray(0, -40), decode],
  ['GIF', () => gifOf(1600, 1200), decode],
  ['GIF with a small frame on a large screen', () => screenOf(gifOf(100, 100)), decode],
  ['BMP', () => bmpOf(2000, 1500, wavesAt), decode],
  ['BMP of a single row', () => bmpOf(4_000_000, 1, wavesAt), decode],
  ['run-length encoded BMP', () => runsBmpOf(2000, 1500), decode],
  ['JPEG in CMYK', () => cmykOf(1200, 800), (bytes, signal) => decodeCmyk(bytes, 'file', signal)],
])('%s', async (_, make, decodeIt) => {
  const bytes = make();
  // Each look at the clock finds the time slice over, so the test does not depend on the machine's speed.
  let clockMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => (clockMs += 11));
  let over = false;
  let turns = 0;
  const watch = (): void => {
    turns += 1;
    if (!over) setImmediate(watch);
  };
  setImmediate(watch);
  await decodeIt(bytes).catch(() => undefined);
  over = true;
  expect(turns).toBeGreaterThan(2);

  const reason = new Error('enough');
  const controller = new AbortController();
  const decoding = decodeIt(bytes, controller.signal);
  setImmediate(() => controller.abort(reason));
  await expect(decoding).rejects.toBe(reason);
});

/** Enlarges the logical screen of a GIF to 12000 × 12000 pixels. */
function screenOf(gif: Buffer): Buffer {
  gif.writeUInt16LE(12_000, 6);
  gif.writeUInt16LE(12_000, 8);
  return gif;
}
