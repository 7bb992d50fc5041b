// Video frames read through external textures have the bytes of frames that are copied, for random sizes and colours.
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.js';
import { prepareFrames } from '../../src/image/frameUpload.js';
import { Preprocessor } from '../../src/image/preprocess.js';
import { frameUploads } from '../../src/image/upload.js';
import { Random } from '../random.js';

let gpu: Gpu;
let preprocessor: Preprocessor;
beforeAll(async () => {
  gpu = await acquireGpu();
  preprocessor = await Preprocessor.create(gpu, { stripBytes: 20_000 }); // several strips for each frame
  await prepareFrames(gpu);
});
afterEach(() => {
  vi.restoreAllMocks();
  expect(gpu.uncaptured).toBeUndefined();
});
afterAll(() => {
  preprocessor.dispose();
  expect(gpu.memory.bytes).toBe(0);
  gpu.release();
});

const options = { resize: 'fit', longestSide: 56 } as const;

/** Pixels by the usual upload, and how often an external texture was imported for the other one. */
async function bothWays(frame: VideoFrame): Promise<{ same: boolean; imports: number; values: number }> {
  const imports = vi.spyOn(gpu.device, 'importExternalTexture');
  const external = await preprocessor.read([frame], options);
  const { length } = imports.mock.calls;
  const upload = frameUploads.get(gpu.device)!;
  frameUploads.delete(gpu.device);
  const usual = await preprocessor.read([frame], options);
  frameUploads.set(gpu.device, upload);
  expect(imports.mock.calls.length).toBe(length);
  const same = usual.data.every((value, i) => value === external.data[i]);
  return { same, imports: length, values: new Set(usual.data).size };
}

const yuv = { matrix: 'smpte170m', primaries: 'smpte170m', transfer: 'smpte170m', fullRange: false } as const;
const rgb = { matrix: 'rgb', primaries: 'bt709', transfer: 'iec61966-2-1', fullRange: true } as const;
const kinds = [
  ['I420', yuv],
  ['NV12', { ...yuv, primaries: 'bt709', transfer: 'bt709' }],
  ['I420', { matrix: 'bt709', primaries: 'bt709', transfer: 'bt709', fullRange: false }],
] as const;

test.each(kinds)('%s: the same pixels, read from the frame itself', async (format, colorSpace) => {
  const random = new Random(format.length + colorSpace.matrix.length);
  for (let i = 0; i < 3; i++) {
    const [codedWidth, codedHeight] = [2 * random.integer(20, 150), 2 * random.integer(20, 150)];
    const bytes = Uint8Array.from({ length: codedWidth * codedHeight * 4 }, () => random.integer(0, 255));
    const frame = new VideoFrame(bytes, { format, colorSpace, codedWidth, codedHeight, timestamp: 0 });
    const { same, imports, values } = await bothWays(frame);
    frame.close();
    expect(same, `${codedWidth} × ${codedHeight}`).toBe(true);
    expect(imports).toBeGreaterThan(0);
    expect(values).toBeGreaterThan(100);
  }
});

describe('the usual upload is taken', () => {
  const make = (more: Partial<VideoFrameBufferInit>): VideoFrame => {
    const size = { codedWidth: 64, codedHeight: 48, timestamp: 0 };
    const bytes = Uint8Array.from({ length: 64 * 48 * 4 }, (_, i) => (i * 37) % 256);
    return new VideoFrame(bytes, { format: 'I420', colorSpace: yuv, ...size, ...more });
  };
  test.each([
    ['for a frame with alpha', { format: 'RGBA', colorSpace: rgb }],
    ['for a frame in RGB', { format: 'RGBX', colorSpace: rgb }],
    ['for a cropped frame', { visibleRect: { x: 8, y: 8, width: 32, height: 32 } }],
    ['for a frame that is not shown at its own size', { displayWidth: 128, displayHeight: 48 }],
    ['for a colour space without a test frame', { colorSpace: { ...yuv, matrix: 'bt470bg' } }],
  ] as const)('%s', async (name, more) => {
    const frame = make(more);
    const { imports, same } = await bothWays(frame);
    expect(same).toBe(true);
    frame.close();
    // A crop at its own size can be read: only its size counts.
    expect(imports > 0).toBe(name === 'for a cropped frame');
  });

  test('on a device that gives other colours', async () => {
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter!.requestDevice();
    const other = await acquireGpu(device);
    const black = make({});
    const importing = device.importExternalTexture.bind(device);
    vi.spyOn(device, 'importExternalTexture').mockImplementation(() => importing({ source: black }));
    await prepareFrames(other);
    expect(frameUploads.get(device)!({ picture: make({}), width: 64, height: 48 } as never)).toBeUndefined();
    black.close();
    other.release();
    device.destroy();
  });
});

test('a closed frame: the error of the usual upload', async () => {
  const frame = new VideoFrame(new Uint8Array(64 * 48 * 4), {
    format: 'RGBX',
    colorSpace: rgb,
    codedWidth: 64,
    codedHeight: 48,
    timestamp: 0,
  });
  frame.close();
  await expect(preprocessor.read([frame])).rejects.toMatchObject({ code: 'IMAGE_SIZE' });
});
