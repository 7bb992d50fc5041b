import { afterAll, expect, test } from 'vitest';
import { acquireGpu } from '../../src/gpu/device.ts';

const gpu = await acquireGpu();
afterAll(() => gpu.release());

// A browser expires an external texture at the end of the event-loop task that imported it.
test('an external texture is imported, encoded and submitted in one event-loop task, while another frame is being computed', async () => {
  const { device } = gpu;
  const code = `
    @group(0) @binding(0) var frame: texture_external;
    @group(0) @binding(1) var<storage, read_write> out: array<vec4f>;
    @compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3u) {
      out[id.x] = textureLoad(frame, vec2u(id.x * 32u + 16u, 16u));
    }`;
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code }), entryPoint: 'main' },
  });
  const canvas = new OffscreenCanvas(64, 32);
  const context = canvas.getContext('2d')!;
  const frameOf = (left: string, right: string): VideoFrame => {
    context.fillStyle = left;
    context.fillRect(0, 0, 32, 32);
    context.fillStyle = right;
    context.fillRect(32, 0, 32, 32);
    return new VideoFrame(canvas, { timestamp: 0 });
  };
  const colours = [
    ['#ff0000', '#0000ff'],
    ['#00ff00', '#ffffff'],
  ] as const;
  await gpu.task('live frames', undefined, async (task) => {
    // Both frames are submitted before anything is read.
    const buffers = colours.map(([left, right]) => {
      const frame = frameOf(left, right);
      const made = task.burst((burst) => {
        const out = burst.storage('colours', 32);
        const pass = burst.pass();
        pass.setPipeline(pipeline);
        pass.setBindGroup(
          0,
          device.createBindGroup({
            layout: pipeline.getBindGroupLayout(0),
            entries: [
              { binding: 0, resource: device.importExternalTexture({ source: frame }) },
              { binding: 1, resource: { buffer: out } },
            ],
          }),
        );
        pass.dispatchWorkgroups(2);
        return out;
      });
      frame.close(); // submitted commands keep their own reference to the frame
      return made;
    });
    for (const [i, buffer] of buffers.entries()) {
      const found = new Float32Array(await task.read(buffer, 0, 32));
      const expected = colours[i]!.flatMap((colour) =>
        [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).concat(1),
      );
      found.forEach((value, channel) => expect(value).toBeCloseTo(expected[channel]!, 1));
    }
  });
  expect(gpu.uncaptured).toBeUndefined();
});
