/**
 * Uploads video frames through external textures: a kernel reads the frame where the browser keeps it. The usual
 * upload copies the frame to a texture and then to a buffer, which on a software adapter takes about three
 * times as long. `DINOv2.live` prepares this upload for its device.
 *
 * Both uploads must give the same bytes. Before a device uses this one, both upload test frames with random
 * colours, and a frame is uploaded here only if the test frame of the same format and colour space agreed.
 */
import type { Gpu } from '../gpu/device.js';
import { PACK_FRAME_WORKGROUP, packFrame } from '../gpu/kernels/frameKernels.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import { kindOf } from '../optionObject.js';
import type { DecodedImage, Drawable } from './source.js';
import { frameUploads, ofDrawable, type Upload } from './upload.js';

const prepared = new WeakMap<GPUDevice, Promise<void>>();

/** Makes later uploads of video frames on a device faster, if the browser can. Never rejects. */
export function prepareFrames(gpu: Gpu): Promise<void> {
  let done = prepared.get(gpu.device);
  if (!done) {
    // Without this upload, frames are uploaded as usual.
    done = prepare(gpu).catch(() => undefined);
    prepared.set(gpu.device, done);
  }
  return done;
}

async function prepare(gpu: Gpu): Promise<void> {
  if (typeof VideoFrame !== 'function' || !('importExternalTexture' in gpu.device)) return;
  const kernel = await gpu.pipelines.compile({ kernel: packFrame, constants: {} });
  const agreed = await colorsThatAgree(gpu, kernel);
  frameUploads.set(gpu.device, (image) =>
    kindOf(image.picture) === 'VideoFrame' && agreed.has(colorsOf(image.picture as VideoFrame))
      ? ofFrame(gpu, kernel, image)
      : undefined,
  );
}

/** Identifies how the browser converts the colours of a frame. '' for a frame that is cropped, scaled or turned. */
function colorsOf(frame: VideoFrame): string {
  const { format, colorSpace, visibleRect, displayWidth, displayHeight } = frame;
  const { rotation = 0, flip = false } = frame as Partial<{
    readonly rotation: number;
    readonly flip: boolean;
  }>;
  const isPlain =
    visibleRect?.x === 0 &&
    visibleRect.y === 0 &&
    visibleRect.width === displayWidth &&
    visibleRect.height === displayHeight &&
    rotation === 0 &&
    !flip;
  if (!isPlain || !format) return '';
  const { matrix, primaries, transfer, fullRange } = colorSpace;
  return [format, matrix, primaries, transfer, fullRange].join();
}

function ofFrame(gpu: Gpu, kernel: CompiledKernel, image: DecodedImage): Upload {
  const { width, picture } = image;
  const usual = ofDrawable(gpu.device, picture as Drawable, image);
  const { stride } = usual;
  return {
    ...usual,
    fill(burst, buffer, begin, end) {
      let frame: GPUExternalTexture;
      try {
        frame = gpu.device.importExternalTexture({ label: 'frame', source: picture as VideoFrame });
      } catch {
        return usual.fill(burst, buffer, begin, end); // throws an error that says what is wrong
      }
      const size = burst.uniformOf('frame rows', [width, end - begin, begin, stride]);
      const pass = burst.pass();
      pass.setPipeline(kernel.pipeline);
      pass.setBindGroup(0, gpu.pipelines.bind(kernel, [{ buffer: size }, frame, { buffer }]));
      pass.dispatchWorkgroups(
        Math.ceil(width / PACK_FRAME_WORKGROUP[0]),
        Math.ceil((end - begin) / PACK_FRAME_WORKGROUP[1]),
      );
      burst.free(size);
    },
  };
}

/**
 * The colour spaces of cameras and of most videos. Frames in RGB are uploaded as usual: Chromium 147 gives other
 * bytes for them through an external texture.
 */
const VIDEO_COLORS: readonly VideoColorSpaceInit[] = [
  { matrix: 'bt709', primaries: 'bt709', transfer: 'bt709', fullRange: false },
  { matrix: 'smpte170m', primaries: 'smpte170m', transfer: 'smpte170m', fullRange: false },
  { matrix: 'smpte170m', primaries: 'bt709', transfer: 'bt709', fullRange: false },
  { matrix: 'smpte170m', primaries: 'bt709', transfer: 'iec61966-2-1', fullRange: true },
];
const [TEST_WIDTH, TEST_HEIGHT] = [64, 32];

/** Frames with random colours, whose rows are a multiple of 256 bytes long. */
function testFrames(): VideoFrame[] {
  let state = 1;
  const bytes = Uint8Array.from({ length: TEST_WIDTH * TEST_HEIGHT * 4 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
  const size = { codedWidth: TEST_WIDTH, codedHeight: TEST_HEIGHT, timestamp: 0 };
  const kinds = (['I420', 'NV12'] as const).flatMap((format) =>
    VIDEO_COLORS.map((colorSpace) => ({ format, colorSpace })),
  );
  return kinds.flatMap((kind) => {
    try {
      return [new VideoFrame(bytes, { ...kind, ...size })];
    } catch {
      return []; // the browser does not know the format
    }
  });
}

/** Uploads the test frames in both ways. Returns the colours for which all bytes agree. */
async function colorsThatAgree(gpu: Gpu, kernel: CompiledKernel): Promise<ReadonlySet<string>> {
  const frames = testFrames();
  const frameBytes = TEST_WIDTH * TEST_HEIGHT * 4;
  const read = (upload: Upload): Promise<Uint32Array> =>
    gpu.task('test frame', undefined, async (task) => {
      const buffer = task.burst((burst) => {
        const made = burst.storage('test frame', frameBytes);
        upload.fill(burst, made, 0, TEST_HEIGHT);
        return made;
      });
      return new Uint32Array(await task.read(buffer, 0, frameBytes));
    });
  try {
    const colors = await Promise.all(
      frames.map(async (picture) => {
        const image = { name: 'test frame', picture, width: TEST_WIDTH, height: TEST_HEIGHT } as DecodedImage;
        const [usual, external] = await Promise.all([
          read(ofDrawable(gpu.device, picture, image)),
          read(ofFrame(gpu, kernel, image)),
        ]);
        return usual.every((pixel, i) => pixel === external[i]) ? colorsOf(picture) : '';
      }),
    );
    return new Set(colors.filter((each) => each !== ''));
  } finally {
    for (const frame of frames) frame.close();
  }
}
