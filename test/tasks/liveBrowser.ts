// A tiny model, traps for everything that copies pixels to the CPU, and a drawing on a WebGPU canvas.
import type { Features } from '../../src/index.ts';

export const config = {
  embedDim: 128,
  depth: 1,
  numHeads: 2,
  headDim: 64,
  patchSize: 14,
  imageSize: 70,
  numChannels: 3,
  numRegisterTokens: 0,
  ffn: 'mlp',
  hiddenFeatures: 512,
  layerNormEps: 1e-6,
  posEmbed: 'plain',
} as const;

export const options = { resize: 'fit', longestSide: 56 } as const;

/** Counts the calls that copy pixels or results from the GPU to the CPU. */
export function trapCopies(): { readonly calls: string[]; restore(): void } {
  const calls: string[] = [];
  const restores: (() => void)[] = [];
  const trap = (name: string, prototype: object | undefined, method: string): void => {
    const original: unknown = prototype && Reflect.get(prototype, method);
    if (typeof original !== 'function') return;
    Reflect.set(prototype!, method, function (this: unknown, ...given: unknown[]) {
      calls.push(`${name}.${method}`);
      return Reflect.apply(original, this, given) as unknown;
    });
    restores.push(() => void Reflect.set(prototype!, method, original));
  };
  const scope = globalThis as Partial<typeof globalThis>;
  trap('GPUBuffer', scope.GPUBuffer?.prototype, 'mapAsync');
  trap('CanvasRenderingContext2D', scope.CanvasRenderingContext2D?.prototype, 'getImageData');
  trap(
    'OffscreenCanvasRenderingContext2D',
    scope.OffscreenCanvasRenderingContext2D?.prototype,
    'getImageData',
  );
  trap('VideoFrame', scope.VideoFrame?.prototype, 'copyTo');
  trap('ImageBitmap', scope, 'createImageBitmap');
  trap('OffscreenCanvas', scope.OffscreenCanvas?.prototype, 'convertToBlob');
  return { calls, restore: () => restores.forEach((each) => each()) };
}

/** Draws three values of each patch token as a colour on a WebGPU canvas, as a page's own shader would. */
export function drawer(
  device: GPUDevice,
  canvas: HTMLCanvasElement | OffscreenCanvas,
): (features: Features) => void {
  const context = canvas.getContext('webgpu') as GPUCanvasContext;
  const format = navigator.gpu.getPreferredCanvasFormat();
  context.configure({ device, format });
  const module = device.createShaderModule({
    code: `
      @group(0) @binding(0) var<storage, read> tokens: array<f32>;
      @vertex fn corner(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
        return vec4f(f32(i % 2u) * 4.0 - 1.0, f32(i / 2u) * 4.0 - 1.0, 0.0, 1.0);
      }
      @fragment fn color(@builtin(position) at: vec4f) -> @location(0) vec4f {
        let patch_index = u32(at.y / ${canvas.height}.0 * 3.0) * 4u + u32(at.x / ${canvas.width}.0 * 4.0);
        let first = (1u + patch_index) * ${config.embedDim}u;
        return vec4f(vec3f(tokens[first], tokens[first + 1u], tokens[first + 2u]) * 0.2 + 0.5, 1.0);
      }`,
  });
  const pipeline = device.createRenderPipeline({
    layout: 'auto',
    vertex: { module },
    fragment: { module, targets: [{ format }] },
  });
  return (features) => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginRenderPass({
      colorAttachments: [
        { view: context.getCurrentTexture().createView(), loadOp: 'clear', storeOp: 'store' },
      ],
    });
    pass.setPipeline(pipeline);
    const entries = [{ binding: 0, resource: { buffer: features.buffer } }];
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.draw(3);
    pass.end();
    device.queue.submit([encoder.finish()]);
  };
}
