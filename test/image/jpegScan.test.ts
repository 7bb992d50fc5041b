// The JPEG decoding that the library does itself, compared with Pillow: completeness of files without an end
// marker, and the pixels of CMYK files.
import { describe, expect, it } from 'vitest';
import { parseSafetensors } from '../../src/safetensors.js';
import { decodeCmyk } from '../../src/image/jpegCmyk.js';
import { endOfBlocks } from '../../src/image/jpegScan.js';
import { prepareJpeg } from '../../src/image/jpeg.js';
import fixture from '../fixtures/images/ends.json' with { type: 'json' };
import jpegs from '../fixtures/images/jpeg.json' with { type: 'json' };
import { read } from './files.js';
import { digest, tensorOf } from './fixtures.js';

const files = read('test/fixtures/images/ends.safetensors');
const verdicts: Record<string, string> = fixture.verdicts;

/** Removes the end marker of a JPEG and the `cut` bytes before it, then appends `zeros` zero bytes. */
function openEnded(bytes: Uint8Array, [cut, zeros]: readonly [number, number]): Uint8Array<ArrayBuffer> {
  const open = new Uint8Array(bytes.length - 2 - cut + zeros);
  open.set(bytes.subarray(0, bytes.length - 2 - cut));
  return open;
}

describe('a JPEG without an end marker', () => {
  it.each([...parseSafetensors(files).tensors.keys()])(
    '%s: accepted and rejected in the same cases as by Pillow',
    async (name) => {
      const { bytes } = tensorOf(files, name);
      const found: string[] = [];
      for (const each of fixture.ends as [number, number][]) {
        const file = openEnded(bytes, each);
        expect((await (await prepareJpeg(file, name)).checkScans())?.code).toBe('IMAGE_DECODE');
        const end = await endOfBlocks(file);
        found.push(end === undefined ? '0' : '1');
        if (end !== undefined) expect(end).toBeLessThanOrEqual(file.length);
      }
      expect(found.join('')).toBe(verdicts[name]);
      expect(new Set(found).size).toBe(2);
    },
  );

  it('is rejected if it has several scans', async () => {
    const jpegs = read('test/fixtures/images/jpeg.safetensors');
    for (const name of ['scans-end-zeros-9.jpg', 'progressive-end-zeros-9.jpg']) {
      const { bytes } = tensorOf(jpegs, name);
      const { checkScans } = await prepareJpeg(bytes, name);
      await expect(checkScans(), name).rejects.toThrow(/ends too early/);
      expect(await endOfBlocks(bytes)).toBeUndefined();
    }
  });

  it('stops after an abort', async () => {
    const controller = new AbortController();
    const { bytes } = tensorOf(files, '420');
    // The same data as a tall image, which has more blocks than can be scanned in 15 ms.
    const frame = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xc0);
    bytes.fill(0xff, frame + 5, frame + 9);
    const long = new Uint8Array(bytes.length * 200);
    for (let at = 0; at < long.length; at += bytes.length - 1000) {
      const part = at === 0 ? bytes.subarray(0, -2) : bytes.subarray(1000, -2);
      long.set(part.subarray(0, long.length - at), at);
    }
    const found = endOfBlocks(long, controller.signal);
    controller.abort(new Error('enough'));
    await expect(found).rejects.toThrow('enough');
  });
});

describe('a JPEG in CMYK', () => {
  const files = read('test/fixtures/images/jpeg.safetensors');
  const whole = Object.entries(jpegs).filter(([name]) => /^cmyk\d(-[\w-]+)?\.jpg$/.test(name));

  it.each(whole)("%s: Pillow's pixels", async (name, expected) => {
    const { data } = (await decodeCmyk(tensorOf(files, name).bytes, name))!;
    expect(await digest(data.filter((_, i) => i % 4 < 3))).toBe(expected!.asItLies);
  });

  it('is left to the browser if it has other channels, or lacks scans that libjpeg fills in', async () => {
    for (const name of ['444-whole.jpg', 'progressive-whole.jpg', 'arithmetic.jpg'])
      expect(await decodeCmyk(tensorOf(files, name).bytes, name)).toBeUndefined();
    const { bytes } = tensorOf(files, 'cmyk0-progressive.jpg');
    const last = bytes.findLastIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xda);
    const lacking = new Uint8Array([...bytes.subarray(0, last), 0xff, 0xd9]);
    expect(await decodeCmyk(lacking, 'cmyk')).toBeUndefined();
  });

  it('stops after an abort', async () => {
    const controller = new AbortController();
    const bytes = new Uint8Array(tensorOf(files, 'cmyk0.jpg').bytes);
    const frame = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xc0);
    bytes.set([0x0b, 0xb8, 0x0b, 0xb8], frame + 5); // 3000 × 3000
    const found = decodeCmyk(bytes, 'cmyk', controller.signal);
    controller.abort(new Error('enough'));
    await expect(found).rejects.toThrow('enough');
  });
});
