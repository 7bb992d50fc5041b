// A model that moves to another device while `embedAll` runs, and whose old device lives on: no image gets the
// pixels of another image.
import { expect, test } from 'vitest';
import { Embedder } from '../../src/embedder.ts';
import { DEFAULT_PREPROCESSING } from '../../src/image/preprocessing.ts';
import type { ImageSource, RawImage } from '../../src/image/source.ts';
import type { Session } from '../../src/session/session.ts';
import type { Sessions } from '../../src/session/sessions.ts';

/** A session whose vector of an image is the image's first value. */
function session(): Session {
  const values: number[] = [];
  return {
    gpu: { check: () => undefined }, // the device is not lost
    preprocessor: {
      prepareDecoded: async ({ picture }: { picture: RawImage }) => ({
        height: 14,
        width: 14,
        bytes: 4,
        value: picture.data[0],
        dispose: () => undefined,
        placement: () => undefined,
      }),
      write: (_: unknown, image: { value: number }) => void values.push(image.value),
    },
    forwards: {
      canHold: () => true,
      run: async (
        ...[, , , fill]: [unknown, unknown, unknown, (burst: unknown, pixels: unknown) => void]
      ) => {
        values.length = 0;
        fill({}, {});
        const made = Float32Array.from(values);
        await new Promise((resolve) => setTimeout(resolve, 5));
        return {
          batch: made.length,
          rows: 1,
          cols: 1,
          numTokens: 2,
          numRegisterTokens: 0,
          embedDim: 1,
          clsToken: async () => made,
          dispose: () => undefined,
        };
      },
    },
  } as unknown as Session;
}

/** The vectors of `images`, during whose seventh the model moves, and the code of the error at the end. */
async function vectors(images: (i: number) => ImageSource): Promise<[number[], string | undefined]> {
  const sessions = {
    current: session(),
    run: (task: (session: Session) => Promise<unknown>) => task(sessions.current),
  };
  function* moving(): Generator<ImageSource> {
    for (let i = 0; i < 12; i++) {
      if (i === 6) sessions.current = session();
      yield images(i);
    }
  }
  const embedder = new Embedder(sessions as unknown as Sessions, 14, DEFAULT_PREPROCESSING);
  const found: number[] = [];
  try {
    for await (const { index, embedding } of embedder.embedAll(moving(), { normalize: false })) {
      expect(index).toBe(found.length);
      found.push(embedding![0]!);
    }
  } catch (error) {
    return [found, (error as { code: string }).code];
  }
  return [found, undefined];
}

/** Writes the file of a grey BMP of 14 × 14 pixels to `bytes`. */
function bmp(grey: number, bytes = new Uint8Array(54 + 14 * 14 * 4)): Uint8Array<ArrayBuffer> {
  const view = new DataView(bytes.fill(0).buffer);
  bytes.set([0x42, 0x4d]);
  for (const [at, value] of [
    [2, bytes.length],
    [10, 54],
    [14, 40],
    [18, 14],
    [22, 14],
  ] as const)
    view.setUint32(at, value, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, 32, true);
  return bytes.fill(grey, 54);
}

test('frames in one array: DEVICE_LOST, after the right vectors of earlier frames', async () => {
  const pixels = { data: new Uint8Array(14 * 14 * 3), width: 14, height: 14 };
  const [found, code] = await vectors((i) => {
    pixels.data.fill(i);
    return pixels;
  });
  expect(code).toBe('DEVICE_LOST');
  expect(found.length).toBeLessThan(12);
  expect(found).toEqual(Array.from(found, (_, i) => i));
});

const all = Array.from({ length: 12 }, (_, i) => i);

test('files are read again', async () => {
  expect(await vectors((i) => new Blob([bmp(i)]))).toEqual([all, undefined]);
});

test.each(['Uint8Array', 'ArrayBuffer'])('bytes of files in one %s were copied', async (kind) => {
  const bytes = bmp(0);
  const read = (i: number): ImageSource => (bmp(i, bytes), kind === 'Uint8Array' ? bytes : bytes.buffer);
  expect(await vectors(read)).toEqual([all, undefined]);
});
