/**
 * Uploads rows of a decoded picture to a storage buffer, 4 bytes per pixel. Pixels in memory and bitmaps of
 * files are written from JavaScript's memory. A canvas, a video or the caller's bitmap is copied to a texture
 * first: only the browser's own copy can undo premultiplied alpha and read pictures that are on the GPU.
 */
import { ImageError } from '../errors.js';
import { TextureUsage } from '../gpu/constants.js';
import type { Burst } from '../gpu/task.js';
import type { DecodedImage, Drawable, RawPixels } from './source.js';

/** A picture that can be uploaded by rows. */
export interface Upload {
  /** Row length in the buffer, in pixels. */
  readonly stride: number;
  /** True if a pixel's bytes are in the order blue, green, red. */
  readonly swap: boolean;
  /**
   * Prepares rows [begin, end) for `fill`. Absent for a picture that may change, because all rows of such a
   * picture are uploaded synchronously.
   */
  readonly load?: (begin: number, end: number) => Promise<void>;
  /** Copies rows [begin, end) to the buffer, so that the dispatches of `burst` can read the rows. */
  fill(burst: Burst, buffer: GPUBuffer, begin: number, end: number): void;
  close(): void;
}

/**
 * Devices with a faster upload of video frames, which `prepareFrames` of frameUpload.ts adds. The function
 * returns undefined for pictures that it cannot upload.
 */
export const frameUploads: WeakMap<GPUDevice, (image: DecodedImage) => Upload | undefined> = new WeakMap();

/**
 * Chooses the way in which a picture is uploaded.
 *
 * @throws ImageError IMAGE_SIZE, if the picture is empty
 */
export function openUpload(device: GPUDevice, image: DecodedImage): Upload {
  const { picture, name, width, height } = image;
  if (!(Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0)) {
    throw new ImageError(
      'IMAGE_SIZE',
      `${name}: expected an image of at least 1 × 1 pixels, found ${width} × ${height}. Wait until the image is loaded, or use another image.`,
    );
  }
  if ('data' in picture) return ofPixels(picture, image.isFile);
  return (
    (image.isFile && ofPlainBitmap(picture as ImageBitmap, image)) ||
    frameUploads.get(device)?.(image) ||
    ofDrawable(device, picture, image)
  );
}

function ofPixels({ data, width, channels }: RawPixels, isFile: boolean): Upload {
  return {
    ...(isFile && { load: () => Promise.resolve() }), // absent for the caller's pixels, which may change
    stride: width,
    swap: false,
    fill(burst, buffer, begin, end) {
      const rows = data.subarray(begin * width * channels, end * width * channels);
      burst.write(buffer, 0, channels === 4 ? rows : withAlpha(rows));
    },
    close: () => undefined,
  };
}

function withAlpha(rgb: RawPixels['data']): Uint8Array<ArrayBuffer> {
  const rgba = new Uint8Array((rgb.length / 3) * 4);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    rgba[to] = rgb[from]!;
    rgba[to + 1] = rgb[from + 1]!;
    rgba[to + 2] = rgb[from + 2]!;
  }
  return rgba;
}

/**
 * Uploads a file's bitmap through a VideoFrame, which gives the bitmap's own bytes. Returns undefined if the
 * browser has no VideoFrame, or if the frame's format is not 8 bits per channel without alpha (with alpha,
 * Firefox premultiplies).
 */
function ofPlainBitmap(bitmap: ImageBitmap, { canvas }: DecodedImage): Upload | undefined {
  const frame = frameOf(bitmap);
  if (!frame) return undefined;
  const { left, top, width: stride } = canvas ?? { left: 0, top: 0, width: bitmap.width };
  const width = Math.min(bitmap.width, stride - left);
  let bytes = new Uint8Array(spare?.deref() ?? new ArrayBuffer(0));
  spare = undefined;
  return {
    stride,
    swap: frame.format === 'BGRX',
    async load(begin, end) {
      const size = (end - begin) * stride * 4;
      if (bytes.length < size) bytes = new Uint8Array(size);
      if (canvas) bytes.fill(0);
      const [from, to] = [Math.max(begin, top), Math.min(end, top + bitmap.height)];
      if (from >= to) return;
      await frame.copyTo(bytes, {
        rect: { x: 0, y: from - top, width, height: to - from },
        layout: [{ offset: ((from - begin) * stride + left) * 4, stride: stride * 4 }],
      });
    },
    fill: (burst, buffer, begin, end) => burst.write(buffer, 0, bytes, 0, (end - begin) * stride * 4),
    close() {
      frame.close();
      spare = new WeakRef(bytes.buffer);
    },
  };
}

/**
 * Memory of the last upload, reused by the next one. The first access to newly allocated memory would take
 * longer than the copy. Weak, so that the garbage collector may reclaim the memory.
 */
let spare: WeakRef<ArrayBuffer> | undefined;

function frameOf(bitmap: ImageBitmap): VideoFrame | undefined {
  if (typeof VideoFrame !== 'function') return undefined;
  let frame: VideoFrame | undefined;
  try {
    frame = new VideoFrame(bitmap, { timestamp: 0 });
    const { format, visibleRect } = frame;
    const isWhole = visibleRect?.width === bitmap.width && visibleRect.height === bitmap.height;
    if (isWhole && (format === 'RGBX' || format === 'BGRX')) return frame;
  } catch {
    // The bitmap is closed, or comes from a different origin. The later copy to a texture reports the error.
  }
  frame?.close();
  return undefined;
}

/** WebGPU requires `bytesPerRow` of a texture-to-buffer copy to be a multiple of 256. */
const ROW_BYTES = 256;

/** Uploads a picture through a texture. */
export function ofDrawable(device: GPUDevice, source: Drawable, image: DecodedImage): Upload {
  const { name, canvas } = image;
  const { left, top, width, height } = canvas ?? {
    left: 0,
    top: 0,
    width: image.width,
    height: image.height,
  };
  // If `canvas` is set, the source is a bitmap from a file, and smaller than the image.
  const [pictureWidth, pictureHeight] = canvas
    ? [(source as ImageBitmap).width, (source as ImageBitmap).height]
    : [width, height];
  const stride = (Math.ceil((width * 4) / ROW_BYTES) * ROW_BYTES) / 4;
  const most = device.limits.maxTextureDimension2D;
  let drawn = source;
  return {
    stride,
    swap: false,
    fill(burst, buffer, begin, end) {
      if (canvas) burst.clear(buffer);
      const [right, bottom] = [
        Math.min(left + pictureWidth, width),
        Math.min(top + pictureHeight, height, end),
      ];
      for (let y = Math.max(begin, top); y < bottom; y += most) {
        for (let x = left; x < right; x += most) {
          const size: [number, number] = [Math.min(most, right - x), Math.min(most, bottom - y)];
          const texture = burst.texture({
            label: `picture ${size.join(' × ')}`,
            size,
            format: 'rgba8unorm',
            usage: TextureUsage.COPY_SRC | TextureUsage.COPY_DST | TextureUsage.RENDER_ATTACHMENT,
          });
          const origin: [number, number] = [x - left, y - top];
          try {
            copy(device, drawn, name, origin, texture, size);
          } catch (error) {
            if (drawn !== source || !mayBeDrawn(source, error)) throw error;
            // Firefox 153 copies neither a <video> nor a VideoFrame. Chromium 147 cannot copy a bitmap of an <img> with more than 8 bits per channel ("Failed to
            // copy content from external image"). The same file as a Blob works. A canvas rounds the values
            // to 8 bits instead of truncating them: a difference of at most 1 of 255.
            drawn = onCanvas(source, pictureWidth, pictureHeight);
            copy(device, drawn, name, origin, texture, size);
          }
          burst
            .encoder()
            .copyTextureToBuffer(
              { texture },
              { buffer, offset: ((y - begin) * stride + x) * 4, bytesPerRow: stride * 4 },
              size,
            );
        }
      }
    },
    close: () => undefined,
  };
}

/** Returns true if a picture that could not be copied may be drawn on a canvas, which can be copied. */
function mayBeDrawn(source: Drawable, error: unknown): boolean {
  if (!(error instanceof ImageError) || error.code !== 'IMAGE_DECODE') return false;
  if ('close' in source && 'width' in source) return true; // an ImageBitmap
  // A TypeError means that the browser does not copy this class. A <video> without a picture, or a closed frame,
  // would be drawn as nothing, without an error.
  if (!(error.cause instanceof TypeError)) return false;
  return 'readyState' in source ? source.readyState >= 2 : 'format' in source && source.format !== null;
}

function onCanvas(source: Drawable, width: number, height: number): OffscreenCanvas {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext('2d')?.drawImage(source, 0, 0, width, height);
  return canvas;
}

function copy(
  device: GPUDevice,
  source: Drawable,
  name: string,
  origin: [number, number],
  texture: GPUTexture,
  size: [number, number],
): void {
  try {
    device.queue.copyExternalImageToTexture({ source, origin }, { texture, premultipliedAlpha: false }, size);
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'SecurityError') {
      const what = "Serve the image with CORS headers and load it with crossorigin='anonymous'";
      throw new ImageError(
        'IMAGE_FETCH',
        `${name}: the image comes from another origin, whose pixels this page may not read. ${what}.`,
        { cause },
      );
    }
    const what = 'For a video, wait for loadeddata. Do not close a bitmap or frame before the call ends';
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: there is no picture to read (${String(cause)}). ${what}.`,
      { cause },
    );
  }
}
