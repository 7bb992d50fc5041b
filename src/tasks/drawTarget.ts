/** Draws a picture of patches on a texture or canvas, on the GPU: nothing is read back. */
import { ImageError, OptionError } from '../errors.js';
import { TextureUsage } from '../gpu/constants.js';
import type { Gpu } from '../gpu/device.js';
import { drawPatches } from '../gpu/kernels/drawKernels.js';
import { compileRender } from '../gpu/renderPipelines.js';
import type { Burst } from '../gpu/task.js';

/**
 * A picture's target on the GPU, which is filled completely. Colours are multiplied by alpha.
 *
 * - `GPUTexture`: of the model's device, two-dimensional, with one sample per pixel, with the usage
 *   `RENDER_ATTACHMENT`, in the format `rgba8unorm`, `bgra8unorm`, one of these with `-srgb`, or
 *   `rgba16float`. Level 0 of layer 0 is drawn. `rgba16float` gets the same sRGB values as `rgba8unorm`, from
 *   0 to 1.
 * - `GPUCanvasContext`: must be configured for the model's device, in one of these formats.
 * - a canvas: gets a 'webgpu' context of the browser's preferred format with `alphaMode: 'premultiplied'`. If it
 *   already has a 'webgpu' context, the context's configuration is kept. The canvas keeps its width and height:
 *   set them first.
 */
export type DrawTarget = GPUTexture | GPUCanvasContext | HTMLCanvasElement | OffscreenCanvas;

/** The formats of a `DrawTarget`. */
export const DRAW_FORMATS: readonly GPUTextureFormat[] = [
  'rgba8unorm',
  'rgba8unorm-srgb',
  'bgra8unorm',
  'bgra8unorm-srgb',
  'rgba16float',
];

/**
 * Draws a picture of patches on a target, with the commands of a burst.
 *
 * @param colors u32 (rows · cols) on the GPU: r, g, b, a of 8 bits each, r in the lowest byte, alpha not
 *   multiplied
 */
export type DrawPicture = (burst: Burst, colors: GPUBuffer, rows: number, cols: number) => void;

interface Configuration {
  readonly device: GPUDevice | undefined;
  readonly format: GPUTextureFormat;
}

/** The contexts that this file configured. It may configure them again, for another device. */
const configured = new WeakMap<GPUCanvasContext, Configuration>();

/**
 * Checks a target, configures its canvas if necessary and compiles the shader. The result draws on the target
 * in a burst of a task. Call this function again for each picture: if only the picture changed, it does almost
 * nothing.
 *
 * @param where name of the call, for error messages
 * @param smooth true: bilinear interpolation between the centres of the patches, as in PyTorch's
 *   `interpolate(…, mode='bilinear', align_corners=False)`. False: each patch is a rectangle
 * @throws ImageError IMAGE_TYPE, if the canvas has a context of another type; OptionError OPTION_VALUE, if the
 *   target cannot be drawn on or is no target; DeviceError KERNEL_COMPILE
 */
export async function prepareDraw(
  where: string,
  gpu: Gpu,
  target: DrawTarget,
  smooth: boolean,
): Promise<DrawPicture> {
  const { texture, format } = openTarget(where, gpu.device, target);
  const kernel = await compileRender(gpu.device, gpu.pipelines, drawPatches, format);
  return (burst, colors, rows, cols) => {
    const drawn = texture();
    const linear = format.endsWith('-srgb');
    const words = [rows, cols, drawn.width, drawn.height, Number(smooth), Number(linear)];
    const picture = burst.uniformOf('drawn picture', words);
    burst.free(picture);
    // The default view of an array or of a texture with several levels cannot be drawn on.
    const view = drawn.createView({
      label: 'drawn picture',
      dimension: '2d',
      mipLevelCount: 1,
      arrayLayerCount: 1,
    });
    burst.render(kernel, [picture, colors], view);
  };
}

interface OpenTarget {
  /** Returns the texture to draw on. A canvas has a new texture for each frame. */
  readonly texture: () => GPUTexture;
  readonly format: GPUTextureFormat;
}

function openTarget(where: string, device: GPUDevice, target: DrawTarget): OpenTarget {
  // Class names differ between implementations, and `instanceof` fails for objects of another window.
  if (has(target, 'createView')) {
    checkTexture(where, target as GPUTexture);
    return { texture: () => target as GPUTexture, format: (target as GPUTexture).format };
  }
  if (has(target, 'getCurrentTexture')) return openContext(where, device, target as GPUCanvasContext);
  if (has(target, 'getContext')) return openCanvas(where, device, target as OffscreenCanvas);
  throw wrong(
    where,
    'a GPUTexture, a GPUCanvasContext, an HTMLCanvasElement or an OffscreenCanvas',
    Object.prototype.toString.call(target).slice(8, -1),
    'Pass one of these.',
  );
}

function openCanvas(
  where: string,
  device: GPUDevice,
  canvas: HTMLCanvasElement | OffscreenCanvas,
): OpenTarget {
  const context = canvas.getContext('webgpu') as GPUCanvasContext | null;
  if (!context)
    throw new ImageError(
      'IMAGE_TYPE',
      `${where}: expected a canvas with a 'webgpu' context or with none, found a canvas with a context of another type. Pass a new canvas.`,
    );
  const current = configurationOf(context);
  if (!current || (configured.has(context) && current.device !== device)) {
    const configuration = {
      device,
      format: navigator.gpu.getPreferredCanvasFormat(),
      alphaMode: 'premultiplied',
    } as const;
    context.configure(configuration);
    configured.set(context, configuration);
  }
  return openContext(where, device, context);
}

function openContext(where: string, device: GPUDevice, context: GPUCanvasContext): OpenTarget {
  const { width, height } = context.canvas;
  if (width === 0 || height === 0)
    throw wrong(
      where,
      'a canvas of at least 1 × 1 pixels',
      `${width} × ${height}`,
      'Set its width and height.',
    );
  const current = configurationOf(context);
  if (!current || (current.device && current.device !== device))
    throw wrong(
      where,
      "a canvas context that is configured for the model's device",
      current ? 'a context of another device' : 'a context without configuration',
      'Call context.configure({ device: model.device, format: navigator.gpu.getPreferredCanvasFormat() }).',
    );
  checkFormat(where, current.format);
  return { texture: () => context.getCurrentTexture(), format: current.format };
}

/**
 * Returns the configuration of a context, or undefined if it has none. Browsers without `getConfiguration`
 * report only the format of a context that this file did not configure.
 */
function configurationOf(context: GPUCanvasContext): Configuration | undefined {
  if (has(context, 'getConfiguration')) return context.getConfiguration() ?? undefined;
  const known = configured.get(context);
  if (known) return known;
  try {
    return { device: undefined, format: context.getCurrentTexture().format };
  } catch {
    return undefined; // the context has no configuration
  }
}

function checkTexture(where: string, { format, usage, dimension, sampleCount }: GPUTexture): void {
  checkFormat(where, format);
  if ((usage & TextureUsage.RENDER_ATTACHMENT) === 0)
    throw wrong(
      where,
      'a texture with the usage RENDER_ATTACHMENT (16)',
      `usage ${usage}`,
      'Add GPUTextureUsage.RENDER_ATTACHMENT where the texture is created.',
    );
  if (dimension !== '2d' || sampleCount !== 1)
    throw wrong(
      where,
      'a two-dimensional texture with one sample per pixel',
      `dimension ${dimension}, ${sampleCount} samples`,
      'Pass another texture.',
    );
}

function checkFormat(where: string, format: GPUTextureFormat): void {
  if (!DRAW_FORMATS.includes(format))
    throw wrong(
      where,
      `a target in one of the formats ${DRAW_FORMATS.join(', ')}`,
      format,
      'Use another format.',
    );
}

const has = (value: unknown, method: string): boolean =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as Record<string, unknown>)[method] === 'function';

const wrong = (where: string, expected: string, found: string, advice: string): OptionError =>
  new OptionError('OPTION_VALUE', `${where}: expected ${expected}, found ${found}. ${advice}`);
