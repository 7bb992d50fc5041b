// A worker script of a page: the main entry in a worker, which draws a stream of frames on an OffscreenCanvas.
import { DINOv2 } from '../../src/index.ts';
import { config, drawer, options, trapCopies } from './liveBrowser.ts';

export interface ThreadReport {
  readonly delivered: number;
  readonly fps: number;
  readonly calls: readonly string[];
}

addEventListener(
  'message',
  ({ data }: MessageEvent<{ stream: ReadableStream<VideoFrame>; canvas: OffscreenCanvas; frames: number }>) =>
    void run(data.stream, data.canvas, data.frames),
);

async function run(
  stream: ReadableStream<VideoFrame>,
  canvas: OffscreenCanvas,
  frames: number,
): Promise<void> {
  const model = await DINOv2.synthetic(config, { selfTest: false });
  const draw = drawer(model.device, canvas);
  let delivered = 0;
  let fps = 0;
  const live = await model.live(stream, {
    ...options,
    onFrame: (features) => {
      draw(features);
      fps = live.fps;
      if (++delivered === frames) live.stop();
    },
  });
  const traps = trapCopies(); // before the first frame is delivered
  await live.finished;
  traps.restore();
  model.dispose();
  postMessage({ delivered, fps, calls: traps.calls } satisfies ThreadReport);
}
